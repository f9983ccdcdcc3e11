"""What a class takes, as ``help()`` shows it: with the settings that it hands on to its base."""

from __future__ import annotations

from inspect import Parameter, Signature, signature
from typing import Any, get_args, get_type_hints

_SEVERAL = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


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
