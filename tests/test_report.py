"""Reports: tables that say what tests found, and a page that shows it, whatever names and files hold."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet
import pytest
import yaml

import ar_dmvc.modules.base
from ar_dmvc.benchmark.grid import Benchmark, Point, Trial
from ar_dmvc.report import find_runs, write_report
from ar_dmvc.report.caveats import caveats
from ar_dmvc.report.charts import _over_budgets, curves
from ar_dmvc.report.grouping import groups
from tests.conftest import QUIET, Outcome

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
MARKUP = "<script>alert(1)</script>&\"'"


def scores(worst: float) -> dict[str, dict[str, float]]:
    row = {"acc": 0.9, "nmi": 0.8, "ari": 0.7, "purity": 0.9, "fixed_acc": 0.9, "kept": 1.0}
    return {"clean": row, "pgd": {**row, "fixed_acc": 0.5}, "worst": {**row, "acc": worst, "fixed_acc": worst, "kept": worst}}


def leave_test(folder: Path, worst: float, **more: object) -> None:
    """What a test leaves, as far as a report needs it."""
    folder.mkdir(parents=True)
    about = {"data": "Digits", "clusterer": "CoMVC", "torch": "2", "samples": "500"}
    content = {
        "scores": scores(worst),
        "budgets": {"pgd": 0.1},
        "costs": {"pgd": {"seconds": 1.5}},
        "about": about,
        "notes": [],
    }
    (folder / "robustness.json").write_text(json.dumps({**content, **more}))


def leave_benchmark_test(output: Path, worst: float, seed: int = 0, data: str = "", **axes: str) -> None:
    """What a benchmark's test leaves, in its folder and beside it."""
    point = Point(data, "CoMVC", axes.get("defence", ""), seed)
    trial = Trial(axes.get("attacker", ""), axes.get("suite", ""), float(axes["budget"]) if "budget" in axes else None)
    defences = {point.defence: ["{victim}"]} if point.defence else {}
    names = {"data": {data: []}, "attacks": {trial.suite: []}, "attacker": {trial.attacker: []}, "defences": defences}
    job = Benchmark(clusterers={"CoMVC": []}, output=output, **names).test(point, trial)
    leave_test(job.folder, worst, budgets={"pgd": float(axes.get("budget", 0.1))})
    record = {"done": True, "labels": {**job.labels, **axes}}
    job.folder.with_name(f"{job.folder.name}.json").write_text(json.dumps(record))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed, worst in enumerate((0.1, 0.2, 0.3)):
        leave_test(tmp_path / f"grid/CoMVC/seed_{seed}/test", worst)
    leave_test(tmp_path / "grid/robust_1/seed_0/test", 0.8, notes=[MARKUP], about={"data": MARKUP})
    leave_test(tmp_path / "grid/b/seed_10/test", 0.05, about={"data": "Digits $\\bad", "samples": "9" * 5000})
    return tmp_path / "grid"


