"""The grid data x clusterers x defences x seeds: train each, attack each with trained generators and suites, compare.

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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ar_dmvc.benchmark.runner import Runner
from ar_dmvc.errors import ConfigurationError
from ar_dmvc.evaluation import comparison_rows, markdown, print_comparison
from ar_dmvc.evaluation.record import METRICS, Scores
from ar_dmvc.files import link_out_of, write_whole
from ar_dmvc.runs.job import EARLIER, Call, Job
from ar_dmvc.settings import find_file, load_yaml

_NO_DATA = "--data=ar_dmvc.data.Digits"
"""What training takes where no data is named."""
_VICTIM = "{victim}"
_NONE = "none"
"""On the command line, the name of what is not defended, and of what has an empty name."""
_CASE = "; a name is a folder's, and no file system need tell a from A"
_SEED_OR_BUDGET = re.compile(r"(?<=--seed_everything=)\d+|(?<=--data\.epsilon=).*|(?<=seed_)\d+")
_OF_A_CLASS = re.compile(r"--(?:data|model(?:\..+)?)(?:\.class_path)?=((?:[A-Za-z_]\w*\.)+[A-Z]\w*)")
"""An option that names a class, by its path."""

Settings = Sequence[str]
Named = Sequence[str] | Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Point:
    """What is trained once.

    Attributes:
        data: name of the data set; empty where there is one only.
        clusterer: its name.
        defence: its name; empty: none.
        seed: of training.
    """

    data: str
    clusterer: str
    defence: str
    seed: int

    @property
    def name(self) -> str:
        """In tables and as a folder."""
        defended = f"{self.clusterer}+{self.defence}" if self.defence else self.clusterer
        return f"{self.data}/{defended}" if self.data else defended

    @property
    def labels(self) -> dict[str, str]:
        """By axis."""
        return {"data": self.data, "clusterer": self.clusterer, "defence": self.defence, "seed": str(self.seed)}


@dataclass(frozen=True)
class Trial:
    """An attacker, a suite and a budget under which points are tested.

    Attributes:
        attacker: the name of what is trained against each; empty where there is one only, or none.
        suite: its name; empty where there is one only.
        budget: of attacks that name none; None: the data's.
    """

    attacker: str
    suite: str
    budget: float | None

    @property
    def suffix(self) -> str:
        """Of a test's folder."""
        return "".join(f"_{part}" for part in self.labels.values() if part)

    @property
    def words(self) -> str:
        """In tables, after the name of what is tested."""
        parts = [self.attacker, self.suite, *([] if self.budget is None else [f"budget {self.budget:g}"])]
        return f" ({', '.join(filter(None, parts))})" if any(parts) else ""

    @property
    def labels(self) -> dict[str, str]:
        """By axis."""
        return {"attacker": self.attacker, "suite": self.suite, "budget": "" if self.budget is None else f"{self.budget:g}"}


