"""Nothing lost, nobody let in: what checkpoints, data files and wrong settings can and cannot do."""

import gzip
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from lightning.pytorch import Callback, LightningModule, Trainer

from ar_dmvc import load_clusterer
from ar_dmvc.callbacks import RunCheckpoint
from ar_dmvc.checkpoint import read_checkpoint, write_checkpoint
from ar_dmvc.cli import main
from ar_dmvc.data import Digits, describe_part, may_overlap
from ar_dmvc.errors import CheckpointError
from ar_dmvc.files import remove_strays, whole_file, write_whole
from tests.conftest import CONFIGS, ONE_BATCH, QUIET, VICTIMS, Outcome, fit_arguments
from tests.data.test_data import write_mnist
from tests.processes import Beside

Call = Callable[..., Outcome]

PRETRAINED = "--model.clusterer.pretraining_epochs"
SHORT: dict[str, list[str]] = {
    "multi_vae": ["--model.clusterer.starts=2"],
    "aecoddc": [f"{PRETRAINED}=1"],
    "infoddc": [f"{PRETRAINED}=1"],
    "sem": [
        f"{PRETRAINED}=1",
        "--model.clusterer.rounds=1",
        "--model.clusterer.starts=2",
        "--model.clusterer.features=16",
    ],
}


def short(name: str, epochs: int = 1) -> list[str]:
    """A run of a few steps."""
    epochs = max(epochs, 2 if f"{PRETRAINED}=1" in SHORT.get(name, []) else 1)
    few = [*SHORT.get(name, []), f"--trainer.max_epochs={epochs}", "--trainer.limit_train_batches=2"]
    return [*fit_arguments(f"victims/{name}.yaml", "data/digits.yaml"), *few]


def newest(folder: Path) -> Path:
    return max(folder.rglob("last.ckpt"), key=lambda path: path.stat().st_mtime)