class Page(HTMLParser):
    """Rows of the first table, and all text and references of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.scripts = 0
        self.references: list[str] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data.strip()


def test_the_tables_say_what_the_tests_found(runs: Path) -> None:
    write_report(runs)
    with (runs / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 3 * 6
    wanted = {"data": "Digits", "clusterer": "CoMVC", "attack": "worst", "budget": "", "seed": "1", "metric": "kept"}
    assert [row["value"] for row in rows if wanted.items() <= row.items()] == ["0.2"]
    assert {row["budget"] for row in rows if row["attack"] == "pgd"} == {"0.1"}
    text = (runs / "report.tex").read_text()
    assert r"Digits & CoMVC & $\mathbf{0.900 \pm 0.000}$ & $\mathbf{0.800 \pm 0.000}$ & $\mathbf{0.200 \pm 0.100}$ &" in text
    assert r"script>\&" in text
    assert r"robust\_1 & $\mathbf{0.900}$ & $\mathbf{0.800}$ & $\mathbf{0.800}$ &" in text


def test_best_in_bold_is_that_of_each_data_set_and_uneven_tests_are_noted(runs: Path) -> None:
    leave_test(runs / "other/seed_0/test", 0.15, about={"data": "Digits", "samples": "300"})
    note = "tests on Digits are of 300 to 500 samples: compare with care"
    page = Page(write_report(runs).read_text())
    assert [row[3] for row in page.rows[1:5]] == ["500", "–", "300", "–"]
    assert f"Note: {note}." in (runs / "report.html").read_text()
    text = (runs / "report.tex").read_text()
    assert f"% {note}\n" in text
    assert r"Digits & other & $\mathbf{0.900}$ & $\mathbf{0.800}$ & $0.150$ &" in text


def test_best_in_bold_is_that_of_each_suite(runs: Path) -> None:
    for suite, kept in (("weak", 0.7), ("strong", 0.3)):
        for name in ("one", "two"):
            leave_test(runs / f"{name}/seed_0/test_{suite}", kept - (name == "two") / 10, about={"data": "Other"})
    text = (write_report(runs).parent / "report.tex").read_text()
    for row in (r"one & weak & .* & $\mathbf{0.700}$", r"two & weak & .* & $0.600$", r"one & strong & .* & $\mathbf{0.300}$"):
        assert re.search(re.escape(row).replace(re.escape(".*"), ".*"), text), row


def test_what_a_benchmark_says_of_its_tests_has_columns(tmp_path: Path) -> None:
    leave_benchmark_test(tmp_path, 0.1, data="Digits", suite="strongest", attacker="published")
    for seed, worst in enumerate((0.7, 0.9)):
        leave_benchmark_test(tmp_path, worst, seed, data="Digits", suite="strongest", defence="robust")
    with (write_report(tmp_path).parent / "report.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["attack"] == "pgd" and row["metric"] == "kept"]
    assert [list(row.values()) for row in rows] == [
        ["Digits", "CoMVC", defence, attacker, "strongest", "", "pgd", "0.1", seed, "kept", "1.0"]
        for defence, attacker, seed in (("", "published", "0"), ("robust", "", "0"), ("robust", "", "1"))
    ]
    page = Page((tmp_path / "report.html").read_text())
    assert page.rows[0][:6] == ["data", "clusterer", "defence", "attacker", "suite", "seeds"]
    assert page.rows[2][:6] == ["Digits", "CoMVC", "robust", "", "strongest", "2"]
    assert r"Digits & CoMVC & robust &  & strongest & $\mathbf{0.900 \pm 0.000}$" in (tmp_path / "report.tex").read_text()
    assert "| Digits | CoMVC |  | published | strongest | 0.900 |" in (tmp_path / "report.md").read_text()


def test_each_number_has_a_row_that_no_other_has(tmp_path: Path) -> None:
    for seed, budget in ((0, "0.05"), (0, "0.2"), (1, "0.2")):
        leave_benchmark_test(tmp_path, 0.5, seed, budget=budget)
    with (write_report(tmp_path).parent / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({tuple(row.values())[:-1] for row in rows}) == len(rows) == 3 * 18
    assert {row["grid_budget"] for row in rows if row["attack"] == "worst"} == {"0.05", "0.2"}


@pytest.mark.parametrize("data", ["", "Digits"])
def test_a_copy_is_no_further_seed(data: str, tmp_path: Path) -> None:
    leave_benchmark_test(tmp_path, 0.8, data=data)
    folder = tmp_path / data
    for new in ("CoMVC_old/seed_0", "CoMVC/seed_00", "CoMVC/seed_1"):
        shutil.copytree(folder / "CoMVC/seed_0", folder / new)
    shutil.copytree(folder / "CoMVC/seed_0/test", folder / "CoMVC/seed_0/test_old")
    shutil.copy(folder / "CoMVC/seed_0/test.json", folder / "CoMVC/seed_0/test_old.json")
    runs = find_runs(tmp_path)
    assert len(groups(runs)) == len({(run.subject, run.seed) for run in runs}) == len(runs) == 5


def test_what_other_settings_made_before_is_no_result(tmp_path: Path) -> None:
    leave_benchmark_test(tmp_path, 0.8)
    shutil.copytree(tmp_path / "CoMVC/seed_0/test", tmp_path / "CoMVC/seed_0/test.earlier")
    assert [run.folder.name for run in find_runs(tmp_path)] == ["test"]
    assert [run.folder.name for run in find_runs(tmp_path / "CoMVC/seed_0/test.earlier")] == ["test.earlier"]


def test_grids_in_folders_of_their_own_are_not_averaged(tmp_path: Path) -> None:
    for grid, worst in (("full", 0.1), ("small", 0.3)):
        leave_benchmark_test(tmp_path / grid, worst, data="Digits")
        leave_benchmark_test(tmp_path / grid, worst, data="other")
    found = {(run.subject.data, run.subject.clusterer): run.scores["worst"]["acc"] for run in find_runs(tmp_path)}
    both = ("full", 0.1), ("small", 0.3)
    assert found == {(data, f"{grid}/CoMVC"): worst for data in ("Digits", "other") for grid, worst in both}


def test_tests_of_several_budgets_make_curves(tmp_path: Path) -> None:
    for budget in (0.05, 0.1):
        for seed in (0, 1):
            leave_benchmark_test(tmp_path, 0.9 - budget, seed, budget=f"{budget:g}")
    leave_benchmark_test(tmp_path, 0.3, defence="robust", budget="0.1")
    drawn, left_out = curves(groups(find_runs(tmp_path)))
    assert left_out == 0
    assert list(drawn) == ["worst", "pgd"]
    assert b"<!-- CoMVC -->" in drawn["worst"]
    assert b"robust" not in drawn["worst"]  # of one budget
    page = (write_report(tmp_path)).read_text()
    assert page.count('alt="Against the budget: ') == 2
    assert "Not drawn" not in page


def test_attacks_with_a_budget_of_their_own_have_none_of_the_grid_s(tmp_path: Path) -> None:
    for budget in ("0.05", "0.1"):
        leave_benchmark_test(tmp_path, 0.5, budget=budget)
        path = tmp_path / f"CoMVC/seed_0/test_{budget}/robustness.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "budgets": {"pgd": 0.3}}))
    found = find_runs(tmp_path)
    assert list(curves(groups(found))[0]) == ["worst"]
    assert caveats(found) == [
        "tests on Digits are of several budgets, but for attacks with their own, of which the worst case is as well: pgd"
    ]


def test_each_line_of_a_curve_has_its_label(tmp_path: Path) -> None:
    for data, attack in (("a", "square"), ("b", "rays")):
        for budget in ("0.05", "0.1"):
            leave_benchmark_test(tmp_path, 0.5, data=data, budget=budget)
            path = tmp_path / f"{data}/CoMVC/seed_0/test_{budget}/robustness.json"
            content = json.loads(path.read_text())
            path.write_text(json.dumps({**content, "scores": {**content["scores"], attack: content["scores"]["pgd"]}}))
    for chart, labels in curves(groups(find_runs(tmp_path)))[0].items():
        assert re.findall(rb"<!-- (CoMVC.*?) -->", labels) == {
            "square": [b"CoMVC (a)"],
            "rays": [b"CoMVC (b)"],
        }.get(chart, [b"CoMVC (a)", b"CoMVC (b)"])


def test_of_a_stranger_s_curve_a_part_is_drawn(runs: Path) -> None:
    rows = [f"attack_{number},{epsilon},0.5,2e300" for number in range(30) for epsilon in ("-1e308", "0.1", "1e308")]
    (runs / "CoMVC/seed_0/test/robustness_curve.csv").write_text("\n".join(["attack,epsilon,fixed_acc,nmi", *rows]))
    leave_benchmark_test(runs / "far", 0.5, budget="1e308")
    leave_benchmark_test(runs / "far", 0.5, budget="2e308")
    drawn, left_out = curves(groups(find_runs(runs)))
    assert (len(drawn), left_out) == (20, 10)
    assert "Not drawn: 10 more attacks" in write_report(runs).read_text()


def test_curves_are_of_all_seeds(tmp_path: Path) -> None:
    for seed, value in enumerate((0.2, 0.4)):
        leave_benchmark_test(tmp_path, 0.5, seed)
        rows = f"attack,epsilon,fixed_acc\npgd,0.1,{value}\npgd,{0.2 + seed},{value}\n"
        (tmp_path / f"CoMVC/seed_{seed}/test/robustness_curve.csv").write_text(rows)
    ((_, points),) = _over_budgets(groups(find_runs(tmp_path)))["pgd"].items()
    assert [(budget, str(cells["fixed_acc"])) for budget, cells in points] == [
        (0.1, "0.300±0.141"),
        (0.2, "0.200"),
        (1.2, "0.400"),
    ]


def test_half_a_character_is_replaced(runs: Path) -> None:
    leave_test(runs / "half/seed_0/test", 0.5, about={"data": "\ud800", "x\udfff": "y"}, notes=["\udc00"])
    page = write_report(runs).read_text()
    assert "<li>?</li>" in page
    assert "<dt>x?</dt><dd>y</dd>" in page
    assert ["?", "half", "1", "–"] in [row[:4] for row in Page(page).rows]


def test_seeds_of_different_settings_are_noted(tmp_path: Path) -> None:
    for seed, epochs in enumerate((3, 3, 4)):
        leave_benchmark_test(tmp_path, 0.1, seed)
        folder = tmp_path / f"CoMVC/seed_{seed}"
        (folder / "fit").mkdir()
        trainer = {"max_epochs": epochs, "default_root_dir": f"other/{seed}", "enable_progress_bar": seed == 1}
        settings = {"seed_everything": seed, "trainer": trainer, "model": {"teacher": f"{'/moved' * seed}/A/seed_{seed}/fit"}}
        (folder / "fit/config.yaml").write_text(yaml.safe_dump(settings))
        (folder / "test/config.yaml").write_text(f"seed_everything: {seed}\n")
        if seed == 1:
            assert caveats(find_runs(tmp_path)) == []
    note = "the trainings of CoMVC on Digits differ in more than their seed: trainer.max_epochs"
    assert caveats(find_runs(tmp_path)) == [note]
    assert f"Note: {note}" in write_report(tmp_path).read_text()
    assert f"* {note}\n".replace("_", r"\_") in (tmp_path / "report.md").read_text()
    (folder / "fit/config.yaml").write_text("a: [")
    assert caveats(find_runs(tmp_path)) == []


def test_of_many_settings_that_differ_some_are_named(tmp_path: Path) -> None:
    deep = "\n".join(["l0: &l0 [1]", *(f"l{level}: &l{level} [*l{level - 1}]" for level in range(1, 1300))])
    for seed, text in enumerate((deep, "\n".join(f"{'n' * 200}{number}: 1" for number in range(5000)))):
        leave_benchmark_test(tmp_path, 0.1, seed)
        (tmp_path / f"CoMVC/seed_{seed}/fit").mkdir()
        (tmp_path / f"CoMVC/seed_{seed}/fit/config.yaml").write_text(text)
    (note,) = caveats(find_runs(tmp_path))
    assert note.endswith(", and more")
    assert len(note) < 1500


def test_the_worst_of_no_attack_is_none(runs: Path) -> None:
    clean = scores(0.9)["clean"]
    leave_test(
        runs / "untried/seed_0/test", 0.9, about={"data": "Digits", "samples": "500"}, scores={"clean": clean, "worst": clean}
    )
    page = Page(write_report(runs).read_text())
    assert next(row for row in page.rows if "untried" in row[1:2])[4:] == ["0.900", "–", "–"]
    text = (runs / "report.tex").read_text()
    assert r"Digits & untried & $\mathbf{0.900}$ & $\mathbf{0.800}$ & -- & --" in text
    assert "| Digits | untried | 0.900 | 0.800 | – | – |\n" in (runs / "report.md").read_text()
    assert "% tests on Digits are not all under the same attacks" in text


def test_parquet_holds_what_csv_does(runs: Path) -> None:
    write_report(runs)
    with (runs / "report.csv").open() as file:
        expected = list(csv.DictReader(file))
    found = pyarrow.parquet.read_table(runs / "report.parquet").to_pylist()
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in found] == expected


def test_rows_and_page_are_logged_to_weights_and_biases(runs: Path) -> None:
    # In a process of its own: wandb leaves a service and variables behind.
    command = [sys.executable, "-m", "ar_dmvc", "report", runs, "--wandb=mine"]
    done = subprocess.run(command, env={**os.environ, "WANDB_MODE": "offline"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = (runs / "report.html").read_text()
    (folder,) = runs.glob("wandb/offline-run-*/files/media")
    (table,), (page,) = (list(folder.glob(pattern)) for pattern in ("table/*.json", "html/*.html"))
    content = json.loads(table.read_text())
    assert content["columns"] == [
        *("data", "clusterer", "defence", "attacker", "suite", "grid_budget", "attack", "budget", "seed", "metric", "value"),
    ]
    with (runs / "report.csv").open() as file:
        assert len(content["data"]) == len(list(csv.DictReader(file)))
    assert page.read_text() == written


def test_the_page_stands_alone_and_takes_names_for_text(runs: Path) -> None:
    page = Page(write_report(runs).read_text())
    assert page.rows[0] == ["data", "clusterer", "seeds", "samples", "clean", "worst", "pgd"]
    assert page.rows[1] == ["Digits", "CoMVC", "3", "500", "0.900±0.000", "0.200±0.100", "0.500±0.000"]
    assert page.rows[3] == [MARKUP, "robust_1", "1", "–", "0.900", "0.800", "0.500"]
    assert page.scripts == 1
    assert page.references
    assert all(reference.startswith("data:image/") for reference in page.references)


def test_the_paper_s_figures_stand_beside_ours(tmp_path: Path) -> None:
    row = scores(0.4)["pgd"]
    for folder, about, budget in (
        ("NoisyMNIST/CoMVC+AR-DMVC/seed_0/test_published", "NoisyMNIST", 0.3),
        ("NoisyMNIST/CoMVC+AR-DMVC-AM/seed_0/test_published_0.1", "NoisyMNIST", 0.1),
        ("NoisyFashion/CoMVC+AR-DMVC-AM/seed_0/test_strongest_unseen", "NoisyFashion", 0.15),
        ("NoisyMNIST/CoMVC/seed_0/test_published", "NoisyMNIST", 0.3),
        ("NoisyMNIST/CoMVC+AR-DMVC-AM/seed_0/test_published_0.3", "NoisyMNIST", 0.3),
        ("NoisyMNIST/CoMVC+AR-DMVC/seed_0/test_seen", "NoisyMNIST (classes 0, 1)", 0.3),
    ):
        leave_test(tmp_path / folder, 0.3, about={"data": about}, budgets={"gan": budget}, scores={**scores(0.3), "gan": row})
    page = write_report(tmp_path).read_text().partition("Beside the paper")[2]
    assert "the best has 0.31 under the GAN attack, on NoisyMNIST with a budget of 0.3." in page
    rows = [row[7:] for row in Page(page).rows if row[:1] and row[0].startswith("Noisy")]
    assert rows == [
        ["0.15", "–", "0.900", "0.52", "0.900"],
        ["0.3", "0.99", "0.900", "0.90", "0.900"],
        ["0.1", "–", "0.900", "0.99", "0.900"],
        ["0.3", "0.99", "0.900", "0.93", "0.900"],
    ]
    shutil.rmtree(tmp_path / "NoisyMNIST")
    leave_benchmark_test(tmp_path, 0.3, data="NoisyMNIST", defence="AR-DMVC-AM", budget="0.3")
    (test,) = tmp_path.glob("NoisyMNIST/*/seed_0/test_0.3/robustness.json")
    about = {"data": "NoisyMNIST", "samples": "200", "batch statistics": "of the batch at hand"}
    content = json.loads(test.read_text())
    test.write_text(json.dumps({**content, "about": about, "budgets": {"gan": 0.3}, "scores": {**scores(0.3), "gan": row}}))
    for name, epochs in (("fit", 7), ("gan", 2)):
        settings = {"trainer": {"max_epochs": epochs}, "data": {"init_args": {"splits": ["test"]}}}
        (test.parent.with_name(name) / "checkpoints").mkdir(parents=True)
        (test.parent.with_name(name) / "config.yaml").write_text(yaml.safe_dump(settings))
    (test.parent / "config.yaml").write_text("ckpt_path: seed_0/gan/checkpoints/last.ckpt\n")
    page = write_report(tmp_path).read_text().partition("Beside the paper")[2]
    found = [row for row in Page(page).rows if row[:3] == ["NoisyMNIST", "CoMVC", "AR-DMVC-AM"]]
    trained = "7 epochs of the test images; generator 2 epochs"
    assert [row[4:] for row in found] == [[trained, "of the batch at hand", "1", "200", "0.3", "–", "0.900", "0.94", "0.900"]]
    assert "GAN ACC" in (tmp_path / "report.md").read_text()
    for hostile in ({"max_epochs": 10**400}, {"max_epochs": True}, {"max_epochs": [7]}):
        (test.parent.with_name("fit") / "config.yaml").write_text(yaml.safe_dump({"trainer": hostile}))
        assert write_report(tmp_path)
    (test.parent.with_name("fit") / "config.yaml").write_text(f"data: {{class_path: 0x{'f' * 5000}}}")
    assert write_report(tmp_path)
    settings = {"data": {"class_path": "ar_dmvc.data.NoisyFashion"}}  # trained on other data than the paper's
    (test.parent.with_name("fit") / "config.yaml").write_text(yaml.safe_dump(settings))
    page = write_report(tmp_path).read_text().partition("Beside the paper")[2]
    assert [row for row in Page(page).rows if row[:1] == ["NoisyMNIST"]] == []


def test_it_is_of_the_tests_that_are_named(runs: Path) -> None:
    write_report(runs, [runs / "CoMVC/seed_1/test"])
    with (runs / "report.csv").open() as file:
        assert {(row["clusterer"], row["seed"]) for row in csv.DictReader(file)} == {("CoMVC", "1")}


def test_a_number_of_any_length_is_left_out(runs: Path) -> None:
    leave_test(runs / "long/seed_0/test", 10**400)
    assert "worst" in next(run for run in find_runs(runs) if run.subject.name == "long").scores


def test_training_that_was_resumed_is_shown_from_its_beginning(runs: Path) -> None:
    fit = runs / "CoMVC/seed_0/fit"
    fit.mkdir()
    for name, epoch in (("metrics.1.csv", 0), ("metrics.2.csv", 1), ("metrics.csv", 2)):
        (fit / name).write_text(f"epoch,val/acc\n{epoch},0.5\n")
    run = next(run for run in find_runs(runs) if run.subject.name == "CoMVC" and run.seed == 0)
    assert run.trainings == {"training": {"val/acc": [(0, 0.5), (1, 0.5), (2, 0.5)]}}


def test_a_generator_is_shown_as_it_was_trained(tmp_path: Path) -> None:
    leave_benchmark_test(tmp_path, 0.5)
    seed = tmp_path / "CoMVC/seed_0"
    for name in ("fit", "gan"):
        (seed / name / "checkpoints").mkdir(parents=True)
        (seed / name / "config.yaml").write_text(f"made_by: {name}\n")
        (seed / name / "metrics.csv").write_text("epoch,train/loss,val/acc\n0,1.5,0.5\n")
    (seed / "gan.json").write_text('{"done": true, "seconds": 12.25, "machine": {"device": "cuda: <one>"}}')
    (seed / "test/config.yaml").write_text("ckpt_path: moved/CoMVC/seed_0/gan/checkpoints/last.ckpt\n")
    page = write_report(tmp_path).read_text()
    for part in ("training", "generator&#39;s training"):
        assert f"<h3>Configuration of the {part}</h3>" in page
        assert f'alt="{part.capitalize()}: losses' in page
    assert "<dt>generator&#39;s training</dt><dd>12.2 s, on cuda: &lt;one&gt;</dd>" in page
    for stranger in ("../../x", "\\0/x/y", "none/x/y"):
        (seed / "test/config.yaml").write_text(f'ckpt_path: "{stranger}"\n')
        assert list(find_runs(tmp_path)[0].trainings) == ["training"]
    for version in range(2):  # as without a benchmark
        leave_test(tmp_path / f"runs/test/version_{version}", 0.5)
        config = tmp_path / f"runs/test/version_{version}/config.yaml"
        config.write_text("ckpt_path: runs/fit/version_0/checkpoints/last.ckpt\n")
        assert list(find_runs(tmp_path / "runs")[0].configurations) == ["test"]


def test_notes_say_of_which_seeds_they_are(tmp_path: Path) -> None:
    for seed in range(3):
        leave_benchmark_test(tmp_path, 0.5, seed)
        path = tmp_path / f"CoMVC/seed_{seed}/test/robustness.json"
        notes = ["of all", *(["of two"] if seed else []), *(["of one"] if seed == 2 else [])]
        path.write_text(json.dumps({**json.loads(path.read_text()), "notes": notes}))
    page = write_report(tmp_path).read_text()
    assert "<li>of all</li><li>seeds 1, 2: of two</li><li>seed 2: of one</li>" in page


def test_it_is_the_same_page_again(runs: Path) -> None:
    first = write_report(runs).read_text()
    assert write_report(runs).read_text() == first


def test_what_is_no_test_is_left_out_and_what_is_no_picture_not_shown(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, content in enumerate(
        (
            "{}",
            "{",
            "[]",
            '{"scores": 3}',
            '{"scores": {"clean": 3}}',
            '{"scores": {"worst": {}}}',
            '{"scores": {"clean": {"x": 1}}}',
        )
    ):
        folder = runs / f"odd/seed_{number}/test"
        folder.mkdir(parents=True)
        (folder / "robustness.json").write_text(content)
    pictures = runs / "CoMVC/seed_0/test/pictures"
    pictures.mkdir()
    (pictures / "test_a.png").write_text("<svg onload=alert(1)>")
    (pictures / "test_b.png").symlink_to("/etc/hostname")
    leave_test(runs.parent / "elsewhere/seed_0/test", 0.1)
    for name, content in (("pictures/test_c.png", b"\x89PNG\r\n\x1a\n"), ("config.yaml", b"seed_everything: 3")):
        (runs.parent / "elsewhere" / name).parent.mkdir(exist_ok=True)
        (runs.parent / "elsewhere" / name).write_bytes(content)
    (runs / "b/seed_10/test/pictures").symlink_to(runs.parent / "elsewhere/pictures")
    (runs / "b/seed_10/fit").symlink_to(runs.parent / "elsewhere")
    (runs / "linked").symlink_to(runs.parent / "elsewhere")
    (runs / "CoMVC/seed_0/test/robustness_rows.npz").write_bytes(b"PK\3\4")
    (runs / "CoMVC/seed_0/test/robustness_curve.csv").write_text("epsilon,acc\n0.1,0.5\n")
    (runs / "CoMVC/seed_0/fit").mkdir()
    (runs / "CoMVC/seed_0/fit/metrics.csv").write_text("epoch,train/$\\x,val/acc\n0,1.5,nan\n1,,0.5\n")
    found = find_runs(runs)
    assert len(found) == 5
    assert capsys.readouterr().err.count("left out, not what a test writes") == 7
    first, linked = (next(run for run in found if run.subject.name == name) for name in ("CoMVC", "b"))
    assert first.pictures == linked.pictures == linked.configurations == {}
    assert first.record is None
    write_report(runs)


def test_a_real_test_is_shown_with_all_that_it_left(victim: Path, ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    few = ("--trainer.limit_test_batches=1", "--data.batch_size=40", "--epsilons=[0, 0.1]", "--resolution=null", *QUIET)
    attacks = '--model.attacks={"fgsm": {"class_path": "FGSM", "init_args": {"objective": "cross_entropy"}}}'
    assert ardmvc("test", f"--ckpt_path={victim}", attacks, *few).code == 0
    outcome = ardmvc("report", "runs")
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "runs/report.html").read_text()
    assert len(re.findall(r'src="data:image/svg', page)) == 4  # overview, two curves, confusion; training lies elsewhere
    assert len(re.findall(r'src="data:image/png', page)) == 3  # the attack, its curve, the projection
    assert "Configuration of the test" in page
    assert "NoisyMNIST" not in page
    (run,) = find_runs(tmp_path / "runs")
    assert (run.subject.name, run.seed, run.subject.data) == ("test/version_0", 0, "Digits")
    assert run.budgets == {"fgsm": 0.1}
    assert run.record is not None
    assert len(run.record.index) == 40


def test_the_projection_is_of_the_attack_that_moves_most(
    victim: Path, ardmvc: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    real = ar_dmvc.modules.base.projection_figure
    monkeypatch.setattr(ar_dmvc.modules.base, "projection_figure", lambda *args: shown.append(args[-1]) or real(*args))
    attack = {"class_path": "FGSM", "init_args": {"objective": "cross_entropy"}}
    attacks = {"strong": attack, "weak": {"class_path": "UniformNoise", "init_args": {"epsilon": 1e-6}}}
    few = ("--trainer.limit_test_batches=1", "--data.batch_size=40", *QUIET)
    assert ardmvc("test", f"--ckpt_path={victim}", f"--model.attacks={json.dumps(attacks)}", *few).code == 0
    assert shown == ["strong"]


def acted_on(page: Path, acts: str) -> str:
    """The page in a browser after what somebody does there, which leads to no message of the browser's."""
    acted = page.with_name("acted.html")
    acted.write_text(page.read_text().replace("</body>", f"<script>{acts}</script></body>"))
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    made = subprocess.run([*command, f"file://{acted}"], capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in made.stderr
    return made.stdout


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_in_a_browser_metrics_change_and_columns_sort(runs: Path) -> None:
    acts = """
      document.querySelector("input[value=kept]").click();
      document.querySelectorAll("#scores thead button")[5].click();
    """
    rows = Page(acted_on(write_report(runs), acts)).rows
    assert [row[1] for row in rows[1:]] == ["robust_1", "CoMVC", "b"]
    assert [row[4] for row in rows[1:]] == ["1.000", "1.000±0.000", "1.000"]


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_in_a_browser_the_paper_s_figures_sort(tmp_path: Path) -> None:
    for method, budget in (("AR-DMVC", 0.3), ("AR-DMVC-AM", 0.1)):
        row = {**scores(0.3), "gan": scores(0.4)["pgd"]}
        folder = tmp_path / f"CoMVC+{method}/seed_0/test"
        leave_test(folder, 0.3, about={"data": "NoisyMNIST"}, budgets={"gan": budget}, scores=row)
    found = []
    for clicks in (1, 2):
        acts = "document.querySelectorAll('table.sorts')[1].querySelectorAll('thead button')[6].click();" * clicks
        page = acted_on(write_report(tmp_path), acts).partition("Beside the paper")[2]
        found.append([row[6] for row in Page(page).rows if row[:1] == ["NoisyMNIST"]])
    assert found == [["0.3", "0.1"], ["0.1", "0.3"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "takes a folder"),
        (["none"], "none: no such folder"),
        (["."], "no test has been run below it"),
        (["--output=x"], "unrecognized arguments: --output=x"),
    ],
)
def test_wrong_calls_are_said(arguments: list[str], message: str, ardmvc: Callable[..., Outcome]) -> None:
    outcome = ardmvc("report", *arguments)
    assert outcome.code in (1, 2)
    assert message in outcome.err
