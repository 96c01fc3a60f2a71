"""Errors for attributes that an object does not have, with the expression to write instead.

Each expected name is a descriptor of the class that raises `AttributeError`, so `hasattr` and `getattr` with a default
work as usual, and type checkers do not see it. A `__getattr__` would double the time of every access to an attribute
that exists: Python 3.11 then does not specialize it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NoReturn


class _MissingAttribute:
    """A name that a class does not have, with the expression to write instead."""

    __slots__ = ("_hint", "_name")

    def __init__(self, name: str, hint: str) -> None:
        self._name = name
        self._hint = hint

    def __get__(self, owner: object, kind: type) -> NoReturn:
        message = f"{kind.__name__!r} object has no attribute {self._name!r}: {self._hint}"
        raise AttributeError(message, name=self._name, obj=owner)


def explain_missing(kind: type, where: str, hints: Mapping[str, str]) -> None:
    """Let a class name what to write instead of attributes that it does not have.

    Names in camelCase are explained as well, both of the hints and of the attributes that the class has.

    Args:
        kind: The class.
        where: The expression that users write for its instances, such as "ctx.db".
        hints: The expressions to write instead, by name.
    """
    own = [name for name in dir(kind) if not name.startswith("_") and hasattr(kind, name)]
    texts = {_camel_case(name): hint for name, hint in hints.items()} | dict(hints)
    texts |= {_camel_case(name): f"write {where}.{name}" for name in own}
    for name, hint in texts.items():
        if not hasattr(kind, name):
            setattr(kind, name, _MissingAttribute(name, hint))
    setattr(kind, "__dir__", _existing)  # noqa: B010  # for completion in a shell; mypy rejects the assignment


def _existing(instance: Any) -> list[str]:
    kind = type(instance)
    names = object.__dir__(instance)
    return [name for name in names if not isinstance(inspect.getattr_static(kind, name, None), _MissingAttribute)]


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
