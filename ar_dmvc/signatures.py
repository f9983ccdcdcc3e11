"""What a class takes, with the settings that it hands on to its base: as ``help()`` shows it, and checked when it is made."""

from __future__ import annotations

import reprlib
from functools import cache
from inspect import Parameter, Signature, signature
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

_SEVERAL = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", NoneType: "None"}


class _Signature:
    """What a class takes, without the checks of :class:`TypesChecked` in between; of its instances nothing."""

    def __get__(self, instance: object, owner: type) -> Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        return Signature(_own_parameters(_constructor(owner)))


class TypesChecked:
    """Base of what users make by hand: a number, text or choice of another type than annotated is said by its name.

    The command line checks types by itself, and a constructor its ranges; containers and objects are left to it.

    Raises:
        TypeError: when it is made, an argument that is none of its types.
    """

    __signature__ = _Signature()

    def __new__(cls, /, *args: Any, **kwargs: Any) -> Self:
        """Check the arguments that are there; the constructor, or Python, says which are missing or unknown."""
        kind: type = cls
        names, hints = _annotated(kind)
        if (args or kwargs) and _constructor(kind) is object.__init__:  # which would take anything
            raise TypeError(f"{kind.__name__} takes no arguments")
        for name, value in {**dict(zip(names, args, strict=False)), **kwargs}.items():
            if name in hints and not _fits(value, *hints[name]):
                allowed = " or ".join(_WORDS[one] if one in _WORDS else repr(one) for one in _members(hints[name][0]))
                raise TypeError(f"{name}: {allowed} is expected, got {' '.join(reprlib.repr(value).split())}")
        following = super().__new__
        return following(cls) if following is object.__new__ else following(cls, *args, **kwargs)


@cache
def _annotated(kind: type) -> tuple[list[str], dict[str, tuple[Any, Any]]]:
    """The names that a constructor takes; types, where they can be read, and defaults, also of what its ``**`` hands on."""
    hints: dict[str, tuple[Any, Any]] = {}
    for base in kind.__mro__:
        constructor = vars(base).get("__init__")
        if constructor is None:
            continue
        try:
            known = get_type_hints(constructor)
        except Exception:  # noqa: BLE001  an annotation for type checkers only, or none that Python can read
            known = {}
        parameters = _own_parameters(constructor)
        for parameter in parameters:
            hints.setdefault(parameter.name, (known.get(parameter.name, Any), parameter.default))
        if all(parameter.kind is not Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return [parameter.name for parameter in _own_parameters(_constructor(kind))], hints


def _constructor(kind: type) -> Any:
    return next(vars(base)["__init__"] for base in kind.__mro__ if "__init__" in vars(base))


def _own_parameters(constructor: Any) -> list[Parameter]:
    """Of a constructor, without ``self``."""
    return [] if constructor is object.__init__ else list(signature(constructor).parameters.values())[1:]


def _members(hint: Any) -> list[Any]:
    """The types of a union and the choices of a ``Literal``, each once."""
    if get_origin(hint) in (Union, UnionType, Literal):
        return list(dict.fromkeys(one for member in get_args(hint) for one in _members(member)))
    return [hint]


def _fits(value: Any, hint: Any, default: object) -> bool:
    """Whether a value is of a type, where that is of numbers, texts and choices only; anything is of another."""
    kinds = {one if one in _WORDS else type(one) for one in _members(hint)}
    if value is default or not kinds <= set(_WORDS):
        return True
    if getattr(value, "ndim", None) == 0:  # of NumPy or torch
        value = value.item()
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, tuple({int: Integral, float: Real}.get(kind, kind) for kind in kinds))


def whole_signature(kind: type) -> Signature:
    """The signature of a class, its ``**`` replaced by what the constructors of its bases take.

    Args:
        kind: a class whose constructors hand on what they do not name.
    """
    taken: dict[str, Parameter] = {}
    only: set[str] | None = None
    for base in kind.__mro__:
        constructor = vars(base).get("__init__")
        if constructor is None:
            continue
        own = list(signature(constructor).parameters.values())[1:]
        handed_on = bool(taken)
        for parameter in own:
            known = parameter.name in taken or (only is not None and parameter.name not in only)
            if parameter.kind not in _SEVERAL and not known:
                taken[parameter.name] = parameter.replace(kind=Parameter.KEYWORD_ONLY) if handed_on else parameter
        rest = next((parameter.name for parameter in own if parameter.kind is Parameter.VAR_KEYWORD), None)
        if rest is None:
            break
        only = only or _fields(constructor, rest)
    return Signature(list(taken.values()))


def _fields(constructor: Any, name: str) -> set[str] | None:
    """What ``**name: Unpack[a TypedDict]`` takes; None: anything."""
    try:
        kinds = get_args(get_type_hints(constructor, include_extras=True).get(name))
    except NameError:  # an annotation for type checkers only
        return None
    return set(kinds[0].__annotations__) if kinds else None