class Benchmark:
    """A grid of data sets, clusterers, defences and seeds, of which each is tested under suites of attacks and budgets.

    Lists of settings hold configuration files and options (``--name=value``), merged in order. What several points of the grid
    need is made once: a clusterer is trained once however many suites, budgets and defences look at it.

    Args:
        data: settings of the data; of several sets, by name.
        clusterers: settings of what is compared, victims or defenders, by the name that the table shows.
        attacks: settings of the suite that each is tested under; of several suites, by name.
        output: folder for everything.
        attacker: settings of the generator that is trained against each; of several, by name; none: there is no such attack.
        seeds: of training, one run each.
        defences: settings of defenders, by name; each is put on each clusterer. ``{victim}`` in them is the checkpoint of the
            undefended clusterer, for a teacher; without it the defender takes the clusterer's settings (``model.clusterer``).
        baselines: settings of further clusterers, by name, on which no defence is put: those without a network.
        training: settings added to every training's, fewer epochs or a part of the data, say.
        testing: settings added to every test's, fewer samples, say.
        budgets: under which each is attacked; none: that of the data.
        only: a part of the grid: ``clusterer=CoMVC,seed=0,seed=1``, those named of each of data, clusterer, defence (``none``:
            undefended), seed, attacker, suite and budget; ``none`` is an empty name, too; empty: all of it.

    Raises:
        ConfigurationError: nothing to compare, a budget that is not positive, or a name that cannot be a folder's.
    """

    def __init__(
        self,
        data: Named,
        clusterers: Mapping[str, Settings],
        attacks: Named,
        output: str | Path,
        attacker: Named = (),
        seeds: Sequence[int] = (0,),
        defences: Mapping[str, Settings] = {},
        budgets: Sequence[float] = (),
        training: Settings = (),
        testing: Settings = (),
        baselines: Mapping[str, Settings] = {},
        only: str = "",
    ) -> None:
        axes_given = {"data": data, "clusterers": clusterers, "attacks": attacks, "attacker": attacker, "defences": defences}
        lists = {"seeds": seeds, "budgets": budgets, "training": training, "testing": testing}
        _check_given({**axes_given, "baselines": baselines, **lists})
        _check_numbers({**clusterers, **baselines}, seeds, budgets)
        self.data, self.attacks = _named(data), _named(attacks)
        self._known: dict[str, tuple[str, ...]] = {}
        self.baselines = frozenset(baselines)
        self.clusterers = {name: tuple(settings) for name, settings in {**clusterers, **baselines}.items()}
        self.defences = {name: tuple(settings) for name, settings in defences.items()}
        self.attackers = _named(attacker)
        axes_of_names = {"data": self.data, "clusterers": self.clusterers, "defences": defences, "attacks": self.attacks}
        for axis, names in {**axes_of_names, "attacker": self.attackers}.items():
            if not names and axis != "defences":
                raise ConfigurationError(f"{axis}: no settings at all")
            _check_names(axis, names)
        if _NONE in defences:
            raise ConfigurationError(f"defences: {_NONE!r} is what is not defended; give it another name")
        for name, settings in defences.items():
            _check_placeholders(name, settings)
        self.output = Path(output)
        self.seeds = tuple(seeds)
        self.training = tuple(training)
        self.testing = tuple(testing)
        self.budgets: tuple[float | None, ...] = tuple(budgets) or (None,)
        axes = {
            "data": _choices(self.data),
            "clusterer": _choices(self.clusterers),
            "defence": [_NONE, *defences] if defences else [],
            "seed": [str(seed) for seed in seeds],
            "attacker": _choices(self.attackers),
            "suite": _choices(self.attacks),
            "budget": [f"{budget:g}" for budget in budgets],
        }
        self.selected = _selection(only, axes)
        if both := set(clusterers) & self.baselines:
            raise ConfigurationError(f"clusterers: {min(both)} also names a baseline")
        self._check_folders_differ()
        if not any(self.points()):
            raise ConfigurationError(f"only: nothing in this grid is all of {only}; baselines have no defence")

    def _check_folders_differ(self) -> None:
        if twice := _twice([point.name for point in self._all_points() if point.seed == self.seeds[0]]):
            raise ConfigurationError(f"clusterers: {twice} names two of them, with a defence or without{_CASE}")
        if twice := _twice([trial.suffix for trial in self._all_trials()]):
            raise ConfigurationError(f"attacker, attacks, budgets: two combinations of their names are {twice[1:]}{_CASE}")

    def points(self) -> Iterator[Point]:
        """All that is asked for, seeds last."""
        return (point for point in self._all_points() if self._is_chosen(point.labels))

    def _all_points(self) -> Iterator[Point]:
        for data in self.data:
            for clusterer in self.clusterers:
                for defence in ("", *(() if clusterer in self.baselines else self.defences)):
                    yield from (Point(data, clusterer, defence, seed) for seed in self.seeds)

    def trials(self) -> Iterator[Trial]:
        """All attackers, suites and budgets that are asked for."""
        return (trial for trial in self._all_trials() if self._is_chosen(trial.labels))

    def _is_chosen(self, labels: Mapping[str, str]) -> bool:
        values = {axis: value or _NONE for axis, value in labels.items()}
        return all(value in self.selected[axis] for axis, value in values.items() if axis in self.selected)

    def _all_trials(self) -> Iterator[Trial]:
        return (
            Trial(attacker, suite, budget) for budget in self.budgets for attacker in self.attackers for suite in self.attacks
        )

    def jobs(self) -> Iterator[Job]:
        """All jobs, each once, in an order in which each finds what it needs."""
        known: set[Path] = set()
        for point in self.points():
            for trial in self.trials():
                for job in _with_needs(self.test(point, trial)):
                    if job.folder not in known:
                        known.add(job.folder)
                        yield job

    def check(self, check: Callable[[str, Sequence[str], Collection[Path], Path], None]) -> None:
        """Check the settings of every job that is not done, before any of them runs; seeds and budgets share theirs.

        Args:
            check: raises what is wrong with the configuration of a command, given the checkpoints that will be there by then,
                and that which it will leave.

        Raises:
            ConfigurationError: a file, a class or an option that is not there, or a value out of range, in the words of the
                job's; a link that leads out of the output's folder.
        """
        self._check_folder()
        known: set[tuple[str, tuple[str, ...]]] = set()
        for job in self.jobs():
            alike = (job.command, tuple(_SEED_OR_BUDGET.sub("", part) for part in job.configuration))
            if job.is_done or alike in known:
                continue
            known.add(alike)
            # A test takes model and data from the checkpoint that is not there yet: those of the job that makes it.
            model = () if job.needs is None or job.command == "fit" else (_NO_DATA, *_model_and_data(job.needs.configuration))
            try:
                promised = [need.checkpoint for need in _with_needs(job)]
                check(job.command, [*model, *job.configuration], promised, job.checkpoint)
            except ConfigurationError as error:
                raise ConfigurationError(f"{job.title}: {error}") from error

    def run(self, call: Call, begun: float | None = None, options: Sequence[str] = (), says: bool = True) -> dict[str, str]:
        """Run what is not done yet; see :class:`~ar_dmvc.benchmark.runner.Runner`.

        Returns:
            What went wrong, by the title of the job.
        """
        self._check_folder()
        runner = Runner(list(self.jobs()), time.time() if begun is None else begun, options, says)
        runner.run(call)
        return runner.failed

    def left(self, begun: float) -> dict[str, str]:
        """What is not done, by the title of the job, and why: the error since a moment (seconds since the epoch), if any."""
        return {job.title: job.error_since(begun) or "not done" for job in self.jobs() if not job.is_done}

    def plan(self) -> list[tuple[Job, str]]:
        """All jobs, each with what would become of it: ``done``, ``goes on`` or ``to do``."""
        return [
            (job, "done" if job.is_done else job.waiting or ("goes on" if job.is_begun else "to do")) for job in self.jobs()
        ]

    def _check_folder(self) -> None:
        """Refuse what is no folder, or one, a stranger's perhaps, from which records and checkpoints would land elsewhere."""
        there = next(place for place in (self.output, *self.output.absolute().parents) if place.exists())
        if not there.is_dir():
            raise ConfigurationError(f"output: {there} is no folder")
        if (link := link_out_of(self.output, but="wandb")) is not None:
            raise ConfigurationError(
                f"{link}: a link that leads out of the benchmark's folder, which would be written through; put there what it "
                "leads to, or make the whole output a link"
            )

    def collect(self) -> dict[str, dict[int, dict[str, Scores]]]:
        """Read the results of all tests that are done, whatever ``only`` says.

        Returns:
            What was tested, and how, to seed to attack to metric to value.
        """
        results: dict[str, dict[int, dict[str, Scores]]] = {}
        for point in self._all_points():
            for trial in self._all_trials():
                test = self.test(point, trial)
                if test.is_done:
                    results.setdefault(point.name + trial.words, {})[point.seed] = _read_scores(test.folder)
        return results

    def tested(self) -> list[Path]:
        """The folders of all tests that are done, whatever ``only`` says."""
        tests = (self.test(point, trial) for point in self._all_points() for trial in self._all_trials())
        return [test.folder for test in tests if test.is_done]

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

    def fit(self, point: Point) -> Job:
        """The job that trains a point."""
        settings, victim = self.clusterers[point.clusterer], None
        if point.defence:
            settings = self.defences[point.defence]
            if any(_VICTIM in part for part in settings):
                victim = self.fit(replace(point, defence=""))
                settings = tuple(part.replace(_VICTIM, str(victim.checkpoint)) for part in settings)
            else:
                own = _clusterer_of(self.clusterers[point.clusterer])
                if not own:
                    raise ConfigurationError(
                        f"defences: {point.defence} takes the clusterer of {point.clusterer}, whose settings name none "
                        "(model.clusterer)"
                    )
                settings = (*settings, *own)
        return self._job(
            f"train {point.name}, seed {point.seed}",
            "fit",
            (*settings, *self.data[point.data], *self.training, f"--seed_everything={point.seed}"),
            self._folder(point) / "fit",
            needs=victim,
        )

    def test(self, point: Point, trial: Trial) -> Job:
        """The job that tests a point, with a trained generator if there is one."""
        trained = self.fit(point)
        seeded, budget = (
            f"--seed_everything={point.seed}",
            () if trial.budget is None else (f"--data.epsilon={trial.budget:g}",),
        )
        if attacker := self.attackers[trial.attacker]:
            suffix = replace(trial, suite="").suffix
            trained = self._job(
                f"train a GAN attack on {point.name}{replace(trial, suite='').words}, seed {point.seed}",
                "fit",
                (*attacker, *self.data[point.data], *self.training, f"--model.victim={trained.checkpoint}", *budget, seeded),
                self._folder(point) / f"gan{suffix}",
                needs=trained,
            )
        folder = self._folder(point) / f"test{trial.suffix}"
        return self._job(
            f"test {point.name}{trial.words}, seed {point.seed}",
            "test",
            (*self.attacks[trial.suite], *self.testing, *budget, seeded),
            folder,
            needs=trained,
            uses=trained.checkpoint,
            labels={**point.labels, **trial.labels, "folder": folder.relative_to(self.output).as_posix()},
        )

    def _folder(self, point: Point) -> Path:
        return self.output / point.name / f"seed_{point.seed}"

    def _job(self, title: str, command: str, configuration: Settings, folder: Path, *, needs: Job | None, **more: Any) -> Job:
        """A job that may take from checkpoints the classes of one's own that the grid names for them."""
        made = () if needs is None else (part for job in _with_needs(needs) for part in job.configuration)
        told = {name for part in configuration if part.startswith("--allow") for name in re.findall(r"[\w.]+", part)}
        own = dict.fromkeys(name for part in made for name in self._classes(part) if name not in told)
        allowed = [f"--allow={json.dumps(list(own))}"] if own else []
        return Job(title, command, (*configuration, *allowed), folder, needs=needs, **more)

    def _classes(self, part: str) -> tuple[str, ...]:
        if part not in self._known:
            self._known[part] = ()
            with suppress(ConfigurationError, OSError, ValueError, yaml.YAMLError):  # which the check of all settings says
                self._known[part] = tuple(_own_classes([part]))
        return self._known[part]


