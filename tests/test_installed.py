"""What is installed is whole: configurations found from anywhere, wheel and sdist, the README's commands in an empty folder."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import ar_dmvc
from ar_dmvc.settings import shipped
from tests.conftest import CONFIGS, QUIET, REPOSITORY, Outcome

Call = Callable[..., Outcome]
TINY = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", *QUIET]


class TestConfigurations:
    def test_all_are_listed_with_what_they_are(self, ardmvc: Call) -> None:
        lines = ardmvc("configs").out.splitlines()
        names = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml"))
        assert [line.split()[0] for line in lines] == names
        assert [line.split()[0] for line in lines if len(line.split()) < 4] == []

    @pytest.mark.parametrize("name", ["victims/simvc.yaml", "configs/victims/simvc.yaml"])
    def test_they_are_found_from_anywhere(self, name: str, ardmvc: Call, tmp_path: Path) -> None:
        outcome = ardmvc("fit", f"--config={name}", "--config", "data/digits.yaml", *TINY)
        assert outcome.code == 0, outcome.err
        assert (tmp_path / "runs/simvc/version_0/checkpoints/last.ckpt").is_file()

    def test_one_s_own_comes_first(self, ardmvc: Call, tmp_path: Path) -> None:
        assert ardmvc("configs", "copy", "victims/simvc.yaml", "victims/simvc.yaml").code == 0
        own = tmp_path / "victims/simvc.yaml"
        own.write_text(own.read_text().replace("name: simvc", "name: mine"))
        assert ardmvc("fit", "--config=victims/simvc.yaml", *TINY).code == 0
        assert (tmp_path / "runs/mine/version_0").is_dir()
        outcome = ardmvc("configs", "copy", "victims/simvc.yaml", "victims")
        assert outcome.code == 1
        assert "error: victims/simvc.yaml: is there already" in outcome.err

    def test_so_they_are_in_grids_and_as_teachers(self, ardmvc: Call, tmp_path: Path) -> None:
        grid = ["--output=out", "--data=[data/digits.yaml]", "--attacks=[attacks/standard.yaml]", "--dry_run=true"]
        outcome = ardmvc(
            "benchmark", *grid, "--clusterers.A=[victims/comvc.yaml]", "--defences.B=[configs/defenders/robust.yaml]"
        )
        assert outcome.code == 0, outcome.err
        assert "4 jobs, 0 of them done." in outcome.out
        outcome = ardmvc("benchmark", *grid, "--clusterers.A=[victims/convc.yaml]")
        assert outcome.code == 1
        assert "victims/convc.yaml: no such file; did you mean victims/comvc.yaml?" in outcome.err

    def test_what_is_not_there_is_said(self, ardmvc: Call) -> None:
        for arguments in (["fit", "--config", "victim/comvc.yaml"], ["configs", "copy", "victim/comvc.yaml"]):
            outcome = ardmvc(*arguments)
            assert outcome.code == 1
            assert "error: victim/comvc.yaml: no such file; did you mean victims/comvc.yaml?" in outcome.err
        assert "see --help" in ardmvc("configs", "show").err


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, REPOSITORY]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
class TestWheel:
    def test_it_holds_the_configurations_and_nothing_else_of_the_repository(self, wheel: Path) -> None:
        names = zipfile.ZipFile(wheel).namelist()
        assert {f"ar_dmvc/configs/{name}" for name in shipped()} <= set(names)
        assert {name.split("/")[0].split("-")[0] for name in names} == {"ar_dmvc"}
        assert "ar_dmvc/report/page.html" in names
        assert "ar_dmvc/py.typed" in names

    def test_in_an_empty_folder_it_fits_attacks_defends_tests_and_predicts(self, wheel: Path, tmp_path: Path) -> None:
        environment, work = tmp_path / "environment", tmp_path / "work"
        work.mkdir()
        venv.create(environment, with_pip=False)
        python = environment / "bin/python"
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel]
        subprocess.run(pip, check=True)
        # What the package needs is here already; this environment's own ar_dmvc, which another file names, is not.
        (site,) = environment.glob("lib/python*/site-packages")
        (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
        code = f"from ar_dmvc.cli import main\nfor arguments in {_COMMANDS!r}: assert main(arguments) == 0, arguments"
        variables = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [python, "-W", "ignore", "-c", code], cwd=work, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (environment / "bin/ardmvc").is_file()
        assert (work / "runs/ar_dmvc_am/version_0/checkpoints/last.ckpt").is_file()
        assert list((work / "runs").glob("predict/version_0/predictions.csv"))


_VICTIM = "runs/comvc/version_0/checkpoints/last.ckpt"
_COMMANDS = [
    ["fit", "--config=configs/victims/comvc.yaml", "--config=configs/data/digits.yaml", *TINY],
    ["fit", "--config=configs/attackers/gan.yaml", "--config=configs/data/digits.yaml", f"--model.victim={_VICTIM}", *TINY],
    ["fit", "--config=configs/defenders/ar_dmvc_am.yaml", "--config=configs/data/digits.yaml", *TINY],
    ["test", f"--ckpt_path={_VICTIM}", "--config=configs/attacks/standard.yaml", "--trainer.limit_test_batches=1", *QUIET],
    ["predict", f"--ckpt_path={_VICTIM}", *QUIET],
]


def test_what_the_repository_says_of_itself_is_of_this_version() -> None:

    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == ar_dmvc.__version__
    places = [*REPOSITORY.glob(".github/*/*.yaml"), REPOSITORY / ".pre-commit-config.yaml"]
    assert len(places) == 5
    assert all(isinstance(yaml.safe_load(path.read_text()), dict) for path in places)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["configs"]])
def test_what_needs_no_torch_does_not_import_it(arguments: list[str]) -> None:
    code = f"import sys; from ar_dmvc.cli import main; main({arguments}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_source_tree_that_is_not_installed_says_what_it_ran_with(tmp_path: Path) -> None:
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not entry.name.startswith(("ar_dmvc", "_editable", "__editable__")):
            (tmp_path / entry.name).symlink_to(entry)
    script = "import torch; from ar_dmvc.runs.machine import machine; print(machine(torch.device('cpu'))['ar_dmvc'])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])}
    shown = subprocess.run([sys.executable, "-S", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == ar_dmvc.__version__
