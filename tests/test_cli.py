"""The real command line, as a user types it."""

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ar_dmvc import load_clusterer
from ar_dmvc.attacks import FGSM, PGD, Transfer, standard_suite
from ar_dmvc.benchmark import Benchmark
from ar_dmvc.clusterers.loading import BUILT_IN
from ar_dmvc.data import Digits
from tests.conftest import CONFIGS, ONE_BATCH, ONE_STEP, QUIET, Outcome, fit_arguments
from tests.data.test_data import write_mnist
from tests.data.test_feature_views import labels, views, write_npz
from tests.data.test_regdb import write_regdb
from tests.processes import Beside, free_port, ranks

Call = Callable[..., Outcome]
DEFENCES = sorted(CONFIGS.glob("defenders/ar_dmvc*.yaml"))
TRAINED = [*CONFIGS.glob("victims/*.yaml"), *CONFIGS.glob("defenders/*.yaml")]
DRY = ("--trainer.fast_dev_run=true", "--trainer.accelerator=cpu")


def names(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


class TestEveryConfiguration:
    @pytest.mark.filterwarnings("ignore:the teacher puts no sample into clusters")  # after so few steps
    @pytest.mark.parametrize("config", TRAINED, ids=names(TRAINED))
    def test_clusterers_train(self, config: Path, ardmvc: Call) -> None:
        if config.stem == "multi_view_kmeans":
            pytest.importorskip("mvlearn.cluster", reason="mvlearn is installed by hand")
        outcome = ardmvc("fit", f"--config={config}", f"--config={CONFIGS}/data/digits.yaml", *DRY)
        assert outcome.code == 0, outcome.err

    @pytest.mark.parametrize("config", ["victims/comvc", "victims/multi_vae", "defenders/ar_dmvc_am"])
    def test_clusterers_train_on_larger_images(self, config: str, ardmvc: Call, tmp_path: Path) -> None:
        write_mnist(tmp_path / "mnist")
        few = ("--data.root=mnist", "--data.splits=[test]", "--data.batch_size=20")
        outcome = ardmvc("fit", f"--config={CONFIGS}/{config}.yaml", f"--config={CONFIGS}/data/noisy_mnist.yaml", *few, *DRY)
        assert outcome.code == 0, outcome.err

    @pytest.mark.parametrize("example", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
    def test_ready_examples_train(self, example: Path, ardmvc: Call) -> None:
        outcome = ardmvc("fit", f"--config={example}", f"--config={CONFIGS}/trainer/cpu.yaml", *DRY)
        assert outcome.code == 0, outcome.err

    @pytest.mark.parametrize("config", DEFENCES, ids=names(DEFENCES))
    @pytest.mark.parametrize("kind", [kind.__name__ for kind in BUILT_IN])
    def test_every_victim_is_defended(self, config: Path, kind: str, ardmvc: Call) -> None:
        straight_on = {
            "AECoDDC": ["--model.clusterer.pretraining_epochs=0"],
            "InfoDDC": ["--model.clusterer.pretraining_epochs=0"],
            "SEM": ["--model.clusterer.pretraining_epochs=0", "--model.clusterer.rounds=1", "--model.clusterer.starts=2"],
        }.get(kind, [])
        inner = "--model.attack.objective=attack_distance"
        outcome = ardmvc("fit", f"--config={config}", f"--model.clusterer={kind}", inner, *straight_on, *DRY)
        assert outcome.code == 0, outcome.err

    @pytest.mark.parametrize("suite", sorted(CONFIGS.glob("attacks/*.yaml")), ids=lambda path: path.stem)
    def test_suites_run(self, suite: Path, victim: Path, ardmvc: Call) -> None:
        outcome = ardmvc("test", f"--ckpt_path={victim}", f"--config={suite}", "--data.batch_size=10", *DRY)
        assert outcome.code == 0, outcome.err

    @pytest.mark.parametrize("grid", sorted(CONFIGS.glob("benchmark/**/*.yaml")), ids=lambda path: path.stem)
    def test_benchmarks_name_files_that_are_there(self, grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(CONFIGS.parent)
        jobs = list(Benchmark(**yaml.safe_load(grid.read_text())).jobs())
        assert jobs
        assert all(part.startswith("--") or Path(part).is_file() for job in jobs for part in job.configuration)

    @pytest.mark.parametrize("grid", ["demo", "digits", "paper/ablation", "paper/transfer"])
    def test_benchmarks_have_settings_that_fit(self, grid: str, ardmvc: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(CONFIGS.parent)
        outcome = ardmvc("benchmark", f"--config={CONFIGS}/benchmark/{grid}.yaml", "--dry_run=true")
        assert outcome.code == 0, outcome.err
        assert outcome.out.endswith(" of them done.\n")

    def test_gpu_settings_parse(self, ardmvc: Call) -> None:
        outcome = ardmvc(*fit_arguments("victims/comvc.yaml"), f"--config={CONFIGS}/trainer/gpu.yaml", "--print_config")
        assert yaml.safe_load(outcome.out)["trainer"]["precision"] == "bf16-mixed"

    @pytest.mark.parametrize("first", ["data", "attacker"])
    def test_attackers_train_whichever_file_comes_first(self, first: str, victim: Path, ardmvc: Call) -> None:
        files = [f"--config={CONFIGS}/data/digits.yaml", f"--config={CONFIGS}/attackers/gan.yaml"]
        outcome = ardmvc("fit", *(files if first == "data" else files[::-1]), f"--model.victim={victim}", *DRY)
        assert outcome.code == 0, outcome.err

    @pytest.mark.parametrize("order", [1, -1])
    def test_the_attacker_s_half_is_its_own_on_any_data(self, order: int, victim: Path, ardmvc: Call) -> None:
        files = [f"--config={CONFIGS}/attackers/gan.yaml", f"--config={CONFIGS}/data/noisy_mnist.yaml"]
        outcome = ardmvc("fit", *files[::order], f"--model.victim={victim}", "--print_config")
        data = yaml.safe_load(outcome.out)["data"]
        assert data["class_path"] == "ar_dmvc.data.NoisyMNIST"
        assert data["init_args"]["partition"] == "attacker"

    def test_the_budget_is_that_of_the_data_at_hand(self, ardmvc: Call, tmp_path: Path) -> None:
        write_mnist(tmp_path / "mnist")
        (tmp_path / "data.yaml").write_text("data: {class_path: NoisyMNIST, init_args: {root: mnist, splits: [test]}}")
        few = ("--config=data.yaml", *ONE_STEP)
        assert ardmvc(*fit_arguments("victims/simvc.yaml"), *few).code == 0
        victim = "--model.victim=runs/simvc/version_0/checkpoints/last.ckpt"
        for budget, more in ((0.3, []), (0.05, ["--data.epsilon=0.05"])):
            outcome = ardmvc(*fit_arguments("attackers/gan.yaml"), *few, victim, *more)
            assert outcome.code == 0, outcome.err
            newest = max(tmp_path.glob("runs/gan/*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
            assert torch.load(newest, weights_only=True)["generator"]["epsilon"] == budget

    def test_the_standard_suite_is_the_default(self, victim: Path, ardmvc: Call) -> None:
        config = yaml.safe_load((CONFIGS / "attacks" / "standard.yaml").read_text())["model"]["init_args"]["attacks"]
        suite = standard_suite()
        assert list(config) == list(suite)
        for name, attack in suite.items():
            assert config[name]["class_path"] == type(attack).__name__
            for setting, value in config[name].get("init_args", {}).items():
                own = getattr(attack, setting)
                assert getattr(own, "name", own) == value

    def test_every_setting_can_be_overridden_by_its_dotted_name(self, ardmvc: Call) -> None:
        outcome = ardmvc(
            *fit_arguments("defenders/robust_joint.yaml"),
            "--model.init_args.clusterer.init_args.temperature=0.3",
            "--model.attack.steps=7",
            "--data.batch_size=50",
            "--trainer.logger.name=mine",
            "--print_config",
        )
        config = yaml.safe_load(outcome.out)
        assert config["model"]["init_args"]["clusterer"]["init_args"]["temperature"] == 0.3
        assert config["model"]["init_args"]["attack"]["init_args"]["steps"] == 7
        assert config["model"]["init_args"]["attack"]["init_args"]["objective"] == "assignment_divergence"
        assert config["data"]["init_args"]["batch_size"] == 50
        assert config["trainer"]["logger"]["init_args"]["name"] == "mine"


LEARNS = {"simvc": 0.65, "comvc": 0.65, "eamc": 0.3, "multi_vae": 0.65, "aecoddc": 0.8, "infoddc": 0.6, "sem": 0.82}
"""Clean NMI that a short run reaches, under what docs/results.md records of three seeds, above that of untrained clusterers."""


class TestLearning:
    @pytest.mark.parametrize("victim_name", LEARNS)
    def test_every_victim_learns_digits(self, victim_name: str, ardmvc: Call, tmp_path: Path) -> None:
        short = Path(__file__).parent / "conf" / f"{victim_name}.yaml"
        outcome = ardmvc(*fit_arguments(f"victims/{victim_name}.yaml", "data/digits.yaml"), f"--config={short}")
        assert outcome.code == 0, outcome.err
        with (tmp_path / "runs" / victim_name / "version_0" / "metrics.csv").open() as file:
            values = [float(row["val/nmi"]) for row in csv.DictReader(file) if row["val/nmi"]]
        assert values[-1] > LEARNS[victim_name]

    def test_comvc_learns_digits(self, trained: Path) -> None:
        """Measured with seeds 0 to 4: 0.93, 0.93, 0.82, 0.99 and 0.91 after 10 epochs; this is seed 0."""
        with (trained / "metrics.csv").open() as file:
            values = [float(row["val/nmi"]) for row in csv.DictReader(file) if row["val/nmi"]]
        assert len(values) == 10
        assert values[-1] > 0.8

    def test_run_folder_holds_configuration_checkpoint_and_metrics(self, trained: Path, ardmvc: Call) -> None:
        assert {"config.yaml", "metrics.csv", "checkpoints"} <= {path.name for path in trained.iterdir()}
        again = ardmvc("fit", f"--config={trained}/config.yaml", "--print_config")
        assert yaml.safe_load(again.out) == yaml.safe_load((trained / "config.yaml").read_text())


DATA = {
    "NoisyFashion": ["--data.root=mnist", "--data.splits=[test]"],
    "PatchedMNIST": ["--data.root=mnist", "--data.splits=[test]"],
    "EdgeMNIST": ["--data.root=mnist", "--data.splits=[test]"],
    "EdgeFashion": ["--data.root=mnist", "--data.splits=[test]"],
    "RegDB": ["--data.root=regdb", "--data.identities=4", "--data.batch_size=4"],
    "FeatureViews": ["--data.path=features/views.npz"],
}


class TestData:
    @pytest.fixture
    def files(self, tmp_path: Path) -> None:
        write_mnist(tmp_path / "mnist")
        write_regdb(tmp_path / "regdb")
        (tmp_path / "features").mkdir()
        write_npz(tmp_path / "features", views(), labels=labels())

    @pytest.mark.usefixtures("files")
    @pytest.mark.parametrize("config", sorted(CONFIGS.glob("data/*.yaml")), ids=lambda path: path.stem)
    def test_every_set_trains(self, config: Path, ardmvc: Call) -> None:
        kind = yaml.safe_load(config.read_text())["data"]["class_path"]
        root = ["--data.root=mnist", "--data.splits=[test]"] if kind == "NoisyMNIST" else []
        settings = [*([] if "batch_size" in str(DATA.get(kind)) else ["--data.batch_size=10"]), *root, *DATA.get(kind, [])]
        outcome = ardmvc("fit", f"--config={CONFIGS}/victims/comvc.yaml", f"--config={config}", *settings, *DRY)
        assert outcome.code == 0, outcome.err

    @pytest.mark.usefixtures("files")
    def test_other_data_is_not_looked_for_where_the_clusterer_s_was(self, ardmvc: Call, tmp_path: Path) -> None:
        mnist = ["--data=NoisyMNIST", "--data.root=mnist", "--data.splits=[test]", "--data.batch_size=10"]
        assert ardmvc("fit", f"--config={CONFIGS}/victims/comvc.yaml", *mnist, "--trainer.max_epochs=1", *QUIET).code == 0
        (checkpoint,) = tmp_path.rglob("last.ckpt")
        few = ["--model.attacks={}", "--trainer.limit_test_batches=1", *QUIET]
        assert ardmvc("test", f"--ckpt_path={checkpoint}", *few).code == 0
        other = ardmvc("test", f"--ckpt_path={checkpoint}", "--data=NoisyFashion", "--data.mirrors=[]", *few)
        assert "t10k-images-idx3-ubyte.gz: not there" in other.err
        same = "--data={class_path: NoisyMNIST, init_args: {epsilon: 0.2}}"
        assert ardmvc("test", f"--ckpt_path={checkpoint}", same, *few).code == 0

    @pytest.mark.usefixtures("files")
    @pytest.mark.parametrize("name", DATA)
    def test_info_prepare_and_preview(self, name: str, ardmvc: Call, tmp_path: Path) -> None:
        settings = [*DATA[name], *([] if "batch_size" in str(DATA[name]) else ["--data.batch_size=10"])]
        for action in ("prepare", "info", "preview"):
            outcome = ardmvc("data", action, name, *settings)
            assert outcome.code == 0, outcome.err
            assert name in outcome.out
        assert (tmp_path / "preview.png").stat().st_size > 1000

    def test_info_says_what_a_set_is(self, ardmvc: Call) -> None:
        outcome = ardmvc("data", "info", CONFIGS / "data" / "digits.yaml", "--data.missing_rate=0.5")
        assert "1797 samples" in outcome.out
        assert "victim 898, attacker 899, all 1797" in outcome.out
        assert "0: 178, 1: 182" in outcome.out
        assert "1 x 8 x 8" in outcome.out

    def test_info_says_what_would_be_downloaded_and_downloads_nothing(self, ardmvc: Call, tmp_path: Path) -> None:
        outcome = ardmvc("data", "info", "NoisyFashion", "--data.root=none")
        assert outcome.code == 0
        assert outcome.out.count("fashion-mnist/") == 4
        assert not (tmp_path / "none").exists()

    @pytest.mark.usefixtures("files")
    @pytest.mark.parametrize("arguments", [[], ["info"], ["show", "Digits"], ["info", "NoSuchData"], ["info", "none.yaml"]])
    def test_wrong_calls_are_said(self, arguments: list[str], ardmvc: Call) -> None:
        outcome = ardmvc("data", *arguments)
        if not arguments:
            assert "prepare WHAT" in outcome.out
            return
        assert outcome.code != 0
        assert len([line for line in outcome.err.splitlines() if line.startswith("ardmvc: error: ")]) == 1
        assert "Traceback" not in outcome.err

    @pytest.mark.usefixtures("files")
    def test_own_features_are_trained_attacked_and_predicted_as_they_were_scaled(self, ardmvc: Call, tmp_path: Path) -> None:
        few = ["--data=FeatureViews", "--data.batch_size=10", "--trainer.max_epochs=1"]
        path = "--data.path=features/views.npz"
        outcome = ardmvc(*fit_arguments("victims/comvc.yaml"), *few, path)
        assert outcome.code == 0, outcome.err
        victim = "runs/comvc/version_0/checkpoints/last.ckpt"
        (tmp_path / "new").mkdir()
        write_npz(tmp_path / "new", [view[:3] * 0 + 1 for view in views()])  # fewer than a batch, and constant
        for command in (
            [*fit_arguments("attackers/gan.yaml"), *few, path, f"--model.victim={victim}"],
            ["test", f"--ckpt_path={victim}", "--trainer.limit_test_batches=1", *QUIET],
            ["predict", f"--ckpt_path={victim}", "--data.path=new/views.npz", *QUIET],
            ["predict", f"--ckpt_path={victim}", *QUIET],
        ):
            outcome = ardmvc(*command)
            assert outcome.code == 0, outcome.err
        kept = torch.load(victim, weights_only=True)["FeatureViews"]["scalings"]
        with np.load("runs/predict/version_0/predictions.npz") as predictions:
            assert len(predictions["cluster"]) == 3
        clusterer, raw = load_clusterer(victim), views()
        with np.load("runs/predict/version_1/predictions.npz") as predictions:
            assert clusterer(clusterer.scaled(raw)).assignments.argmax(1).tolist() == predictions["cluster"].tolist()
        scaled = clusterer.scaled(raw)
        for attack in (PGD("margin", 0.1), Transfer(victim, FGSM("margin"), 0.1)):  # they start outside the box
            assert attack(clusterer, scaled)[0].shape == scaled[0].shape
        with pytest.warns(UserWarning, match=r"view 0: .*; is it raw\?"):
            clusterer.scaled([view + 9_000 for view in raw])
        as_tensors = [torch.from_numpy(view) for view in raw]
        for wrong, message in (
            (as_tensors, r"view 0 is not in \[0, 1\], as it was scaled in training"),
            (raw, "view 0 is a ndarray, no tensor"),
            (as_tensors[::-1], r"view 0 must have the shape \(N, "),
            (as_tensors[:1], "CoMVC takes 3 views, got 1"),
            ([view.double() * 0 for view in as_tensors], "views are float64"),
        ):
            with pytest.raises((ValueError, TypeError), match=message):
                clusterer(wrong)
        generator = "runs/gan/version_0/checkpoints/last.ckpt"
        same = torch.load(generator, weights_only=True)["FeatureViews"]["scalings"]
        assert all(torch.equal(one["factor"], other["factor"]) for one, other in zip(kept, same, strict=True))

    @pytest.mark.usefixtures("files")
    def test_without_labels_everything_but_their_metrics_works(self, ardmvc: Call, tmp_path: Path) -> None:
        (tmp_path / "unlabelled").mkdir()
        write_npz(tmp_path / "unlabelled", views())
        own = ["--data=FeatureViews", "--data.batch_size=10", "--data.path=unlabelled/views.npz", "--data.num_clusters=3"]
        outcome = ardmvc("data", "info", "FeatureViews", "--data.path=unlabelled/views.npz")
        assert "clusters: not known without labels" in " ".join(outcome.out.split()), outcome.err
        outcome = ardmvc(*fit_arguments("victims/simvc.yaml"), *own, "--trainer.max_epochs=1")
        assert outcome.code == 0, outcome.err
        checkpoint = "--ckpt_path=runs/simvc/version_0/checkpoints/last.ckpt"
        assert ardmvc("predict", checkpoint, *QUIET).code == 0
        (tmp_path / "labelled").mkdir()
        write_npz(tmp_path / "labelled", views(), labels=labels())
        found = []
        for name in ("unlabelled", "labelled"):
            options = [f"--data.path={name}/views.npz", "--epsilons=[0.1]", "--resolution=null", "--card=true", *ONE_BATCH]
            outcome = ardmvc("test", checkpoint, *options, f"--trainer.logger.name=test_{name}")
            assert outcome.code == 0, outcome.err
            folder = Path(f"runs/test_{name}/version_0")
            with np.load(folder / "robustness_rows.npz") as rows:
                found.append({key: rows[key].tolist() for key in rows.files})
            scores = json.loads((folder / "robustness.json").read_text())["scores"]
            found[-1]["kept"] = {attack: row["kept"] for attack, row in scores.items()}
            assert (set(scores["worst"]) == {"kept"}) is (name == "unlabelled")
        assert found[1].pop("label")
        assert found[0] == found[1]
        page = ardmvc("report", "runs")
        assert page.code == 0, page.err
        assert {"worst kept", "worst fixed ACC"} < set(
            Path("runs/report.md").read_text().splitlines()[0].strip("| ").split(" | ")
        )


class TestAfterTraining:
    @pytest.mark.parametrize("kind", ["victim", "attacker"])
    def test_any_checkpoint_is_tested_with_no_other_configuration(
        self, kind: str, request: pytest.FixtureRequest, ardmvc: Call, tmp_path: Path
    ) -> None:
        checkpoint = request.getfixturevalue(kind)
        suite = {
            "model": {
                "init_args": {
                    "attacks": {
                        "pgd": {"class_path": "PGD", "init_args": {"steps": 3}},
                        "trained": {
                            "class_path": "TrainedGenerator",
                            "init_args": {"checkpoint": str(request.getfixturevalue("attacker"))},
                        },
                    }
                }
            }
        }
        Path("suite.yaml").write_text(yaml.safe_dump(suite))
        outcome = ardmvc("test", "--ckpt_path", checkpoint, "--config=suite.yaml", *QUIET)
        assert outcome.code == 0, outcome.err
        folder = tmp_path / "runs" / "test" / "version_0"
        scores = json.loads((folder / "robustness.json").read_text())["scores"]
        own = ["gan"] if kind == "attacker" else []
        assert list(scores) == ["clean", "pgd", "trained", *own, "worst"]
        assert scores["clean"]["nmi"] > 0.8
        assert scores["pgd"]["nmi"] < scores["clean"]["nmi"]
        assert "worst" in outcome.out
        assert (folder / "pictures" / "test_pgd.png").is_file()

    def test_predictions_cover_every_sample_in_order(self, victim: Path, ardmvc: Call, tmp_path: Path) -> None:
        outcome = ardmvc("predict", "--ckpt_path", victim, "--output.folder=out", *QUIET)
        assert outcome.code == 0, outcome.err
        with np.load(tmp_path / "out" / "predictions.npz", allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in arrays.files}
        assert columns["index"].tolist() == list(range(1797))
        assert set(columns["cluster"]) <= set(range(10))
        clusterer, data = load_clusterer(victim), Digits()
        assignments = torch.cat([clusterer(batch.views).assignments for batch in data.predict_dataloader()]).detach()
        np.testing.assert_array_equal(columns["cluster"], assignments.argmax(1))
        np.testing.assert_allclose(columns["confidence"], assignments.amax(1), rtol=1e-5)
        with (tmp_path / "out" / "predictions.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [int(row["cluster"]) for row in rows] == columns["cluster"].tolist()

    def test_a_checkpoint_without_configuration_says_so(self, victim: Path, ardmvc: Call) -> None:
        content = torch.load(victim, weights_only=True)
        del content["config"]
        torch.save(content, "bare.ckpt")
        outcome = ardmvc("test", "--ckpt_path=bare.ckpt", *QUIET)
        assert outcome.code != 0
        assert "bare.ckpt: holds no configuration; give --config or --model and --data" in outcome.err
        named = [f"--config={CONFIGS}/victims/comvc.yaml", f"--config={CONFIGS}/data/digits.yaml"]
        outcome = ardmvc("test", "--ckpt_path=bare.ckpt", *named, *ONE_BATCH)
        assert outcome.code == 0, outcome.err

    def test_samples_that_the_clusterer_was_trained_on_are_said(self, victim: Path, ardmvc: Call) -> None:
        for changes, said in (([], False), (["--data.seed=3"], True), (["--data.test_partition=victim"], True)):
            outcome = ardmvc("test", f"--ckpt_path={victim}", *changes, *ONE_BATCH)
            assert ("may have been trained on some of these samples" in outcome.out.replace("\n", " ")) == said, changes

    @pytest.mark.parametrize(
        "allow",
        [
            ["--allow", "mine.Child"],
            ["--allow=[mine.Child]"],
            ['--allow=["mine.Child"]'],
            ["--allow=mine.Mine", "--allow+=mine.Child"],
        ],
    )
    def test_clusterers_of_one_s_own_in_whatever_form(self, allow: list[str], ardmvc: Call, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text(_MINE)
        fit = fit_arguments("victims/simvc.yaml")
        outcome = ardmvc(*fit, "--model.clusterer=mine.Child", "--model.clusterer.depth=2", *ONE_STEP)
        assert outcome.code == 0, outcome.err
        checkpoint = "runs/simvc/version_0/checkpoints/last.ckpt"
        outcome = ardmvc("predict", f"--ckpt_path={checkpoint}", *allow, *QUIET)
        assert outcome.code == 0, outcome.err
        outcome = ardmvc(*fit_arguments("attackers/gan.yaml"), f"--model.victim={checkpoint}", *allow, *ONE_STEP)
        assert outcome.code == 0, outcome.err
        outcome = ardmvc("test", f"--ckpt_path={checkpoint}", *QUIET)
        assert outcome.code != 0
        assert "or --allow a class of yours" in outcome.err

    @pytest.mark.parametrize(
        ("attack", "said"),
        [
            ({"class_path": "PGD", "init_args": {"norm": "l2"}}, "error: PGD: norm l2 needs an epsilon of its own"),
            ({"class_path": "PGD", "init_args": {"norm": "l3"}}, "norm: one of 'linf', 'l2' is expected, not l3"),
            ({"class_path": "PGD", "init_args": {"share": 2}}, "error: share must be in (0, 1], got 2.0"),
            ({"class_path": "PGD", "init_args": {"views": [2]}}, "error: PGD: views [2]: there are 0 to 1"),
            (
                {"class_path": "GradientAttack", "init_args": {"objective": "margin", "rule": "NoRule"}},
                "there is no class NoRule",
            ),
            ({"class_path": "PGD", "init_args": {"objective": "nothing"}}, "objective: 'nothing' is not one of"),
            ({"class_path": "Transfer", "init_args": {"surrogates": "no.ckpt"}}, "error: no.ckpt: no such checkpoint file"),
            ({"class_path": "RayS", "init_args": {"norm": "l2", "epsilon": 1.0}}, "error: RayS searches the corners"),
        ],
        ids=["budget", "norm", "share", "views", "rule", "objective", "surrogate", "corners"],
    )
    def test_attacks_that_cannot_be_are_said_in_a_line(
        self, attack: dict[str, object], said: str, victim: Path, ardmvc: Call
    ) -> None:
        suite = json.dumps({"model": {"init_args": {"attacks": {"it": attack}}}})
        outcome = ardmvc("test", "--ckpt_path", victim, f"--config={suite}", *QUIET)
        assert outcome.code != 0
        assert said in outcome.err.splitlines()[-1]

    def test_a_target_beyond_the_clusters_is_left_out(self, victim: Path, ardmvc: Call) -> None:
        margin = {"class_path": "Margin", "init_args": {"rank": 10}}
        suite = {"model": {"init_args": {"attacks": {"tenth": {"class_path": "APGD", "init_args": {"objective": margin}}}}}}
        few = ("--trainer.limit_test_batches=1", *QUIET)
        outcome = ardmvc("test", "--ckpt_path", victim, f"--config={json.dumps(suite)}", *few)
        assert outcome.code == 0, outcome.err
        assert "tenth is left out: margin: rank 10 is beyond the 9 other clusters" in " ".join(outcome.out.split())

    def test_validate_prints_what_it_measures(self, victim: Path, ardmvc: Call) -> None:
        outcome = ardmvc("validate", "--ckpt_path", victim, *QUIET)
        assert outcome.code == 0, outcome.err
        assert "val/nmi" in outcome.out

    def test_defenders_train_test_and_load(self, ardmvc: Call, tmp_path: Path) -> None:
        outcome = ardmvc(*fit_arguments("defenders/robust_joint.yaml"), *ONE_STEP)
        assert outcome.code == 0, outcome.err
        checkpoint = tmp_path / "runs" / "robust_joint" / "version_0" / "checkpoints" / "last.ckpt"
        outcome = ardmvc("test", "--ckpt_path", checkpoint, *ONE_BATCH)
        assert outcome.code == 0, outcome.err
        assert "apgd_cross_entropy" in outcome.out

    def test_training_that_breaks_down_leaves_no_broken_checkpoint(self, ardmvc: Call, tmp_path: Path) -> None:
        outcome = ardmvc(*fit_arguments("victims/comvc.yaml"), "--model.learning_rate=.inf")
        assert outcome.code == 1
        assert "the loss is nan after epoch 0" in outcome.err
        assert not list(tmp_path.rglob("*.ckpt"))

    def test_last_resumes_the_newest_run_of_the_name(self, ardmvc: Call, tmp_path: Path) -> None:
        fit = fit_arguments("victims/comvc.yaml")
        assert ardmvc(*fit, "--trainer.max_epochs=1").code == 0
        outcome = ardmvc(*fit, "--trainer.max_epochs=2", "--ckpt_path=last")
        assert outcome.code == 0, outcome.err
        assert "runs/comvc/version_0/checkpoints/last.ckpt" in outcome.err
        resumed = torch.load(tmp_path / "runs/comvc/version_1/checkpoints/last.ckpt", weights_only=True)
        assert ardmvc(*fit, "--trainer.max_epochs=2").code == 0
        whole = torch.load(tmp_path / "runs/comvc/version_2/checkpoints/last.ckpt", weights_only=True)
        assert resumed["epoch"] == whole["epoch"] == 1
        for name, value in whole["state_dict"].items():
            assert torch.equal(value, resumed["state_dict"][name]), name
        outcome = ardmvc(*fit, "--trainer.max_epochs=3", "--ckpt_path=last", "--model.learning_rate=0.01")
        assert outcome.code == 1
        assert "model.learning_rate = 0.01: the optimiser of runs/comvc/" in outcome.err
        assert "goes on with the default; give the same" in outcome.err


_MINE = """
from __future__ import annotations

from typing import TYPE_CHECKING

from ar_dmvc.clusterers import SiMVC

if TYPE_CHECKING:
    from collections.abc import Sequence


class Mine(SiMVC):
    def __init__(self, view_shapes: Sequence[Sequence[int]], num_clusters: int, depth=1) -> None:
        super().__init__(view_shapes, num_clusters)


class Child(Mine):
    pass
"""

_MARKER = """
from pathlib import Path
from lightning.pytorch import Callback

class Marker(Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 3:
            Path("three_steps_done").touch()
"""


def test_ctrl_c_within_the_first_epoch_leaves_a_checkpoint_to_resume_from(ardmvc: Call, tmp_path: Path) -> None:
    fit = [*fit_arguments("victims/comvc.yaml"), "--data.batch_size=20", "--trainer.max_epochs=2"]
    command = [sys.executable, "-m", "ar_dmvc", *fit, "--trainer.callbacks=marker.Marker"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    (tmp_path / "marker.py").write_text(_MARKER)
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        folder = tmp_path / "runs" / "comvc" / "version_0"
        while process.poll() is None and not (tmp_path / "three_steps_done").is_file():
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "--ckpt_path last" in err
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert 0 < content["global_step"] < 88
    for more in (["--ckpt_path=last"], []):
        outcome = ardmvc(*fit, *more)
        assert outcome.code == 0, outcome.err
    resumed, whole = (
        torch.load(tmp_path / f"runs/comvc/version_{version}/checkpoints/last.ckpt", weights_only=True) for version in (1, 2)
    )
    assert resumed["global_step"] == whole["global_step"] == 88
    assert all(torch.equal(value, whole["state_dict"][name]) for name, value in resumed["state_dict"].items())


_DYING = """
import os
from lightning.pytorch import Callback

class Dying(Callback):
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 1 and trainer.global_rank == int(os.environ["DYING"]):
            os._exit(9)
"""


class TestSeveralDevices:
    FIT = (*fit_arguments("victims/comvc.yaml"), "--data.batch_size=225", "--trainer.precision=64-true")

    def start(self, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """One command, which starts the second process itself."""
        return subprocess.run(
            [sys.executable, "-m", "ar_dmvc", *arguments, "--trainer.devices=2"],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder), **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def launch(self, folder: Path, *arguments: str, **variables: str) -> list[tuple[int, str, str]]:
        """What two processes end with that a launcher started."""
        devices = [*arguments, "--trainer.devices=2"]
        pair = [Beside(folder, *devices, **of_rank, **variables) for of_rank in ranks(free_port())]
        return [process.end() for process in pair]

    def test_they_train_resume_and_predict_as_one_does(self, ardmvc: Call, tmp_path: Path) -> None:
        outcome = self.start(tmp_path, *self.FIT, "--trainer.max_epochs=1")
        assert outcome.returncode == 0, outcome.stderr
        for code, _, err in self.launch(tmp_path, *self.FIT, "--trainer.max_epochs=2", "--ckpt_path=last"):
            assert code == 0, err
        assert ardmvc(*self.FIT, "--trainer.max_epochs=2").code == 0
        runs = [tmp_path / f"runs/comvc/version_{version}/checkpoints/last.ckpt" for version in (1, 2)]
        two, one = (torch.load(run, weights_only=True) for run in runs)
        torch.testing.assert_close(two["state_dict"], one["state_dict"], rtol=1e-6, atol=1e-6)

        predict = ("predict", f"--ckpt_path={runs[0]}", "--data.predict_partition=victim", *QUIET)
        ends = self.launch(tmp_path, *predict)
        assert [code for code, _, _ in ends] == [0, 0], ends
        assert "".join(out for _, out, _ in ends).count("898 predictions") == 1
        assert ardmvc(*predict).code == 0
        files = [(tmp_path / f"runs/predict/version_{version}/predictions.csv").read_text() for version in (0, 1)]
        assert files[0] == files[1]

    @pytest.mark.parametrize("process", ["0", "1"])
    def test_when_one_dies_the_others_stop_and_leave_a_checkpoint(self, process: str, ardmvc: Call, tmp_path: Path) -> None:
        (tmp_path / "dying.py").write_text(_DYING)
        dying = (*self.FIT, "--trainer.callbacks=dying.Dying")
        if process == "0":
            (code, _, _), (other, _, err) = self.launch(tmp_path, *dying, DYING=process)
            assert (code, other) == (9, 1)
        else:
            outcome = self.start(tmp_path, *dying, DYING=process)
            assert outcome.returncode != 0
            err = outcome.stderr
        assert "another process of this run has stopped" in err
        resumed = ardmvc(*self.FIT, "--trainer.max_epochs=2", "--ckpt_path=last")
        assert resumed.code == 0, resumed.err


class TestHelp:
    @pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
    def test_help_names_the_commands(self, arguments: list[str], ardmvc: Call) -> None:
        outcome = ardmvc(*arguments)
        assert outcome.code == 0
        for command in ("fit", "validate", "test", "predict", "benchmark", "data"):
            assert f"  {command} " in outcome.out

    @pytest.mark.parametrize("command", ["fit", "test", "predict", "benchmark"])
    def test_help_of_a_command_names_its_settings(self, command: str, ardmvc: Call) -> None:
        outcome = ardmvc(command, "--help")
        assert outcome.code == 0
        assert ("--clusterers" if command == "benchmark" else "--trainer.max_epochs") in outcome.out

    def test_help_of_a_class(self, ardmvc: Call) -> None:
        outcome = ardmvc("fit", "--model.help=RobustDefender")
        assert outcome.code == 0
        assert "mitigator_weight" in outcome.out

    def test_version(self, ardmvc: Call) -> None:
        assert ardmvc("--version").out.startswith("ardmvc 0.")


@pytest.mark.parametrize(
    ("given", "again", "values"),
    [
        ("--trainer.max_epochs=2", ["--trainer.max_epochs=3"], "2, 3"),
        ("--trainer.max_epochs=2", ["--trainer.max_epochs", "3"], "2, 3"),
        ("--trainer={max_epochs: 2}", ["--trainer.max_epochs=3"], "in --trainer={max_epochs: 2} and in --trainer.max_epochs=3"),
        ("--model.clusterer=SiMVC", ["--model.clusterer.class_path=CoMVC"], "in --model.clusterer=SiMVC and in"),
        ("--data={class_path: Digits, init_args: {seed: 1}}", ["--data.seed=2"], "in --data"),
    ],
)
def test_an_option_given_twice_is_an_error(given: str, again: list[str], values: str, ardmvc: Call) -> None:
    fit = ("fit", "--config=victims/simvc.yaml", "--config=data/digits.yaml")
    outcome = ardmvc(*fit, given, *again, "--print_config")
    name = again[0].partition("=")[0].removesuffix(".class_path")
    assert outcome.code == 2
    assert f"ardmvc: error: {name}: given 2 times, {values}" in outcome.err
    assert "; give it once" in outcome.err


def test_parts_of_a_whole_may_be_given_apart(ardmvc: Call) -> None:
    trainer = ("--trainer={max_epochs: 2, accelerator: cpu}", "--trainer.max_epochs=2", "--trainer.devices=1")
    data = ("--data={class_path: Digits, init_args: {seed: 2, batch_size: 50}}", "--data.class_path=ar_dmvc.data.Digits")
    model = ("--model.epsilon=1e-3", "--model={epsilon: 0.001, learning_rate: .nan}", "--model.learning_rate=.nan")
    outcome = ardmvc("fit", "--config=victims/simvc.yaml", *trainer, *data, "--data.seed=2", *model, "--print_config")
    assert outcome.code == 0
    assert "batch_size: 50" in outcome.out


@pytest.mark.parametrize("value", ["!!bool x", "!!int ''", "!!timestamp x", "[!!bool x]"])
def test_a_value_that_is_none_of_its_tag_is_said_in_a_line(value: str, ardmvc: Call) -> None:
    outcome = ardmvc(*fit_arguments("victims/simvc.yaml", "data/digits.yaml"), f"--model.epsilon={value}")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert f"{value}: holds what is no value of its tag" in outcome.err


def test_what_is_appended_has_options_of_its_own(ardmvc: Call) -> None:
    fit = fit_arguments("victims/simvc.yaml", "data/digits.yaml")
    stops = [
        f"--trainer.callbacks{option}" for name in ("acc", "nmi") for option in ("+=EarlyStopping", f".monitor=val/{name}")
    ]
    outcome = ardmvc(*fit, *stops, "--print_config", "--trainer.accelerator=cpu", "--print_config")
    assert outcome.code == 0, outcome.err
    callbacks = yaml.safe_load(outcome.out)["trainer"]["callbacks"]
    assert [callback["init_args"]["monitor"] for callback in callbacks] == ["val/acc", "val/nmi"]


class TestBadInput:
    """One line that says what is wrong and where it came from, no traceback, nothing half-written."""

    @pytest.fixture
    def refuse(self, ardmvc: Call, tmp_path: Path) -> Callable[..., str]:
        before: set[Path] = set()

        def call(*arguments: object) -> str:
            before.update(tmp_path.rglob("*"))
            outcome = ardmvc(*arguments)
            assert outcome.code not in (0, None)
            complaint = [line for line in outcome.err.splitlines() if line.startswith("ardmvc: error: ")]
            assert len(complaint) == 1, outcome.err
            assert "Traceback" not in outcome.err
            assert not any(word in complaint[0] for word in ("Union", "Namespace", "NoneType", "NestedArg")), complaint
            assert len(complaint[0]) < 350, complaint
            assert set(tmp_path.rglob("*")) == before
            return complaint[0]

        return call

    def test_unknown_command(self, refuse: Callable[..., str]) -> None:
        assert "unknown command 'train', not one of fit" in refuse("train")

    def test_nothing_but_the_command(self, refuse: Callable[..., str]) -> None:
        assert "model: one is expected" in refuse("fit")
        for command in ("validate", "test", "predict"):
            assert "ckpt_path: the file of a checkpoint is expected" in refuse(command)
            assert "ckpt_path = last: the file of a checkpoint is expected" in refuse(command, "--ckpt_path=last")

    def test_unknown_class(self, refuse: Callable[..., str]) -> None:
        assert "there is no class NoSuchClusterer" in refuse(
            *fit_arguments("victims/comvc.yaml"), "--model.clusterer=NoSuchClusterer"
        )

    def test_unknown_field(self, refuse: Callable[..., str]) -> None:
        assert "Option 'learning_rat' is not accepted" in refuse(*fit_arguments("victims/comvc.yaml"), "--model.learning_rat=1")
        assert "no_such" in refuse(*fit_arguments("victims/comvc.yaml"), "--trainer.no_such=1")

    def test_abbreviations_are_no_options(self, refuse: Callable[..., str]) -> None:
        assert "--trainer.max_epoch=1" in refuse(*fit_arguments("victims/comvc.yaml"), "--trainer.max_epoch=1")
        assert "--worker=2" in refuse("benchmark", "--config", CONFIGS / "benchmark/digits.yaml", "--worker=2")

    @pytest.mark.parametrize(
        ("wrong", "meant"),
        [
            ("--trainer.max_epoch=3", "--trainer.max_epochs"),
            ("--model.clusterer.temprature=0.2", "temperature"),
            ("--model.clusterer=CoMCV", "CoMVC"),
            ("--data.bach_size=3", "batch_size"),
            ('--model.attacks={"a": {"class_path": "APGDD"}}', "APGD"),
            ('--model.attacks={"a": {"class_path": "PDG"}}', "PGD"),
        ],
    )
    def test_what_may_have_been_meant_is_said(self, wrong: str, meant: str, refuse: Callable[..., str]) -> None:
        assert refuse(*fit_arguments("victims/comvc.yaml"), wrong).endswith(f"; did you mean {meant}?")

    @pytest.mark.parametrize(
        ("words", "meant"),
        [
            ("exprot", "export"),
            ("export --ckpt_pat=x.ckpt", "--ckpt_path"),
            ("data info Digit", "Digits"),
            ("data suggest-clusters Digits --mots=3", "--most"),
            ("report runs --wandbb=x", "--wandb"),
            ("benchmark --workrs=2", "--workers"),
        ],
    )
    def test_in_every_command(self, words: str, meant: str, refuse: Callable[..., str]) -> None:
        assert refuse(*words.split()).endswith(f"; did you mean {meant}?")

    @pytest.mark.parametrize("command", ["data", "report", "configs"])
    def test_help_that_needs_no_library(self, command: str, ardmvc: Call) -> None:
        outcome = ardmvc(command, "--help")
        assert outcome.code == 0
        assert outcome.out.startswith(f"usage: ardmvc {command} ")

    @pytest.mark.parametrize("command", ["fit", "export"])
    def test_help_is_kept_until_what_it_depends_on_is_another(
        self, command: str, ardmvc: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("COLUMNS", "100")
        first = ardmvc(command, "--help")
        assert first.code == 0
        assert "--ckpt_path" in first.out
        (place,) = (tmp_path / "cache" / "ar_dmvc").iterdir()
        assert place.read_text() == first.out
        place.write_text("kept\n")
        assert ardmvc(command, "-h").out == "kept\n"
        monkeypatch.setenv("COLUMNS", "60")
        assert "--ckpt_path" in ardmvc(command, "--help").out
        assert len(list(place.parent.iterdir())) == 1
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
        assert "--ckpt_path" in ardmvc(command, "--help").out

    def test_a_data_file_in_place_of_a_class(self, refuse: Callable[..., str]) -> None:
        assert "one's own data is FeatureViews --data.path new/my.npz" in refuse("data", "info", "new/my.npz")

    def test_nothing_is_guessed_where_nothing_is_close(self, refuse: Callable[..., str]) -> None:
        assert "did you mean" not in refuse(*fit_arguments("victims/comvc.yaml"), "--speed=3")

    def test_unknown_field_in_a_file(self, refuse: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "odd.yaml").write_text("model: {class_path: VictimClusterer, init_args: {speed: 3}}\n")
        assert "speed" in refuse("fit", "--config=odd.yaml")

    def test_value_of_the_wrong_type(self, refuse: Callable[..., str]) -> None:
        message = refuse(*fit_arguments("victims/comvc.yaml"), "--trainer.max_epochs=many")
        assert "max_epochs" in message
        assert "many" in message

    def test_missing_and_broken_configuration(self, refuse: Callable[..., str], tmp_path: Path) -> None:
        assert "none.yaml" in refuse("fit", "--config=none.yaml")
        (tmp_path / "broken.yaml").write_text("model: [unclosed\n")
        assert "broken.yaml" in refuse("fit", "--config=broken.yaml")

    def test_value_out_of_range(self, refuse: Callable[..., str]) -> None:
        message = refuse(*fit_arguments("defenders/robust_joint.yaml"), "--model.attack.steps=0")
        assert "steps, restarts and expectation must be at least 1" in message

    def test_no_model(self, refuse: Callable[..., str]) -> None:
        assert "model" in refuse("fit", f"--config={CONFIGS}/data/digits.yaml")

    @pytest.mark.parametrize("command", ["test", "predict", "fit"])
    def test_checkpoints(self, command: str, refuse: Callable[..., str], victim: Path, tmp_path: Path) -> None:
        model = fit_arguments("victims/comvc.yaml")[1:] if command == "fit" else QUIET

        def use(path: Path) -> str:
            return refuse(command, *model, f"--ckpt_path={path}")

        assert "none.ckpt: no such checkpoint" in use(tmp_path / "none.ckpt")
        (tmp_path / "short.ckpt").write_bytes(victim.read_bytes()[:5000])
        assert "short.ckpt" in use(tmp_path / "short.ckpt")
        torch.save({"other": 1}, tmp_path / "other.ckpt")
        assert "no 'state_dict'" in use(tmp_path / "other.ckpt")
        marker = tmp_path / "ran"

        class Hostile:
            def __reduce__(self) -> tuple[object, ...]:
                return (Path.touch, (marker,))

        torch.save({"state_dict": {}, "callbacks": Hostile()}, tmp_path / "evil.ckpt")
        assert "never run" in use(tmp_path / "evil.ckpt")

    def test_checkpoint_of_another_kind(self, refuse: Callable[..., str], victim: Path) -> None:
        resume = f"--ckpt_path={victim}"
        message = refuse(*fit_arguments("defenders/robust_joint.yaml"), resume)
        assert "is of a VictimClusterer, not of a RobustDefender" in message
        assert str(victim) in message
        assert "SiMVC" in refuse(*fit_arguments("victims/simvc.yaml"), resume)
        message = refuse(*fit_arguments("victims/comvc.yaml"), resume, "--model.clusterer.temperature=0.5")
        assert "made with temperature = 0.1, this one with 0.5" in message

    def test_attackers_victim(self, refuse: Callable[..., str], tmp_path: Path) -> None:
        fit = fit_arguments("attackers/gan.yaml", "data/digits.yaml")
        assert "no such checkpoint" in refuse(*fit, "--model.victim=none.ckpt")
        torch.save({"state_dict": {}}, tmp_path / "empty.ckpt")
        assert "does not say which class" in refuse(*fit, "--model.victim=empty.ckpt")

    def test_generator_of_a_victim_s_checkpoint(self, refuse: Callable[..., str], victim: Path, tmp_path: Path) -> None:
        suite = {"gan": {"class_path": "TrainedGenerator", "init_args": {"checkpoint": str(victim)}}}
        (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"attacks": suite}}}))
        assert "no generator in it" in refuse("test", f"--ckpt_path={victim}", "--config=suite.yaml", *QUIET)

    def test_generator_of_other_views(self, refuse: Callable[..., str], victim: Path, attacker: Path, tmp_path: Path) -> None:
        content = torch.load(attacker, weights_only=True)
        content["generator"]["view_shapes"] = [[1, 9, 9]] * 2
        torch.save(content, tmp_path / "nine.ckpt")
        suite = {"gan": {"class_path": "TrainedGenerator", "init_args": {"checkpoint": "nine.ckpt"}}}
        (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"attacks": suite}}}))
        assert "(1, 9, 9)" in refuse("test", f"--ckpt_path={victim}", "--config=suite.yaml", *QUIET)
        del content["generator"]["view_shapes"]
        torch.save(content, tmp_path / "nine.ckpt")
        assert "described wrongly" in refuse("test", f"--ckpt_path={victim}", "--config=suite.yaml", *QUIET)

    @pytest.mark.parametrize(
        "name",
        [
            "intruder.Module",
            {"class_path": "intruder.Module"},
            {"class_path": "ar_dmvc.clusterers.CoMVC", "init_args": {"encoder": {"class_path": "intruder.Module"}}},
            '{"class_path": "intruder.Module"}',
            ["intruder.Module"],
            "intruder.yaml",
            "./in-truder.yaml",
            "file://{folder}/intruder.yaml",
        ],
    )
    @pytest.mark.parametrize("place", ["model", "clusterer"])
    def test_classes_from_a_checkpoint_are_not_imported(
        self,
        name: object,
        place: str,
        refuse: Callable[..., str],
        victim: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "intruder.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
        monkeypatch.syspath_prepend(tmp_path)
        for file in ("intruder.yaml", "in-truder.yaml"):
            (tmp_path / file).write_text("class_path: intruder.Module\n")
        if isinstance(name, str):
            name = name.replace("{folder}", str(tmp_path))
        content = torch.load(victim, weights_only=True)
        if place == "model":
            content["config"]["model"] = name
        else:
            content["config"]["model"]["init_args"]["clusterer"] = name
        torch.save(content, tmp_path / "intruder.ckpt")
        assert "model" in refuse("test", "--ckpt_path=intruder.ckpt", *QUIET)
        assert not (tmp_path / "ran").exists()

    def test_fewer_epochs_than_a_checkpoint_has_behind_it(self, refuse: Callable[..., str], victim: Path) -> None:
        arguments = [
            *fit_arguments("victims/comvc.yaml", "data/digits.yaml"),
            f"--ckpt_path={victim}",
            "--trainer.max_epochs=5",
        ]
        assert "last.ckpt has 10 epochs behind it already" in refuse(*arguments)

    def test_last_where_there_is_none(self, refuse: Callable[..., str]) -> None:
        assert "no last checkpoint under runs/comvc" in refuse(*fit_arguments("victims/comvc.yaml"), "--ckpt_path=last")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (["--model.clusterer.num_clusters=8"], "model.clusterer.num_clusters: it is the data's; give --data.num_clusters"),
            (["--model.clusterer.init_args.view_shapes", "[[3]]"], "model.clusterer.view_shapes: it is the data's"),
            (["--data.batch_size=1000"], "fewer than a batch (data.batch_size = 1000)"),
            (["--data.num_clusters=1000"], "smaller than the number of clusters, 1000"),
            (["--data=NoisyMNIST", "--data.root=none", "--data.mirrors=[]"], "train-images-idx3-ubyte.gz: not there"),
            (["--data=NoisyMNIST", "--data.root=none", "--data.mirrors=[http://127.0.0.1:9]"], "refused"),
        ],
    )
    def test_data(self, settings: list[str], message: str, refuse: Callable[..., str]) -> None:
        assert message in refuse(*fit_arguments("victims/comvc.yaml"), *settings)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["victims/aecoddc.yaml", "--trainer.max_epochs=20"], "max_epochs = 20 ends before the last stage of AECoDDC"),
            (["victims/sem.yaml", "--trainer.max_epochs=300"], "'round 3' from epoch 300"),
            (["victims/eamc.yaml", "--trainer.accumulate_grad_batches=2"], "the optimisers of EAMC alternate"),
            (["victims/multi_vae.yaml", "--data.batch_size=9"], "batch_size = 9 is smaller than the number of clusters, 10"),
            (["victims/sem.yaml", "--data.num_clusters=1"], "num_clusters must be at least 2, got 1"),
            (["victims/aecoddc.yaml", "--model.clusterer.encoder=cnn_small"], "cnn_small uses up images of shape (1, 8, 8)"),
            (["victims/sem.yaml", "--model.clusterer.noise=loud"], "loud"),
            (
                ["victims/eamc.yaml", "--data.missing_rate=0.2"],
                "does not take; SiMVC, CoMVC, AECoDDC, ProductOfExperts do",
            ),
            (["defenders/ar_dmvc.yaml", "--model.clusterer=SiMVC"], "to it apply assignment_divergence, attack_distance"),
            (["victims/comvc.yaml", "--trainer.callbacks+=StabilityUnderAttack"], "VictimClusterer has no attack of its own"),
        ],
    )
    def test_victims_and_what_they_cannot_do(self, arguments: list[str], message: str, refuse: Callable[..., str]) -> None:
        assert message in refuse(*fit_arguments(arguments[0], "data/digits.yaml"), *arguments[1:])

    def test_damaged_files(self, refuse: Callable[..., str], tmp_path: Path) -> None:
        images = write_mnist(tmp_path / "mnist") / "t10k-images-idx3-ubyte"
        images.write_bytes(images.read_bytes()[:-1])
        data = ["--data=NoisyMNIST", "--data.root=mnist", "--data.splits=[test]"]
        assert "t10k-images-idx3-ubyte: cut short" in refuse(*fit_arguments("victims/comvc.yaml"), *data)

    def test_victim_of_other_views(self, refuse: Callable[..., str], victim: Path, tmp_path: Path) -> None:
        write_mnist(tmp_path / "mnist")
        data = ["--data=NoisyMNIST", "--data.root=mnist", "--data.splits=[test]"]
        message = refuse(*fit_arguments("attackers/gan.yaml"), *data, f"--model.victim={victim}")
        assert "NoisyMNIST has ((1, 28, 28), (1, 28, 28))" in message

    def test_gradient_accumulation_for_attackers(self, refuse: Callable[..., str], victim: Path) -> None:
        message = refuse(
            *fit_arguments("attackers/gan.yaml"), f"--model.victim={victim}", "--trainer.accumulate_grad_batches=2"
        )
        assert "cannot accumulate gradients" in message

    def test_several_devices_with_batch_norm_synchronised_by_others(self, refuse: Callable[..., str]) -> None:
        devices = ("--trainer.devices=2", "--trainer.sync_batchnorm=true")
        assert "batch norm is synchronised anyway" in refuse(*fit_arguments("victims/comvc.yaml"), *devices)

    def test_a_budget_for_the_model_rather_than_the_data(self, refuse: Callable[..., str]) -> None:
        assert "set data.epsilon" in refuse(*fit_arguments("victims/comvc.yaml"), "--model.epsilon=0.05")

    def test_debug_shows_the_traceback(self, ardmvc: Call) -> None:
        outcome = ardmvc(*fit_arguments("victims/comvc.yaml"), "--data.batch_size=1000", "--debug")
        assert outcome.code == 1
        assert "Traceback" in outcome.err


