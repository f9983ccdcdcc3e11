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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ar_dmvc.benchmark.runner import Runner
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.evaluation import comparison_rows, markdown, print_comparison
from ar_dmvc.evaluation.record import METRICS, Scores
from ar_dmvc.files import write_whole
from ar_dmvc.runs.job import Call, Job

_NO_DATA = "--data=ar_dmvc.data.Digits"
"""What training takes where no data is named."""


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
        only: a part of the grid: ``clusterer=CoMVC,seed=0,seed=1``, those named of each; empty: all of it.

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
        only: str = "",
    ) -> None:
        if not clusterers or not seeds:
            raise ConfigurationError("a benchmark needs at least one clusterer and one seed")
        for name in clusterers:
            if not re.fullmatch(r"[\w+-][\w.+-]*", name):
                raise ConfigurationError(
                    f"clusterers: {name!r} cannot be a folder's name; letters, digits and ._+- can, with no dot in front"
                )
        named = _selection(only, {"clusterer": list(clusterers), "seed": [str(seed) for seed in seeds]})
        clusterers = {name: settings for name, settings in clusterers.items() if name in named["clusterer"]}
        self.data = tuple(data)
        self.clusterers = {name: tuple(settings) for name, settings in clusterers.items()}
        self.attacker = tuple(attacker)
        self.attacks = tuple(attacks)
        self.output = Path(output)
        self.seeds = tuple(seed for seed in seeds if str(seed) in named["seed"])

    def jobs(self) -> Iterator[Job]:
        """All jobs, in an order in which each finds what it needs."""
        for name in self.clusterers:
            for seed in self.seeds:
                yield from self._jobs_of(name, seed)

    def check(self, check: Callable[[str, Sequence[str]], None]) -> None:
        """Check the settings of every job that is not done, before any of them runs; seeds share theirs.

        Args:
            check: raises what is wrong with the configuration of a command.

        Raises:
            ConfigurationError: a file, a class or an option that is not there, in the words of the job's.
        """
        for name in self.clusterers:
            for job in self._jobs_of(name, self.seeds[0]):
                if job.is_done:
                    continue
                # A test takes model and data from the checkpoint that is not there yet: those of the job that makes it.
                model = () if job.needs is None or job.command == "fit" else (_NO_DATA, *job.needs.configuration)
                try:
                    check(job.command, [*model, *job.configuration])
                except ConfigurationError as error:
                    raise ConfigurationError(f"{job.title}: {error}") from error

    def run(self, call: Call, begun: float | None = None, options: Sequence[str] = (), says: bool = True) -> dict[str, str]:
        """Run what is not done yet; see :class:`~ar_dmvc.benchmark.runner.Runner`.

        Returns:
            What went wrong, by the title of the job.
        """
        runner = Runner(list(self.jobs()), time.time() if begun is None else begun, options, says)
        runner.run(call)
        return runner.failed

    def plan(self) -> list[tuple[Job, str]]:
        """All jobs, each with what would become of it: ``done``, ``goes on`` or ``to do``."""
        return [(job, "done" if job.is_done else "goes on" if job.is_begun else "to do") for job in self.jobs()]

    def collect(self) -> dict[str, dict[int, dict[str, Scores]]]:
        """Read the results of the runs that are done: clusterer to seed to attack to metric to value."""
        results: dict[str, dict[int, dict[str, Scores]]] = {}
        for name in self.clusterers:
            for seed in self.seeds:
                *_, test = self._jobs_of(name, seed)
                if test.is_done:
                    results.setdefault(name, {})[seed] = _read_scores(test.folder)
        return results

    def report(self, results: Mapping[str, Mapping[int, Mapping[str, Scores]]]) -> None:
        """Print the table; write it as ``table.md``, and every number into ``results.csv``."""
        if not results:
            print(f"In {self.output}: no run is done.")
            return
        rows = comparison_rows({name: list(runs.values()) for name, runs in results.items()})
        print_comparison(rows, "Clustering, clean and attacked")
        write_whole(self.output / "table.md", markdown(rows))
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(["clusterer", "seed", "attack", *METRICS])
        for name, runs in results.items():
            for seed, scores in runs.items():
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


def _selection(only: str, axes: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Of each axis the values that are asked for; all where none is."""
    chosen: dict[str, list[str]] = {}
    for part in filter(None, map(str.strip, only.split(","))):
        axis, _, value = (piece.strip() for piece in part.partition("="))
        if axis not in axes or value not in axes[axis]:
            known = "; ".join(f"{name}={', '.join(values)}" for name, values in axes.items())
            raise ConfigurationError(f"only: {part!r} names nothing in this grid; it has {known}")
        chosen.setdefault(axis, []).append(value)
    return {**axes, **chosen}


def _read_scores(folder: Path) -> dict[str, Scores]:
    scores: dict[str, Scores] = json.loads((folder / "robustness.json").read_text())["scores"]
    return scores
