"""The grid clusterers x seeds on one data set: train each, attack each with a trained generator and a suite, compare.

What a job is, which jobs a grid has, and what runs them are kept apart. A job that is done is not done again, and one that
was interrupted goes on where its last checkpoint is: the same command finishes an interrupted benchmark. Several at once on one
folder share the jobs.
"""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ar_dmvc.errors import ConfigurationError
from ar_dmvc.evaluation import comparison_rows, markdown, print_comparison
from ar_dmvc.evaluation.record import METRICS, Scores
from ar_dmvc.files import write_whole
from ar_dmvc.runs.job import Call, Job

_SECONDS_BETWEEN_LOOKS = 1.0


class Benchmark:
    """A grid of clusterers and seeds on one data set.

    Lists of settings hold configuration files and options (``--name=value``), merged in order.

    Args:
        data: settings of the data.
        clusterers: settings of what is compared, victims or defenders, by the name that the table shows.
        attacks: settings of the suite that each is tested under.
        output: folder for everything.
        attacker: settings of the generator that is trained against each; none: there is no such attack.
        seeds: of training, one run each.

    Raises:
        ConfigurationError: nothing to compare, or a name that cannot be a folder's.
    """

    def __init__(
        self,
        data: Sequence[str],
        clusterers: Mapping[str, Sequence[str]],
        attacks: Sequence[str],
        output: str | Path,
        attacker: Sequence[str] = (),
        seeds: Sequence[int] = (0,),
    ) -> None:
        if not clusterers or not seeds:
            raise ConfigurationError("a benchmark needs at least one clusterer and one seed")
        for name in clusterers:
            if not re.fullmatch(r"[\w+-][\w.+-]*", name):
                raise ConfigurationError(
                    f"clusterers: {name!r} cannot be a folder's name; letters, digits and ._+- can, with no dot in front"
                )
        self.data = tuple(data)
        self.clusterers = {name: tuple(settings) for name, settings in clusterers.items()}
        self.attacker = tuple(attacker)
        self.attacks = tuple(attacks)
        self.output = Path(output)
        self.seeds = tuple(seeds)

    def jobs(self) -> Iterator[Job]:
        """All jobs, in an order in which each finds what it needs."""
        for name in self.clusterers:
            for seed in self.seeds:
                yield from self._jobs_of(name, seed)

    def run(self, call: Call) -> dict[str, list[dict[str, Scores]]]:
        """Run what is not done yet.

        Args:
            call: runs one command.

        Returns:
            The results, see :meth:`collect`.
        """
        jobs = list(self.jobs())
        left, said = list(enumerate(jobs, start=1)), False
        while left:
            behind = [(number, job) for number, job in left if not self._attend(job, f"[{number}/{len(jobs)}]", call, left)]
            if len(behind) == len(left):
                if not said:
                    print("Another benchmark on this folder runs what is left; waiting for it.")
                said = True
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            left = behind
        return self.collect()

    def _attend(self, job: Job, number: str, call: Call, left: Sequence[tuple[int, Job]]) -> bool:
        """Run a job that is not done yet; False where that has to wait for another benchmark on the same folder."""
        if job.needs is not None and not job.needs.is_done:
            if all(job.needs != other for _, other in left):
                raise ConfigurationError(
                    f"output: another benchmark, with other settings, has replaced {job.needs.folder}; give each a folder"
                )
            return False
        with job.taken() as taken:
            if taken and job.is_done:
                print(f"{number} {job.title}: already done, {job.folder}")
            elif taken:
                print(f"{number} {job.title}")
                job.execute(call)
            return taken

    def collect(self) -> dict[str, list[dict[str, Scores]]]:
        """Read the results of all runs: clusterer to its seeds' scores, attack to metric to value."""
        return {name: [_read_scores(self._folder(name, seed) / "test") for seed in self.seeds] for name in self.clusterers}

    def report(self, results: Mapping[str, Sequence[Mapping[str, Scores]]]) -> None:
        """Print the table; write it as ``table.md``, and every number into ``results.csv``."""
        rows = comparison_rows(results)
        print_comparison(rows, "Clustering, clean and attacked")
        write_whole(self.output / "table.md", markdown(rows))
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(["clusterer", "seed", "attack", *METRICS])
        for name, runs in results.items():
            for seed, scores in zip(self.seeds, runs, strict=True):
                writer.writerows([name, seed, attack, *(row.get(m, "") for m in METRICS)] for attack, row in scores.items())
        write_whole(self.output / "results.csv", table.getvalue())
        print(f"In {self.output}: table.md, results.csv, and a folder for each run.")

    def _jobs_of(self, name: str, seed: int) -> Iterator[Job]:
        folder = self._folder(name, seed)
        seeded = f"--seed_everything={seed}"
        fit = Job(f"train {name}, seed {seed}", "fit", (*self.clusterers[name], *self.data, seeded), folder / "fit")
        yield fit
        attacked = fit
        if self.attacker:
            attacked = Job(
                f"train a GAN attack on {name}, seed {seed}",
                "fit",
                (*self.attacker, *self.data, f"--model.victim={fit.checkpoint}", seeded),
                folder / "gan",
                needs=fit,
            )
            yield attacked
        yield Job(
            f"test {name}, seed {seed}",
            "test",
            (*self.attacks, seeded),
            folder / "test",
            needs=attacked,
            uses=attacked.checkpoint,
        )

    def _folder(self, name: str, seed: int) -> Path:
        return self.output / name / f"seed_{seed}"


def _read_scores(folder: Path) -> dict[str, Scores]:
    scores: dict[str, Scores] = json.loads((folder / "robustness.json").read_text())["scores"]
    return scores
