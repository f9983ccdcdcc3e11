"""The grid clusterers x seeds on one data set: train each, attack each with a trained generator and a suite, compare.

What a job is, which jobs a grid has, and what runs them are kept apart. A job that is done is not done again, and one that
was interrupted goes on where its last checkpoint is: the same command finishes an interrupted benchmark. Several at once on one
folder share the jobs.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ar_dmvc.errors import ConfigurationError
from ar_dmvc.evaluation import comparison_rows, markdown, print_comparison
from ar_dmvc.evaluation.record import METRICS, Scores
from ar_dmvc.files import write_whole

Call = Callable[..., object]
"""Runs a command: :func:`ar_dmvc.api.call`."""

_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Job:
    """One call of :mod:`ar_dmvc.api`.

    Attributes:
        title: for the user.
        command: ``fit`` or ``test``.
        configuration: files and options, merged in order.
        folder: where it keeps its files.
        needs: the job whose checkpoint this one uses.
        uses: the checkpoint that a test is of.
    """

    title: str
    command: str
    configuration: tuple[str, ...]
    folder: Path
    needs: Job | None = None
    uses: Path | None = None

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that a training job writes."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def fingerprint(self) -> str:
        """Changes with the configuration, with what the configuration files say, and with the jobs that this one needs."""
        digest = hashlib.sha256("\n".join((self.command, *self.configuration, str(self.uses))).encode())
        for source in self.configuration:
            if not source.startswith("--") and Path(source).is_file():
                digest.update(Path(source).read_bytes())
        if self.needs is not None:
            digest.update(self.needs.fingerprint.encode())
        return digest.hexdigest()

    @property
    def is_done(self) -> bool:
        """Whether the job ran to its end, as it is now."""
        return self._recorded() == {"fingerprint": self.fingerprint, "done": True}

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Keep others from running this job at the same time; False where another does. A process that dies gives it up."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder.with_suffix(".lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def execute(self, call: Call) -> None:
        """Run the job, from its last checkpoint where it was interrupted."""
        interrupted = self._recorded().get("fingerprint") == self.fingerprint
        given, configuration = self.uses, [*self.configuration, "--trainer.enable_model_summary=false"]
        if self.command == "fit":
            given = self.checkpoint if interrupted and self.checkpoint.is_file() else None
            if given is None:
                self.checkpoint.unlink(missing_ok=True)  # of other settings: a later call must not resume from it
        self._record(done=False)
        call(self.command, configuration, self.folder, given, alone=True)
        self._record(done=True)

    def _recorded(self) -> dict[str, object]:
        """What an earlier call left: as what it started, and whether it ended; nothing where that cannot be read."""
        try:
            recorded = json.loads(self.folder.with_suffix(".json").read_text())
        except (OSError, ValueError):
            return {}
        return recorded if isinstance(recorded, dict) else {}

    def _record(self, done: bool) -> None:
        write_whole(self.folder.with_suffix(".json"), json.dumps({"fingerprint": self.fingerprint, "done": done}) + "\n")


class Benchmark:
    """A grid of clusterers and seeds on one data set.

    Lists of settings hold configuration files and options (``--name=value``), merged in order.

    Args:
        data: settings of the data.
        clusterers: settings of what is compared, victims or defenders, by the name that the table shows.
        attacker: settings of the generator that is trained against each.
        attacks: settings of the suite that each is tested under.
        output: folder for everything.
        seeds: of training, one run each.

    Raises:
        ConfigurationError: nothing to compare, or a name that cannot be a folder's.
    """

    def __init__(
        self,
        data: Sequence[str],
        clusterers: Mapping[str, Sequence[str]],
        attacker: Sequence[str],
        attacks: Sequence[str],
        output: str | Path,
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
        gan = Job(
            f"train a GAN attack on {name}, seed {seed}",
            "fit",
            (*self.attacker, *self.data, f"--model.victim={fit.checkpoint}", seeded),
            folder / "gan",
            needs=fit,
        )
        test = Job(
            f"test {name}, seed {seed}",
            "test",
            (*self.attacks, seeded),
            folder / "test",
            needs=gan,
            uses=gan.checkpoint,
        )
        yield from (fit, gan, test)

    def _folder(self, name: str, seed: int) -> Path:
        return self.output / name / f"seed_{seed}"


def _read_scores(folder: Path) -> dict[str, Scores]:
    scores: dict[str, Scores] = json.loads((folder / "robustness.json").read_text())["scores"]
    return scores