def _twice(names: Sequence[str]) -> str | None:
    """The first name that is there more than once, in any case: not every file system tells ``a`` from ``A``."""
    known = [name.casefold() for name in names]
    return next((name for place, name in enumerate(names) if name.casefold() in known[:place]), None)


def _with_needs(job: Job) -> list[Job]:
    """A job after those that it needs."""
    return [job] if job.needs is None else [*_with_needs(job.needs), job]


def _named(settings: Named) -> dict[str, tuple[str, ...]]:
    """Settings by name; without names, one of none."""
    if isinstance(settings, Mapping):
        return {name: tuple(parts) for name, parts in settings.items()}
    return {"": tuple(settings)}


def _check_numbers(clusterers: Mapping[str, Settings], seeds: Sequence[int], budgets: Sequence[float]) -> None:
    if not clusterers:
        raise ConfigurationError("clusterers: a benchmark needs at least one")
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigurationError(f"seeds: a benchmark needs at least one, each once, got {list(seeds)}")
    if wrong := [seed for seed in seeds if not 0 <= seed < 1 << 32]:
        raise ConfigurationError(f"seeds: each is at least 0 and smaller than 2**32, got {wrong[0]}")
    if any(not budget > 0 for budget in budgets) or len({f"{budget:g}" for budget in budgets}) < len(budgets):
        raise ConfigurationError(f"budgets must be positive, each once, got {list(budgets)}")


