"""The levels of lists and objects that the values of a type have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from flask_convex_http.nesting import MAX_NESTING, TOO_DEEP, exceeds
from flask_convex_http.validation.records import Check, NotStorableError

#: The fields of msgspec's descriptions of types that hold the types of parts.
_PARTS = ("item_type", "item_types", "key_type", "value_type", "types", "fields", "type")
_RECORDS = (
    msgspec.inspect.StructType,
    msgspec.inspect.TypedDictType,
    msgspec.inspect.DataclassType,
    msgspec.inspect.NamedTupleType,
)
_COLLECTIONS = (
    msgspec.inspect.ListType,
    msgspec.inspect.SetType,
    msgspec.inspect.FrozenSetType,
    msgspec.inspect.VarTupleType,
    msgspec.inspect.TupleType,
    msgspec.inspect.DictType,
)


def levels_of(described: Any, within: Sequence[Any] = ()) -> float:
    """Return the levels that a type has at most, which is infinite for Any and for types that contain themselves.

    Args:
        described: msgspec's description of the type.
        within: The descriptions of the records that contain it.
    """
    if isinstance(described, msgspec.inspect.AnyType) or any(described is outer for outer in within):
        return math.inf
    if isinstance(described, (list, tuple)):
        return max((levels_of(part, within) for part in described), default=0)
    is_record = isinstance(described, _RECORDS)
    inner = [*within, described] if is_record else within
    parts = [getattr(described, name) for name in _PARTS if hasattr(described, name)]
    deepest = max((levels_of(part, inner) for part in parts if not isinstance(part, type)), default=0)
    return deepest + 1 if is_record or isinstance(described, _COLLECTIONS) else deepest


def nesting_check(described: Any) -> Check | None:
    """Return the check that a value of a type has at most `MAX_NESTING` levels, or None if the type bounds them.

    Args:
        described: msgspec's description of the type.
    """
    if levels_of(described) <= MAX_NESTING:
        return None
    is_plain = not _has_records(described, set())

    def check(value: Any, trusting: bool) -> None:
        if exceeds(value if is_plain else msgspec.to_builtins(value), MAX_NESTING):
            raise NotStorableError(TOO_DEEP)

    return check


def _has_records(described: Any, seen: set[int]) -> bool:
    if id(described) in seen:
        return False
    seen.add(id(described))
    if isinstance(described, (list, tuple)):
        return any(_has_records(part, seen) for part in described)
    if isinstance(described, _RECORDS):
        return True
    return any(_has_records(getattr(described, name), seen) for name in _PARTS if hasattr(described, name))
