import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from ar_dmvc import MultiViewClustering, api
from ar_dmvc.checkpoint import read_checkpoint
from ar_dmvc.clusterers import CoMVC, load_clusterer
from ar_dmvc.data import Digits
from ar_dmvc.starts import agreement, order, seed_of
from tests.conftest import CONFIGS, ONE_STEP, QUIET, Outcome, fit_arguments

Call = Callable[..., Outcome]

DIGITS = fit_arguments("victims/comvc.yaml", "data/digits.yaml")
FEW = (*DIGITS, *ONE_STEP)


def last_loss(folder: Path) -> float:
    with (folder / "metrics.csv").open() as file:
        return float([row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]][-1])


def state(folder: Path) -> dict[str, torch.Tensor]:
    return {
        name: value
        for name, value in read_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"].items()
        if isinstance(value, torch.Tensor)
    }


def chosen_first(starts: list[Path]) -> Path:
    """The start that has most of a low loss and of agreement with the others, by the definition."""
    data = Digits(batch_size=1000)
    views = [torch.cat(parts) for parts in zip(*(batch.views for batch in data.training_part()), strict=True)]
    with torch.no_grad():
        clusters = [load_clusterer(start / "checkpoints/last.ckpt")(views).assignments.argmax(1) for start in starts]
    shared = [np.mean([adjusted_rand_score(one, other) for other in clusters if other is not one]) for one in clusters]
    score = scores(np.array([*map(last_loss, starts)])) - scores(np.array(shared))
    return starts[int(score.argmin())]