def _check_given(axes: Mapping[str, object]) -> None:
    for axis, given in axes.items():
        if given is None or (axis in ("data", "attacks") and not given):  # None: in a file, a name with nothing under it
            raise ConfigurationError(f"{axis}: no settings at all")


def _check_placeholders(defence: str, settings: Settings) -> None:
    if not settings:
        raise ConfigurationError(f"defences: {defence}: no settings at all")
    if unknown := {word for part in settings for word in re.findall(r"\{\w+\}", part)} - {_VICTIM}:
        raise ConfigurationError(f"defences: {defence}: {min(unknown)} stands for nothing; {_VICTIM} does, for a checkpoint")


def _choices(names: Mapping[str, object]) -> list[str]:
    """What an axis of names offers to choose from; nothing where its one name is empty."""
    return [name or _NONE for name in names] if any(names) else []


def _check_names(axis: str, names: Mapping[str, object]) -> None:
    if _NONE in names and "" in names:
        raise ConfigurationError(f"{axis}: {_NONE!r} is what has an empty name; give it another")
    for name in names:
        if name and not re.fullmatch(r"[\w+-][\w.+-]*", name):
            raise ConfigurationError(
                f"{axis}: {name!r} cannot be a folder's name; letters, digits and ._+- can, with no dot in front"
            )
        if name.endswith(EARLIER):
            raise ConfigurationError(f"{axis}: {name!r} is how a folder is named that waits for another's end")