def ended(work: Callable[[], object]) -> int | None:
    """The exit code of a process that does some work."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    return process.exitcode


def complaint(outcome: Outcome) -> str:
    """The one line that a failed call ends with."""
    assert outcome.code not in (0, None), outcome.out
    lines = [line for line in outcome.err.splitlines() if line.startswith("ardmvc: error: ")]
    assert len(lines) == 1, outcome.err
    assert "Traceback" not in outcome.err
    return lines[0]


class TestWholeFiles:
    def test_an_error_leaves_the_earlier_file_and_nothing_else(self, tmp_path: Path) -> None:
        write_whole(tmp_path / "file", "earlier")
        with pytest.raises(ValueError, match="expected bytes"), whole_file(tmp_path / "file") as file:  # noqa: PT012
            file.write(b"half")
            raise ValueError("expected bytes")
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "earlier")]

    def test_the_part_lies_beside_the_target(self, tmp_path: Path) -> None:
        with whole_file(tmp_path / "file") as file:
            (part,) = tmp_path.iterdir()
            assert part.samefile(file.name)
            remove_strays(tmp_path)
            assert part.exists()  # it is being written
            file.write(b"whole")
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"whole")]

    def test_what_a_killed_process_left_is_removed(self, tmp_path: Path) -> None:
        def work() -> None:
            with whole_file(tmp_path / "file") as file:
                file.write(b"half")
                os.kill(os.getpid(), signal.SIGKILL)

        assert ended(work) == -signal.SIGKILL
        assert len(list(tmp_path.iterdir())) == 1
        remove_strays(tmp_path)
        assert not list(tmp_path.iterdir())

    def test_modes_follow_the_mask_of_the_user(self, tmp_path: Path) -> None:
        mask = os.umask(0o027)
        try:
            write_whole(tmp_path / "file", "")
        finally:
            os.umask(mask)
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


class TestCheckpointsAreWhole:
    def test_written_beside_their_place_and_not_through_the_temporary_folder(self, ardmvc: Call, tmp_path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
            outcome = ardmvc(*short("simvc"))
        assert outcome.code == 0, outcome.err
        assert [path.name for path in newest(tmp_path).parent.iterdir()] == ["last.ckpt"]

    def test_a_disk_that_fills_leaves_the_earlier_one(self, victim: Path, tmp_path: Path) -> None:
        content = read_checkpoint(victim)
        write_checkpoint(content, tmp_path / "last.ckpt")

        def work() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            with pytest.raises(OSError, match=r"File too large: '.*/last.ckpt'"):
                write_checkpoint(content, tmp_path / "last.ckpt")

        assert ended(work) == 0
        assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
        assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == content["global_step"]

    def test_every_flipped_bit_is_found(self, victim: Path, tmp_path: Path) -> None:
        whole = victim.read_bytes()
        generator = np.random.default_rng(0)
        places = {*generator.integers(0, len(whole), 30).tolist(), len(whole) - 1, len(whole) - 70, len(whole) - 100}
        for place in places:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(generator.integers(8))
            (tmp_path / "damaged.ckpt").write_bytes(damaged)
            with pytest.raises(CheckpointError, match=r"damaged\.ckpt"):
                read_checkpoint(tmp_path / "damaged.ckpt")

    def test_those_without_a_seal_are_read_and_their_members_checked(self, victim: Path, tmp_path: Path) -> None:
        path = tmp_path / "earlier.ckpt"
        torch.save(read_checkpoint(victim), path)
        for name, value in load_clusterer(path).state_dict().items():
            assert torch.equal(value, load_clusterer(victim).state_dict()[name])
        content = bytearray(path.read_bytes())
        weights = next(iter(load_clusterer(victim).parameters())).detach().numpy().tobytes()
        content[content.index(weights)] ^= 1
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="does not have the checksum"):
            read_checkpoint(path)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_weights_that_are_not_finite_are_refused(self, value: float, victim: Path, ardmvc: Call, tmp_path: Path) -> None:
        content = read_checkpoint(victim)
        next(tensor for tensor in content["state_dict"].values() if tensor.is_floating_point()).view(-1)[0] = value
        write_checkpoint(content, tmp_path / "broken.ckpt")
        assert "weights are not finite" in complaint(ardmvc("test", "--ckpt_path=broken.ckpt", *QUIET))

    def test_a_compressed_one_is_refused_before_it_expands(self, tmp_path: Path) -> None:
        torch.save({"state_dict": {"a": torch.zeros(1 << 22)}}, tmp_path / "plain.ckpt")
        with (
            zipfile.ZipFile(tmp_path / "plain.ckpt") as source,
            zipfile.ZipFile(tmp_path / "small.ckpt", "w", zipfile.ZIP_DEFLATED) as target,
        ):
            for name in source.namelist():
                target.writestr(name, source.read(name))
        assert (tmp_path / "small.ckpt").stat().st_size < 50_000
        with pytest.raises(CheckpointError, match="compressed"):
            read_checkpoint(tmp_path / "small.ckpt")

    @pytest.mark.parametrize("kind", ["tensor", "sparse", "containers"])
    def test_what_would_grow_once_it_is_used_is_refused(self, kind: str, tmp_path: Path) -> None:
        nested: Any = {"a": [1]}
        for _ in range(60 if kind == "containers" else 0):
            nested = [nested, nested]
        tensor = {"tensor": torch.zeros(1).expand(10**10), "sparse": torch.zeros(3).to_sparse()}.get(kind, torch.zeros(1))
        path = tmp_path / "growing.ckpt"
        write_checkpoint({"state_dict": {"a": tensor}, "config": nested}, path)
        assert path.stat().st_size < 20_000
        with pytest.raises(CheckpointError, match=r"growing\.ckpt"):
            read_checkpoint(path)

    @pytest.mark.parametrize("option", ["--trainer.logger.version=mine", "--checkpoint.dirpath=runs/simvc/mine"])
    def test_a_folder_that_another_run_writes_in_is_refused(
        self, option: str, ardmvc: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ar_dmvc.runs.folder._PATIENCE_SECONDS", 0.1)
        folder = tmp_path / "runs" / "simvc" / "mine"
        folder.mkdir(parents=True)
        with FileLock(folder / ".lock"):
            assert "another run is writing there" in complaint(ardmvc(*short("simvc"), option))
        assert ardmvc(*short("simvc"), option).code == 0

    def test_weights_that_break_down_do_not_replace_the_checkpoint_before(self, ardmvc: Call, tmp_path: Path) -> None:
        outcome = ardmvc(*short("simvc", 3), "--trainer.callbacks=tests.test_safety.BreaksDown")
        assert "is not finite any more after epoch 1" in complaint(outcome)
        assert read_checkpoint(newest(tmp_path))["epoch"] == 0

    def test_last_takes_the_newest_that_can_be_read(self, ardmvc: Call, tmp_path: Path) -> None:
        for _ in range(3):
            assert ardmvc(*short("simvc")).code == 0
        first, second, third = (tmp_path / f"runs/simvc/version_{n}/checkpoints/last.ckpt" for n in range(3))
        third.write_bytes(b"")
        second.write_bytes(second.read_bytes()[:-1])
        stray = first.with_name(".last.ckpt.0123abcd.part")
        stray.touch()
        for number, path in enumerate((first, second, third)):
            os.utime(path, (1000 + number, 1000 + number))
        outcome = ardmvc(*short("simvc", 2), "--ckpt_path=last")
        assert outcome.code == 0, outcome.err
        assert re.findall(r"passed over: runs/simvc/(version_\d)", outcome.err) == ["version_2", "version_1"]
        assert "going on from runs/simvc/version_0" in outcome.err
        assert not stray.exists()
        for path in tmp_path.glob("runs/simvc/version_*/checkpoints/last.ckpt"):
            path.write_bytes(b"none")
        assert "no last checkpoint that is whole" in complaint(ardmvc(*short("simvc"), "--ckpt_path=last"))


class TestCheckpointsNameNoPath:
    @pytest.mark.parametrize("name", VICTIMS)
    def test_a_finished_run_goes_on_into_a_checkpoint_of_its_own(self, name: str, ardmvc: Call, tmp_path: Path) -> None:
        assert ardmvc(*short(name)).code == 0
        earlier = newest(tmp_path)
        before = earlier.read_bytes()
        content = read_checkpoint(earlier)
        treasure = tmp_path / "treasure.ckpt"
        treasure.write_text("precious")
        for key, state in content["callbacks"].items():
            if key.startswith("ModelCheckpoint"):
                paths = ("best_model_path", "last_model_path", "kth_best_model_path")
                state.update(dict.fromkeys(paths, str(treasure)), best_k_models={str(treasure): torch.tensor(0.0)})
        hostile = tmp_path / "hostile.ckpt"
        write_checkpoint(content, hostile)
        outcome = ardmvc(*short(name), f"--ckpt_path={hostile}")
        assert outcome.code == 0, outcome.err
        assert treasure.read_text() == "precious"
        assert earlier.read_bytes() == before
        own = tmp_path / earlier.relative_to(tmp_path).as_posix().replace("version_0", "version_1")
        new = read_checkpoint(own)
        assert new["global_step"] == content["global_step"]
        for key, value in content["state_dict"].items():
            assert torch.equal(value, new["state_dict"][key]), key
        kept = str(new["callbacks"])
        assert str(treasure) not in kept
        assert "version_0" not in kept

    def test_best_checkpoints_of_one_s_own_folder_are_gone_on_from(self, ardmvc: Call, tmp_path: Path) -> None:
        best = ["--checkpoint.monitor=train/loss", "--checkpoint.save_top_k=2", "--checkpoint.filename={epoch}"]
        options = [*best, "--trainer.logger.version=one"]
        assert ardmvc(*short("simvc", 3), *options).code == 0
        folder = tmp_path / "runs/simvc/one/checkpoints"
        kept = sorted(folder.iterdir())
        assert len(kept) == 2
        outcome = ardmvc(*short("simvc", 8), *options, f"--ckpt_path={kept[-1]}")
        assert outcome.code == 0, outcome.err
        # Those of the first part count: of them, the one that was gone on from stays, and one is removed.
        assert sum(path in kept for path in folder.iterdir()) == 1
        assert len(list(folder.iterdir())) == 3

    @pytest.mark.parametrize("name", ["../../../x", "/tmp/x", "a/../../x"])
    def test_names_that_lead_out_are_refused(self, name: str, ardmvc: Call, tmp_path: Path) -> None:
        assert "leads out of the run's folder" in complaint(ardmvc(*short("simvc"), f"--checkpoint.filename={name}"))
        assert not list(tmp_path.rglob("*.ckpt"))

    @pytest.mark.parametrize(
        "change",
        [
            lambda content: content.update(loops={}),
            lambda content: content.update(loops={"fit_loop": None}),
            lambda content: content.update({"pytorch-lightning_version": "none"}),
            lambda content: content.pop("pytorch-lightning_version"),
            lambda content: content.update(epoch="many"),
            lambda content: content.update(callbacks=None),
            lambda content: content.update(optimizer_states=None),
            lambda content: content.update(optimizer_states=[{"state": 1}]),
            lambda content: content["loops"]["fit_loop"].clear(),
            lambda content: content["loops"]["fit_loop"].update({"epoch_loop.batch_progress": 3}),
            lambda content: content["loops"].update(test_loop={"a": 1}),
            lambda content: content.update(clusterer=None),
            lambda content: content.update(clusterer=[]),
            lambda content: content.update(trained_on=[3]),
            lambda content: content.update(state_dict={"clusterer": 3}),
        ],
    )
    def test_states_that_are_none_are_said_in_a_line(
        self, change: Callable[[dict[str, Any]], object], victim: Path, ardmvc: Call, tmp_path: Path
    ) -> None:
        content = read_checkpoint(victim)
        change(content)
        write_checkpoint(content, tmp_path / "odd.ckpt")
        fit = [*fit_arguments("victims/comvc.yaml", "data/digits.yaml"), "--trainer.max_epochs=11"]
        few = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"]
        for command in ([*fit, *few, "--ckpt_path=odd.ckpt"], ["test", "--ckpt_path=odd.ckpt", *ONE_BATCH]):
            outcome = ardmvc(*command)
            if outcome.code:
                message = complaint(outcome)
                assert "odd.ckpt" in message
                assert "KeyError: 'test_loop'" not in message


class BreaksDown(Callback):
    """A last step of an epoch that leaves no finite weights behind a finite loss."""

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *args: object) -> None:
        if trainer.current_epoch == 1 and trainer.is_last_batch:
            with torch.no_grad():
                next(module.clusterer.parameters()).fill_(float("nan"))


class LosesItsFolder(Callback):
    """A folder that is removed just before something is written there."""

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        folder = Path(str(trainer.log_dir))
        shutil.rmtree(folder.parent)
        (folder / "notes.txt").write_text("of this run")


class DyingInTheLastEpoch(Callback):
    """A power cut after a step of it."""

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *args: object) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs and not trainer.is_last_batch:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("name", VICTIMS)
def test_after_a_power_cut_a_run_ends_as_if_there_had_been_none(name: str, ardmvc: Call, tmp_path: Path) -> None:
    fit = short(name, 2)
    dying = [*fit, "--trainer.callbacks=tests.test_safety.DyingInTheLastEpoch"]
    assert ended(lambda: main(dying)) == -signal.SIGKILL
    for more in (["--ckpt_path=last"], []):
        outcome = ardmvc(*fit, *more)
        assert outcome.code == 0, outcome.err
    resumed, whole = (
        read_checkpoint(next(tmp_path.glob(f"runs/*/version_{number}/checkpoints/last.ckpt"))) for number in (1, 2)
    )
    assert resumed["global_step"] == whole["global_step"]
    for key, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][key]), key


PROCESS = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "was_here"]}}


@pytest.mark.parametrize(
    "settings",
    [
        {"model": PROCESS},
        {"data": PROCESS},
        {"model": {"init_args": {"clusterer": PROCESS}}},
        {"model": {"init_args": {"attacks": {"x": PROCESS}}}},
        {"trainer": {"callbacks": [PROCESS]}},
        {"trainer": {"logger": PROCESS}},
        {"trainer": {"strategy": PROCESS}},
        {"trainer": {"callbacks": [{"class_path": "LambdaCallback", "init_args": {"on_fit_start": PROCESS}}]}},
    ],
    ids=str,
)
def test_a_configuration_from_others_starts_no_process(settings: dict[str, object], ardmvc: Call, tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text(json.dumps(settings))
    outcome = ardmvc(*short("comvc"), "--config=theirs.yaml", "--trainer.fast_dev_run=true")
    assert outcome.code in (1, 2)
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "was_here").exists()


class TestWhatSettingsMayName:
    NAMES = ("antigravity.Joke", "webbrowser.open", "logging.FileHandler", "yaml.YAMLObject", "torch.hub.load")

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("place", ["model", "data", "callback", "function", "attack", "allow"])
    def test_nothing_of_other_packages(self, name: str, place: str, ardmvc: Call, tmp_path: Path) -> None:
        sys.modules.pop("antigravity", None)
        theirs: dict[str, Any] = {"class_path": name}
        settings: dict[str, dict[str, Any]] = {
            "model": {"model": theirs},
            "data": {"data": theirs},
            "callback": {"trainer": {"callbacks": [theirs]}},
            "function": {"trainer": {"callbacks": [{"class_path": "LambdaCallback", "init_args": {"on_fit_start": name}}]}},
            "attack": {"model": {"init_args": {"attacks": {"x": theirs}}}},
            "allow": {"allow": name},
        }
        (tmp_path / "theirs.yaml").write_text(json.dumps(settings[place]))
        message = complaint(ardmvc(*short("comvc"), "--config=theirs.yaml", "--trainer.fast_dev_run=true"))
        assert f"{name} is in a package that settings may not name" in message
        assert "antigravity" not in sys.modules
        (tmp_path / "theirs.yaml").write_text(json.dumps(settings[place]).replace(name, "no_such.Thing"))
        message = complaint(ardmvc(*short("comvc"), "--config=theirs.yaml", "--trainer.fast_dev_run=true"))
        assert "no_such.Thing: there is no module no_such in the working directory or elsewhere on the Python path" in message

    def test_what_the_environment_names(self, ardmvc: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        for named in ("somebodys_package, webbrowser", "somebodys_package"):  # in one process
            monkeypatch.setenv("AR_DMVC_ALLOW", named)
            message = complaint(ardmvc(*short("comvc"), "--trainer.callbacks=webbrowser.open"))
            assert ("may not name" in message) == ("webbrowser" not in named)

    def test_modules_of_one_s_own(self, ardmvc: Call, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text("from lightning.pytorch import Callback\nclass Mine(Callback): ...\n")
        outcome = ardmvc(*short("comvc"), "--trainer.callbacks=mine.Mine", "--trainer.fast_dev_run=true")
        assert outcome.code == 0, outcome.err
        (tmp_path / "folder").mkdir()
        (tmp_path / "mine.py").rename(tmp_path / "folder" / "ours.py")
        message = complaint(ardmvc(*short("comvc"), "--trainer.callbacks=folder.ours.Mine", "--trainer.fast_dev_run=true"))
        assert "once there is a file folder/__init__.py" in message


class TestOthersData:
    def test_what_expands_a_thousandfold_is_refused_before_it_does(self, ardmvc: Call, tmp_path: Path) -> None:
        size = 65 << 20
        np.savez_compressed(tmp_path / "bomb.npz", view_0=np.zeros((1024, size // 1024), np.uint8))
        fit = fit_arguments("victims/simvc.yaml")
        outcome = ardmvc(*fit, "--data=FeatureViews", "--data.path=bomb.npz", "--data.num_clusters=2")
        assert "store it uncompressed if it is yours" in complaint(outcome)
        write_mnist(tmp_path / "mnist")
        images = tmp_path / "mnist" / "t10k-images-idx3-ubyte"
        images.unlink()
        header = bytes([0, 0, 8, 3]) + struct.pack(">3I", size // 784, 28, 28)
        with gzip.open(f"{images}.gz", "wb") as file:
            file.write(header + bytes(size // 784 * 784))
        outcome = ardmvc(*fit, "--data=NoisyMNIST", "--data.root=mnist", "--data.splits=[test]")
        assert "store it uncompressed if it is yours" in complaint(outcome)

    def test_a_pipe_is_no_view(self, ardmvc: Call, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        np.save(tmp_path / "mine" / "view_0.npy", np.ones((3, 3)))
        os.mkfifo(tmp_path / "mine" / "view_1.npy")
        outcome = ardmvc("data", "info", "FeatureViews", "--data.path=mine", "--data.num_clusters=2")
        assert "view_1.npy: no regular file" in complaint(outcome)

    def test_a_foreign_data_class_is_not_replaced_by_another(self, victim: Path, ardmvc: Call, tmp_path: Path) -> None:
        content = read_checkpoint(victim)
        content["config"]["data"]["class_path"] = "theirs.Data"
        write_checkpoint(content, tmp_path / "foreign.ckpt")
        for command in ("test", "validate", "predict"):
            outcome = ardmvc(command, "--ckpt_path=foreign.ckpt", *QUIET)
            assert "data" in complaint(outcome)
            assert "'theirs.Data', which is not a class of ar_dmvc" in outcome.err
        named = f"--config={CONFIGS}/data/digits.yaml"
        assert ardmvc("test", "--ckpt_path=foreign.ckpt", named, *ONE_BATCH).code == 0

    @pytest.mark.parametrize("name", ["a\x1b[2Jb", "", " ", "a/b", "a\nb"])
    def test_names_of_attacks_reach_no_terminal_as_they_like(
        self, name: str, victim: Path, ardmvc: Call, tmp_path: Path
    ) -> None:
        content = read_checkpoint(victim)
        content["config"]["model"]["init_args"]["attacks"] = {name: {"class_path": "ar_dmvc.attacks.UniformNoise"}}
        write_checkpoint(content, tmp_path / "named.ckpt")
        outcome = ardmvc("test", "--ckpt_path=named.ckpt", *QUIET)
        assert "cannot be an attack's name" in complaint(outcome)
        assert "\x1b" not in outcome.err + outcome.out

    def test_markup_in_a_name_is_shown_as_it_is(self, victim: Path, ardmvc: Call, tmp_path: Path) -> None:
        suite = {"[bold]x": {"class_path": "UniformNoise"}}
        (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"attacks": suite}}}))
        few = ("--trainer.limit_test_batches=1", *QUIET)
        assert "[bold]x" in ardmvc("test", f"--ckpt_path={victim}", "--config=suite.yaml", *few).out


class TestRunsBesideEachOther:
    def test_two_of_one_name_get_a_folder_each(self, tmp_path: Path) -> None:
        runs = [Beside(tmp_path, *short("simvc")) for _ in range(3)]
        assert [run.end()[0] for run in runs] == [0] * 3
        folders = sorted(path.name for path in (tmp_path / "runs/simvc").iterdir())
        assert folders == ["version_0", "version_1", "version_2"]
        assert len(list(tmp_path.rglob("last.ckpt"))) == 3

    def test_benchmarks_on_one_folder_share_the_jobs(self, tmp_path: Path) -> None:
        few = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", *QUIET]
        settings = {
            "output": "out",
            "seeds": [0, 1],
            "data": [f"{CONFIGS}/data/digits.yaml"],
            "clusterers": {"SiMVC": [f"{CONFIGS}/victims/simvc.yaml", *few]},
            "attacker": [f"{CONFIGS}/attackers/gan.yaml", *few],
            "attacks": [f"{CONFIGS}/attacks/standard.yaml", "--trainer.limit_test_batches=1", *QUIET],
        }
        (tmp_path / "grid.yaml").write_text(yaml.safe_dump(settings))
        runs = [Beside(tmp_path, "benchmark", "--config=grid.yaml") for _ in range(2)]
        codes, outputs, errors = zip(*(run.end() for run in runs), strict=True)
        assert codes == (0, 0), errors
        assert sum(out.count("train SiMVC") for out in outputs) >= 2
        done = re.findall(r"\] (t\w+ .*seed \d)$", "\n".join(outputs), re.MULTILINE)
        assert sorted(done) == sorted(set(done))  # each job once
        assert len(done) == 6
        assert (tmp_path / "out/table.md").is_file()
        assert not list(tmp_path.rglob("metrics.*.csv"))

    def test_a_folder_removed_while_training_is_said(self, tmp_path: Path) -> None:
        run = Beside(tmp_path, *fit_arguments("victims/simvc.yaml"), "--trainer.max_epochs=1000")
        folder = tmp_path / "runs/simvc/version_0"
        while run.process.is_alive() and not (folder / "checkpoints/last.ckpt").is_file():
            time.sleep(0.02)
        folder.rename(tmp_path / "moved")
        code, _, err = run.end()
        assert code == 1, err
        lines = [line for line in err.splitlines() if line.startswith("ardmvc: error: ")]
        assert lines == [
            "ardmvc: error: runs/simvc/version_0: the folder of this run was removed or moved away while it went on"
        ]
        assert not folder.exists()
        assert read_checkpoint(tmp_path / "moved/checkpoints/last.ckpt")["global_step"] > 0

    def test_a_folder_removed_just_before_something_is_written_there_is_said(self, ardmvc: Call) -> None:
        message = complaint(ardmvc(*short("simvc"), "--trainer.callbacks=tests.test_safety.LosesItsFolder"))
        assert (
            message == "ardmvc: error: runs/simvc/version_0: the folder of this run was removed or moved away while it went on"
        )


class TestSettingsThatTrainNothing:
    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("--trainer.max_epochs=0", "nothing would be trained"),
            ("--trainer.max_steps=0", "nothing would be trained"),
            ("--trainer.limit_train_batches=0", "nothing would be trained"),
            ("--trainer.limit_train_batches=0.0", "nothing would be trained"),
            ("--checkpoint.every_n_epochs=0", "no checkpoint would be left"),
            ("--checkpoint.save_top_k=0", "no checkpoint would be left"),
            ("--trainer.gradient_clip_val=-1", "must be at least 0"),
            ("--trainer.accumulate_grad_batches=0", "at least one batch makes a step"),
            ("--data.epsilon=5", "epsilon must be in (0, 1]"),
            ("--data.seed=-1", "data.seed must be at least 0"),
            ("--trainer.devices=99", "--oversubscribe true lets them share"),
            ("--trainer.precision=13-true", "trainer.precision: a value of type int or one of"),
            ("--trainer.logger=Foo", "trainer.logger: there is no class Foo"),
        ],
    )
    def test_are_refused(self, setting: str, message: str, ardmvc: Call, tmp_path: Path) -> None:
        outcome = ardmvc(*fit_arguments("victims/simvc.yaml"), setting)
        assert message in complaint(outcome)
        assert not list(tmp_path.iterdir())

    def test_more_processes_than_cores_may_be_asked_for(self, ardmvc: Call) -> None:
        outcome = ardmvc(*fit_arguments("victims/simvc.yaml"), "--trainer.devices=99", "--oversubscribe=true", "--print_config")
        assert outcome.code == 0

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "empty"),
            (b"a: [b", "not valid YAML"),
            (b"text", "holds no settings"),
            (b"\xff", "not valid YAML"),
            (b"a:\n  b: 1\n  c: 2\n  b: 3", "not valid YAML (b is there twice, in lines 2 and 4)"),
        ],
    )
    @pytest.mark.parametrize("command", [["fit", "--config"], ["benchmark", "--config"], ["data", "info"]])
    def test_files_that_hold_none(self, content: bytes, message: str, command: list[str], ardmvc: Call, tmp_path: Path) -> None:
        (tmp_path / "odd.yaml").write_bytes(content)
        assert f"odd.yaml: {message}" in complaint(ardmvc(*command, "odd.yaml"))

    @pytest.mark.parametrize(
        ("samples", "value", "message"),
        [(1, 0.5, "0 of 1 samples, too few to train on"), (40, 1e300, "too large for single precision (1e+300)")],
    )
    def test_data_that_cannot_be_trained_on(
        self, samples: int, value: float, message: str, ardmvc: Call, tmp_path: Path
    ) -> None:
        view = np.random.default_rng(0).random((samples, 3))
        view[0, 0] = value
        np.savez(tmp_path / "my.npz", view_0=view, view_1=view, labels=np.arange(samples) % 2)
        own = ["--data=FeatureViews", "--data.path=my.npz", "--data.num_clusters=2", "--data.batch_size=4"]
        assert message in complaint(ardmvc(*fit_arguments("victims/simvc.yaml"), *own))

    def test_a_final_checkpoint_is_left_whatever_the_interval(self, ardmvc: Call, tmp_path: Path) -> None:
        outcome = ardmvc(*short("simvc", 3), "--checkpoint.every_n_epochs=2")
        assert outcome.code == 0, outcome.err
        assert read_checkpoint(newest(tmp_path))["global_step"] == 6


def test_a_checkpoint_callback_takes_a_state_of_lightning_s_own() -> None:
    assert RunCheckpoint().state_key.startswith("ModelCheckpoint{")


def test_what_weights_saw_may_lead_back_to_itself() -> None:
    """As a stranger's checkpoint can have it: found out, rather than followed for ever."""
    data = Digits()
    data.setup("test")
    seen: dict[str, object] = {"data": "another"}
    assert not may_overlap(seen, data, "attacker")
    seen["before"] = describe_part(data)
    assert not may_overlap(seen, data, "attacker")
    assert may_overlap(seen, data, "victim")
    seen["before"] = seen
    assert may_overlap(seen, data, "attacker")
