"""What a class takes, with the settings that it hands on to its base: as ``help()`` shows it, and checked when it is made."""

from __future__ import annotations

from functools import cache
from inspect import Parameter, Signature, signature
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

_SEVERAL = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", NoneType: "None"}


class TypesChecked:
    """Base of what users make by hand: a number, text or choice of another type than annotated is said by its name.

    The command line checks types by itself, and a constructor its ranges; containers and objects are left to it.

    Raises:
        TypeError: when it is made, an argument that is none of its types.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__signature__ = whole_signature(cls)  # type: ignore[attr-defined]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Check the arguments that are there; the constructor, or Python, says which are missing or unknown."""
        kind: type = cls
        whole, hints = _annotated(kind)
        try:
            given = whole.bind_partial(*args, **kwargs).arguments
        except TypeError:
            if cls.__init__ is object.__init__:  # which would take anything
                raise
            given = {}
        for name, value in given.items():
            if name in hints and not _fits(value, *hints[name]):
                allowed = ", ".join(dict.fromkeys(_words(hints[name][0])))
                raise TypeError(f"{name}: {allowed} is expected, got {value!r}")
        return super().__new__(cls)


@cache
def _annotated(kind: type) -> tuple[Signature, dict[str, tuple[Any, Any]]]:
    """What a class takes; types and defaults of it, where its annotations can be read."""
    hints: dict[str, Any] = {}
    for base in kind.__mro__:
        try:
            known = get_type_hints(vars(base).get("__init__", object), include_extras=True)
        except NameError:  # an annotation for type checkers only
            continue
        for name, hint in known.items():
            fields = get_args(hint)
            handed_on = get_type_hints(fields[0]) if fields and hasattr(fields[0], "__total__") else {name: hint}
            hints = handed_on | hints
    whole = whole_signature(kind)
    return whole, {name: (hints[name], taken.default) for name, taken in whole.parameters.items() if name in hints}


def _fits(value: object, hint: Any, default: object = Parameter.empty) -> bool:
    """Whether a value is of a type, as far as that is one of numbers, texts and choices."""
    if value is default:
        return True
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is Literal:  # which of them, the constructor says
        return isinstance(value, tuple({type(choice) for choice in get_args(hint)}))
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    try:
        return isinstance(value, hint)
    except TypeError:  # of containers, or a protocol
        return True


def _words(hint: Any) -> list[str]:
    """What a type is called in a message."""
    if get_origin(hint) in (Union, UnionType):
        return [word for one in get_args(hint) for word in _words(one)]
    if get_origin(hint) is Literal:
        return [" or ".join(map(repr, get_args(hint)))]
    return [_WORDS[hint] if hint in _WORDS else str(getattr(hint, "__name__", hint))]


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