def _clusterer_of(settings: Settings) -> list[str]:
    """The options that give a defender the clusterer of a victim's settings."""
    found: list[str] = []
    for part, content in _contents(settings):
        if part.startswith(("--model.clusterer", "--model.init_args.clusterer")):
            found.append(part)
        with suppress(KeyError, TypeError):
            clusterer = content["model"]["init_args"]["clusterer"]
            found.append("--config=" + json.dumps({"model": {"init_args": {"clusterer": clusterer}}}))
    return found


def _model_and_data(settings: Settings) -> list[str]:
    """What settings say of the model and the data."""
    found: list[str] = []
    for part, content in _contents(settings):
        if part.startswith(("--model", "--data", "--allow")):
            found.append(part)
        elif content:
            found.append("--config=" + json.dumps({name: content[name] for name in ("model", "data") if name in content}))
    return found


def _own_classes(settings: Settings) -> Iterator[str]:
    """The class paths from outside ar_dmvc that settings name for model and data."""
    for part, content in _contents(settings):
        found = [path for name in ("model", "data") for path in _class_paths(content.get(name))]
        if option := _OF_A_CLASS.fullmatch(part):
            found.append(option[1])
        yield from (path for path in found if "." in path and not path.startswith("ar_dmvc."))


def _class_paths(settings: object) -> Iterator[str]:
    if isinstance(settings, Mapping):
        if isinstance(path := settings.get("class_path"), str):
            yield path
        for value in settings.values():
            yield from _class_paths(value)


def _contents(settings: Settings) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each part of settings, with what it holds where it is a configuration file."""
    for part in settings:
        name, content = part.removeprefix("--config="), None
        if name.startswith("{"):
            content = load_yaml(name)
        elif (part.startswith("--config=") or not part.startswith("-")) and (path := find_file(name)).is_file():
            content = load_yaml(path.read_text())
        yield part, content if isinstance(content, dict) else {}


def _selection(only: str, axes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Of the axes that are named the values that are asked for."""
    chosen: dict[str, list[str]] = {}
    for part in filter(None, map(str.strip, only.split(","))):
        axis, _, value = (piece.strip() for piece in part.partition("="))
        if axis not in axes or value not in axes[axis]:
            known = "; ".join(f"{name}={', '.join(values)}" for name, values in axes.items() if values)
            raise ConfigurationError(f"only: {part!r} names nothing in this grid; it has {known}")
        chosen.setdefault(axis, []).append(value)
    return chosen


def _read_scores(folder: Path) -> dict[str, Scores]:
    scores: dict[str, Scores] = json.loads((folder / "robustness.json").read_text())["scores"]
    return scores