def test_a_shell_completes_commands_options_classes_and_files(ardmvc: Call, tmp_path: Path) -> None:
    outcome = ardmvc("--completion", "bash")
    assert outcome.code == 0
    (tmp_path / "mine.ckpt").touch()
    asks = {
        ("",): "benchmark",
        ("fit", "--data.bat"): "--data.batch_size",
        ("fit", "--model.clusterer.temp"): "--model.clusterer.temperature",
        ("fit", "--data", "NoisyM"): "NoisyMNIST",
        ("fit", "--config", "victims/com"): "victims/comvc.yaml",
        ("fit", "--trainer.precision", "bf16-m"): "bf16-mixed",
        ("test", "--ckpt_path", "mi"): "mine.ckpt",
        ("data", "sug"): "suggest-clusters",
    }
    lines = [outcome.out, 'function="$(complete -p ardmvc | sed "s/.*-F \\([^ ]*\\).*/\\1/")"']
    for words in asks:
        line = shlex.join(["ardmvc", *words]) if words != ("",) else "ardmvc ''"
        lines += [f"COMP_WORDS=({line}); COMP_CWORD={len(words)}; COMP_TYPE=9; COMPREPLY=()"]
        lines += [f"$function ardmvc {shlex.quote(words[-1])} {shlex.quote(['ardmvc', *words][-2])}", 'echo "${COMPREPLY[*]}"']
    shell = subprocess.run(["bash"], input="\n".join(lines), cwd=tmp_path, capture_output=True, text=True, check=True)
    for (words, expected), found in zip(asks.items(), shell.stdout.splitlines(), strict=True):
        assert expected in found.split(), (words, found)
    assert ardmvc("--completion", "fish").code == 1