def same(first: Path, second: Path) -> bool:
    one, other = state(first), state(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class TestBestOfSeveral:
    def test_the_chosen_run_is_kept_as_if_it_were_the_only_one(self, ardmvc: Call, tmp_path: Path) -> None:
        outcome = ardmvc(*FEW, "--starts=4")
        assert outcome.code == 0, outcome.err
        starts = sorted(path.parent for path in tmp_path.glob("runs/starts/comvc_*/metrics.csv"))
        assert len(starts) == 4
        best = chosen_first(starts)
        kept = tmp_path / "runs/comvc/version_0"
        assert same(kept, best)
        assert last_loss(kept) == last_loss(best)

        seed = best.name.split("_")[1]
        assert ardmvc(*FEW, f"--seed_everything={seed}").code == 0
        assert same(kept, tmp_path / "runs/comvc/version_1")

    def test_given_again_what_is_trained_is_not_trained_again(self, ardmvc: Call, tmp_path: Path) -> None:
        made = []
        for count in (2, 2, 3):
            assert ardmvc(*FEW, f"--starts={count}").code == 0
            made.append({path.stat().st_mtime_ns for path in tmp_path.glob("runs/starts/*/checkpoints/last.ckpt")})
        assert made[0] == made[1] < made[2]
        assert [*map(len, made)] == [2, 2, 3]
        assert same(tmp_path / "runs/comvc/version_0", tmp_path / "runs/comvc/version_1")

    def test_what_was_kept_is_gone_on_with_alone(self, ardmvc: Call, tmp_path: Path) -> None:
        assert ardmvc(*FEW, "--starts=2").code == 0
        more = json.dumps({"trainer": {"max_epochs": 2}})
        outcome = ardmvc(*FEW, "--starts=2", "--ckpt_path=last", f"--config={more}")
        assert outcome.code == 0, outcome.err
        assert read_checkpoint(tmp_path / "runs/comvc/version_1/checkpoints/last.ckpt")["epoch"] == 1
        assert len(list(tmp_path.glob("runs/starts/*/checkpoints"))) == 2

    def test_which_there_were_is_written_beside_it(self, ardmvc: Call, tmp_path: Path) -> None:
        outcome = ardmvc(*FEW, "--starts=3")
        kept = tmp_path / "runs/comvc/version_0"
        with (kept / "starts.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {int(row["seed"]) for row in rows} == {seed_of(0, number) for number in range(3)}
        losses, shared = ([float(row[name]) for row in rows] for name in ("loss", "agreement"))
        assert losses == [last_loss(tmp_path / row["folder"]) for row in rows]
        assert order(losses, shared) == [0, 1, 2]
        assert same(kept, tmp_path / rows[0]["folder"])
        assert f"{losses[0]:.4g}, {shared[0]:.3f} (seed {rows[0]['seed']}); " in outcome.err

    def test_one_that_had_begun_with_other_weights_goes_on(self, victim: Path, ardmvc: Call, tmp_path: Path) -> None:
        command = (*FEW, "--starts=2", f"--init_from={victim}")
        assert ardmvc(*command).code == 0
        records = list(tmp_path.glob("runs/starts/*.json"))
        for record in records:  # as if each had been killed before it could say that it was done
            record.write_text(record.read_text().replace('"done": true', '"done": false'))
        outcome = ardmvc(*command)
        assert outcome.code == 0, outcome.err
        assert len(records) == 2
        assert same(tmp_path / "runs/comvc/version_0", tmp_path / "runs/comvc/version_1")

    def test_one_that_diverges_is_never_kept(self, ardmvc: Call, tmp_path: Path) -> None:
        fragile = ("--model.clusterer=tests.toys.Fragile", "--allow=tests.toys.Fragile")
        outcome = ardmvc(*fit_arguments("victims/simvc.yaml", "data/digits.yaml"), *ONE_STEP, *fragile, "--starts=2")
        assert outcome.code == 0, outcome.err
        assert "start 1 of 2, seed 0: the loss is nan after epoch 0" in outcome.err
        kept = f"{last_loss(tmp_path / 'runs/simvc/version_0'):.4g}, nan (seed {seed_of(0, 1)}); inf, nan (seed 0)"
        assert kept in outcome.err
        outcome = ardmvc(*fit_arguments("victims/simvc.yaml", "data/digits.yaml"), *ONE_STEP, *fragile)
        assert outcome.code == 1

    def test_without_a_logger(self, ardmvc: Call, tmp_path: Path) -> None:
        assert ardmvc(*FEW, "--starts=2", "--trainer.logger=false").code == 0
        assert (tmp_path / "checkpoints/last.ckpt").is_file()
        assert not (tmp_path / "metrics.csv").exists()

    def test_from_python_the_module_is_what_was_kept(self, tmp_path: Path) -> None:
        few = [CONFIGS / "victims/comvc.yaml", CONFIGS / "data/digits.yaml", *QUIET, *ONE_STEP]
        run = api.fit(*few, "--starts=2", folder=tmp_path / "here")
        assert run.checkpoint == tmp_path / "here/checkpoints/last.ckpt"
        kept = load_clusterer(run.checkpoint)
        for name, value in run.module.clusterer.state_dict().items():
            assert torch.equal(value, kept.state_dict()[name])
        assert run.metrics["train/loss"] == pytest.approx(last_loss(tmp_path / "here"))
        assert {"val/acc", "val/nmi", "val/ari"} <= run.metrics.keys()
        assert api.test(*QUIET, "--model.attacks={}", checkpoint=run.checkpoint, folder=tmp_path / "test").report is not None

    def test_a_teacher_is_the_best_of_several(self, ardmvc: Call, tmp_path: Path) -> None:
        teacher = json.dumps([str(CONFIGS / "victims/comvc.yaml"), *ONE_STEP, "--starts=3"])
        student = fit_arguments("defenders/robust.yaml", "data/digits.yaml")
        with pytest.warns(UserWarning, match="the teacher puts no sample into clusters"):
            outcome = ardmvc(*student, *ONE_STEP, f"--model.teacher={teacher}")
        assert outcome.code == 0, outcome.err
        (teacher,) = (path.parents[1] for path in tmp_path.glob("runs/teachers/*/checkpoints/last.ckpt"))
        starts = [path.parents[1] for path in teacher.glob("starts/*/checkpoints/last.ckpt")]
        assert len(starts) == 3
        assert same(teacher, chosen_first(starts))
        assert type(load_clusterer(teacher / "checkpoints/last.ckpt")) is CoMVC

    def test_of_the_estimator_too(self, capfd: pytest.CaptureFixture[str]) -> None:
        views = [np.random.default_rng(0).normal(size=(90, width)) + np.arange(90)[:, None] % 3 * 4 for width in (4, 6)]
        once, thrice = (
            MultiViewClustering(3, clusterer="SiMVC", epochs=2, n_init=count, random_state=5, accelerator="cpu").fit(views)
            for count in (1, 3)
        )
        assert thrice.n_iter_ == once.n_iter_ == 2
        assert "ardmvc" not in "".join(capfd.readouterr())
        seeds = [seed_of(5, number) for number in range(3)]
        alone = [
            MultiViewClustering(3, clusterer="SiMVC", epochs=2, random_state=seed, accelerator="cpu").fit(views)
            for seed in seeds
        ]
        found = [np.array_equal(thrice.predict_proba(views), one.predict_proba(views)) for one in alone]
        assert found.count(True) == 1
        with pytest.raises(ValueError, match="n_init must be an integer of at least 1, got 0"):
            MultiViewClustering(3, n_init=0).fit(views)

    def test_of_a_baseline_it_is_how_often_k_means_starts(self) -> None:
        views = [np.random.default_rng(0).normal(size=(60, 3)), np.random.default_rng(1).normal(size=(60, 2))]
        for count, starts in ((1, 10), (3, 3)):
            model = MultiViewClustering(4, clusterer="KMeans", n_init=count, random_state=0, accelerator="cpu").fit(views)
            assert model.clusterer_.starts == starts


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--starts=0",), "starts"),
            (("--starts=2", "--seed_everything=false"), "seeds follow from seed_everything, which is False"),
            (("--starts=2", "--checkpoint.dirpath=here"), "checkpoint.dirpath"),
            (("--starts=2", "--checkpoint.monitor=val/acc"), "checkpoint.monitor"),
            (("--starts=2", "--checkpoint.filename=mine"), "checkpoint.filename"),
            (
                ("--starts=2", "--trainer.devices=2", "--trainer.strategy=ddp", "--oversubscribe=true"),
                "on one device, not on 2",
            ),
        ],
    )
    def test_in_a_line(self, options: tuple[str, ...], message: str, ardmvc: Call, tmp_path: Path) -> None:
        outcome = ardmvc(*FEW, *options)
        assert outcome.code in (1, 2)
        assert message in outcome.err
        assert not list(tmp_path.rglob("*.ckpt"))

    def test_attackers(self, victim: Path, ardmvc: Call) -> None:
        outcome = ardmvc(
            *fit_arguments("attackers/gan.yaml", "data/digits.yaml"), *ONE_STEP, f"--model.victim={victim}", "--starts=2"
        )
        assert outcome.code == 1
        assert "starts = 2: clusterers and defenders can have several, an attacker cannot" in outcome.err

    def test_what_has_starts_of_its_own(self, ardmvc: Call) -> None:
        outcome = ardmvc(*fit_arguments("victims/kmeans.yaml", "data/digits.yaml"), "--starts=2")
        assert outcome.code == 1
        assert "starts = 2: KMeans has no loss to choose one by; its k-means has model.clusterer.starts" in outcome.err


