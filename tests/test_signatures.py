"""Arguments of another type than annotated are said by their names, when a class is made by hand."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import pytest
import torch
from torch import Tensor

from ar_dmvc.attacks import PGD
from ar_dmvc.checkpoint import build
from ar_dmvc.clusterers import CoMVC, SiMVC
from ar_dmvc.defences import AdversarialCrossEntropy, OuterLoss
from ar_dmvc.signatures import TypesChecked


class Rest(TypedDict, total=False):
    share: float


class Base(TypesChecked):
    def __init__(self, share: float = 1.0) -> None:
        self.share = share


class Derived(Base):
    def __init__(
        self,
        times: int,
        kind: Literal["one", "two"] = "one",
        name: str | None = None,
        within: Mapping[str, int] | None = None,
        odd: float = None,  # type: ignore[assignment]  # noqa: RUF013
        **rest: Unpack[Rest],
    ) -> None:
        super().__init__(**rest)
        self.given = (times, kind, name, within, odd)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"times": 1.5}, "times: a whole number is expected, got 1.5"),
        ({"times": True}, "times: a whole number is expected, got True"),
        ({"times": 1, "kind": 3}, "kind: 'one' or 'two' is expected, got 3"),
        ({"times": 1, "kind": ["one"]}, "kind: 'one' or 'two' is expected, got ['one']"),
        ({"times": 1, "name": 3}, "name: a text or None is expected, got 3"),
        ({"times": 1, "share": "all"}, "share: a number is expected, got 'all'"),
    ],
)
def test_another_type_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as raised:
        Derived(**arguments)
    assert str(raised.value) == message


def test_what_is_right_is_taken() -> None:
    right = Derived(np.int64(3), "two", None, {"a": 1}, share=1)  # type: ignore[arg-type]
    assert right.given == (3, "two", None, {"a": 1}, None)
    assert Derived(times=3, odd=None, share=np.float32(0.5)).share == 0.5  # type: ignore[arg-type]
    for again in (copy.copy(right), copy.deepcopy(right), pickle.loads(pickle.dumps(right))):
        assert again.given == right.given


def test_what_cannot_be_told_is_taken() -> None:
    class Own(PGD):
        """With a type that only type checkers know, and a parameter of the base's that means something else here."""

        def __init__(self, schedule: Schedule | float = 1.0, steps="auto", **rest: Any) -> None:  # type: ignore[name-defined]  # noqa: F821
            super().__init__("cross_entropy", steps=3, **rest)
            self.own = (schedule, steps)

    assert Own("linear", steps="many", epsilon=torch.tensor(0.1), joint=np.bool_(True)).own == ("linear", "many")
    with pytest.raises(TypeError, match="epsilon: a number or None is expected"):
        Own(epsilon="large")


def test_settings_of_one_s_own_are_loaded() -> None:
    class Deep(SiMVC):
        def __init__(self, view_shapes: list[tuple[int, ...]], num_clusters: int, **options: int) -> None:
            super().__init__(view_shapes, num_clusters)
            self.options = options

    made = Deep([(1, 8, 8)] * 2, 3, depth=2)
    again = build(made.description(), [Deep], "x")
    assert isinstance(again, Deep)
    assert again.options == {"depth": 2}


def test_signatures_are_those_of_constructors() -> None:
    @dataclass
    class Made(OuterLoss):
        weight: float = 1.0

        def terms(self, *outputs: object) -> dict[str, Tensor]:
            return {}

    assert list(inspect.signature(Made).parameters) == ["weight"]
    assert list(inspect.signature(CoMVC).parameters)[:3] == ["view_shapes", "num_clusters", "encoder"]
    assert "index" not in inspect.signature(CoMVC([(2,)] * 2, 3)).parameters


def test_a_value_is_shown_in_a_line() -> None:
    with pytest.raises(TypeError) as raised:
        Derived(times=torch.nn.Sequential(torch.nn.Linear(2, 2)))  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_what_takes_nothing_takes_nothing() -> None:
    assert str(inspect.signature(AdversarialCrossEntropy)) == "()"
    with pytest.raises(TypeError, match="AdversarialCrossEntropy takes no arguments"):
        AdversarialCrossEntropy(weight=3)


def test_a_message_of_python_s_own_stays() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'step'"):
        PGD("cross_entropy", step=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'times'"):
        Derived()  # type: ignore[call-arg]