def test_nobody_reads_on() -> None:
    """As ``ardmvc configs | head -1`` has it."""
    command = f"{shlex.quote(sys.executable)} -m ar_dmvc configs | head -c 1; exit ${{PIPESTATUS[0]}}"
    shell = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (shell.returncode, shell.stderr) in ((0, ""), (141, ""))


class TestBeginningWithWeights:
    def test_they_are_taken_and_what_they_saw_is_remembered(self, victim: Path, ardmvc: Call) -> None:
        config = f"--config={CONFIGS}/victims/comvc.yaml"
        outcome = ardmvc(
            "fit", config, f"--init_from={victim}", "--data.seed=3", *QUIET, *ONE_STEP, "--model.learning_rate=1e-12"
        )
        assert outcome.code == 0, outcome.err
        made = Path("runs/comvc/version_0/checkpoints/last.ckpt")
        before, after = load_clusterer(victim), load_clusterer(made)
        assert all(
            torch.allclose(one, other, atol=1e-6) for one, other in zip(before.parameters(), after.parameters(), strict=True)
        )
        content = torch.load(made, weights_only=True)
        assert content["trained_on"]["seed"] == 3
        assert content["trained_on"]["before"] == torch.load(victim, weights_only=True)["trained_on"]
        assert content["global_step"] == 1
        outcome = ardmvc("test", f"--ckpt_path={made}", "--model.attacks={}", *QUIET, *ONE_BATCH)
        assert "may have been trained on some of these samples" in " ".join(outcome.out.split())

    def test_what_does_not_fit_is_refused(self, victim: Path, ardmvc: Call) -> None:
        start = f"--init_from={victim}"
        for config, options, complaint in (
            ("victims/simvc.yaml", [], "its clusterer is a 'ar_dmvc.clusterers.CoMVC', not a ar_dmvc.clusterers.SiMVC"),
            ("victims/comvc.yaml", ["--model.clusterer.hidden_features=7"], "hidden_features = 100, this one with 7"),
            ("victims/comvc.yaml", [f"--ckpt_path={victim}"], "give one of them"),
            ("attackers/gan.yaml", [f"--model.victim={victim}"], "set model.victim"),
        ):
            outcome = ardmvc("fit", f"--config={CONFIGS}/{config}", start, *options, *QUIET)
            assert outcome.code == 1
            assert complaint in outcome.err