class TestOrder:
    CLASSES = np.arange(90) % 9

    def test_a_clustering_that_no_other_finds_is_not_kept_for_a_loss_lower_by_a_hair(self) -> None:
        merged = [np.where(taken == self.CLASSES, taken + 1, self.CLASSES) for taken in (0, 4)]
        shared = agreement([merged[0], self.CLASSES, merged[1], self.CLASSES])
        assert order([0.899, 0.900, 0.950, 0.901], shared)[0] == 1

    def test_of_clusterings_that_are_all_one_the_lowest_loss_is_kept(self) -> None:
        shared = agreement([self.CLASSES, (self.CLASSES + 3) % 9, 8 - self.CLASSES])  # other names, the same clusters
        assert shared == pytest.approx([1, 1, 1])
        assert order([2.0, 1.0, 3.0], shared) == [1, 0, 2]

    def test_of_two_the_loss_decides(self) -> None:
        shared = agreement([self.CLASSES, self.CLASSES // 2])
        assert shared[0] == shared[1] == adjusted_rand_score(self.CLASSES, self.CLASSES // 2)
        assert order([2.0, 1.0], shared) == [1, 0]

    @given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 100)), min_size=1, max_size=8))
    def test_neither_the_unit_of_the_loss_nor_the_order_of_starts_matters(self, pairs: list[tuple[int, int]]) -> None:
        losses, shared = np.array(pairs, dtype=float).T
        score = np.round(scores(losses) - scores(shared), 6)
        for factor, turned in ((1, False), (8, False), (8, True)):
            way = slice(None, None, -1 if turned else 1)
            first = order(factor * losses[way], shared[way])[0]
            assert score[way][first] == score.min()

    def test_one_start_is_the_first(self) -> None:
        assert order([1.0], agreement([self.CLASSES])) == [0]


def scores(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std() if np.ptp(values) > 1e-9 else np.zeros_like(values)


def test_starts_of_the_first_seeds_have_none_in_common() -> None:
    seeds = [seed_of(seed, number) for seed in range(100) for number in range(20)]
    assert len({*seeds}) == len(seeds)
    assert [seed_of(seed, 0) for seed in range(100)] == [*range(100)]
