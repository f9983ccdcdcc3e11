"""Options that add to settings of a grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ar_dmvc.benchmark.additions import additions
from ar_dmvc.errors import ConfigurationError
from tests.conftest import Outcome

GRID = {
    "data": ["d.yaml"],
    "clusterers": {"A": ["a.yaml"], "B.2": ["b.yaml"]},
    "attacks": {"few": []},
    "attacker": None,
    "defences": {},
}


def made(*args: str) -> dict[str, object]:
    settings = dict(GRID)
    others, found = additions(args)
    assert others == []
    for addition in found:
        addition.make(settings)
    return settings


@pytest.mark.parametrize(
    ("args", "changed"),
    [
        (["--data+=--data.root=x"], {"data": ["d.yaml", "--data.root=x"]}),
        (["--data+", "--data.root=x"], {"data": ["d.yaml", "--data.root=x"]}),
        (["--data+=[e.yaml, --data.epsilon=0.1]"], {"data": ["d.yaml", "e.yaml", "--data.epsilon=0.1"]}),
        (
            ["--clusterers.A+=--a=1", "--clusterers.A+=--b=2"],
            {"clusterers": {"A": ["a.yaml", "--a=1", "--b=2"], "B.2": ["b.yaml"]}},
        ),
        (["--clusterers.B.2+=--b+=1"], {"clusterers": {"A": ["a.yaml"], "B.2": ["b.yaml", "--b+=1"]}}),
        (["--attacks.few+=f.yaml"], {"attacks": {"few": ["f.yaml"]}}),
        (["--attacker+=g.yaml"], {"attacker": ["g.yaml"]}),
    ],
)
def test_it_is_added_where_it_belongs(args: list[str], changed: dict[str, object]) -> None:
    assert made(*args) == {**GRID, **changed}


def test_other_options_are_left_to_the_parser() -> None:
    args = ["--data=[d.yaml]", "--training+=--x=1", "--only", "clusterer=A", "--attacks", "--data+"]
    assert additions([*args, "a"]) == (args[:-1], [("data", "", ["a"])])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--clusterers+=x"], r"--clusterers.NAME\+=OPTION: the names are A, B.2$"),
        (["--clusterers.a+=x"], r"the names are A, B.2, not 'a'; did you mean A\?"),
        (["--data.A+=x"], r"--data\+=OPTION: nothing there is named 'A'"),
        (["--attacker.A+=x"], r"--attacker\+=OPTION: nothing there is named 'A'"),
        (["--data+"], r"--data\+: a value is expected after it"),
        (["--data+=[a"], r"--data\+: '\[a' is no file or option, nor a list of them"),
        (["--data+", "[{a: 1}]"], r"--data\+: '\[\{a: 1\}\]' is no file or option, nor a list of them"),
        (["--data+=[a, null]"], r"--data\+: .* is no file or option"),
        (["--data+="], r"--data\+: '' is no file or option"),
        (["--defences+=x"], r"--defences.NAME\+=OPTION: there are none"),
        (["--defences.A+=x"], r"--defences.NAME\+=OPTION: there are none"),
    ],
)
def test_what_is_wrong_is_said(args: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        made(*args)


def test_from_the_command_line(ardmvc: Callable[..., Outcome], tmp_path: Path) -> None:
    grid = ["benchmark", "--config=configs/benchmark/features.yaml", f"--output={tmp_path / 'runs'}", "--dry-run"]
    outcome = ardmvc(*grid, "--defences.robust+=--model.curiculum=null")
    assert outcome.code != 0
    assert "train Scene-15/CoMVC+robust, seed 0" in outcome.err
    assert "'curiculum' is not accepted; did you mean curriculum?" in outcome.err
    outcome = ardmvc(*grid, "--defences.robust+=--model.curriculum=null", "--only=seed=0,defence=robust")
    assert outcome.code == 0, outcome.err
    assert outcome.out.endswith("0 of them done.\n")
