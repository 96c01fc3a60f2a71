"""Inspect annotations: split them into parts, and describe them in messages."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import types
import typing
import uuid
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

import msgspec

from flask_convex_http.ids import IdOf

NoneType = type(None)
SEQUENCES = (list, set, frozenset, collections.abc.Sequence, collections.abc.Set, collections.abc.Collection)
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
UNIONS = (Union, types.UnionType)
#: Types without parts, whose values msgspec never converts from another type.
PLAIN_TYPES = frozenset(
    {
        str,
        int,
        float,
        bool,
        bytes,
        NoneType,
        msgspec.UnsetType,
        datetime.datetime,
        datetime.date,
        datetime.time,
        datetime.timedelta,
        uuid.UUID,
        decimal.Decimal,
    }
)
#: Types whose values msgspec returns as they are.
_EXACT = (str, bool)
#: Members of a union that mean an absent value.
ABSENT = (NoneType, msgspec.UnsetType)


def resolve_alias(annotation: Any) -> Any:
    """Return the type that a NewType or a `type` statement stands for."""
    while True:
        if isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # of typing from Python 3.12 on, and of typing_extensions
            annotation = annotation.__value__
        else:
            return annotation


def split_annotated(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the type inside `Annotated` and its metadata, with all aliases resolved."""
    annotation = resolve_alias(annotation)
    metadata: tuple[Any, ...] = ()
    while get_origin(annotation) is Annotated:
        base, *more = get_args(annotation)
        annotation, metadata = resolve_alias(base), (*more, *metadata)
    return annotation, metadata


def split_union(members: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    """Return the members of a union that are values, and those that mean an absent value."""
    values = [member for member in members if member not in ABSENT]
    return values, [member for member in members if member in ABSENT]


def id_markers(annotation: Any) -> Iterator[IdOf]:
    """Yield the marker of every `Id[...]` in an annotation. Fields of records are not searched."""
    base, metadata = split_annotated(annotation)
    yield from (meta for meta in metadata if isinstance(meta, IdOf))
    for part in get_args(base):
        yield from id_markers(part)


def plain_types(annotation: Any) -> tuple[frozenset[type], IdOf | None] | None:
    """Return the types of the values of an annotation and the marker of its ids, or None if they need a closer look.

    A value of exactly one of the types matches if the marker, where there is one, accepts it or it is None.
    """
    base, metadata = split_annotated(annotation)
    if get_origin(base) in UNIONS and not metadata:
        values, absent = split_union(get_args(base))
        inner = plain_types(values[0]) if len(values) == 1 and absent == [NoneType] else None
        return None if inner is None else (inner[0] | {NoneType}, inner[1])
    if base is str and len(metadata) == 1 and isinstance(metadata[0], IdOf):
        return frozenset({str}), metadata[0]
    return (frozenset({base}), None) if base in _EXACT and not metadata else None


def msgspec_takes(annotation: Any) -> bool:
    """Return whether msgspec can check values against an annotation."""
    try:
        msgspec.json.Decoder(annotation)
    except TypeError:
        return False
    return True


def is_document(annotation: Any) -> bool:
    """Return whether an annotation is a document class."""
    return hasattr(annotation, "__convex_document__")


def is_record(annotation: Any) -> bool:
    """Return whether an annotation is a struct, dataclass or named tuple, whose constructors do not validate."""
    record = get_origin(annotation) or annotation
    if not isinstance(record, type):
        return False
    return issubclass(record, msgspec.Struct) or dataclasses.is_dataclass(record) or _is_named_tuple(record)


def _is_named_tuple(record: type) -> bool:
    return issubclass(record, tuple) and hasattr(record, "_fields")


def field_types(annotation: Any) -> dict[str, Any]:
    """Return the annotations of a record's fields, or of the keys of a TypedDict.

    Raises:
        NameError: An annotation names something that is not defined yet.
    """
    record = get_origin(annotation) or annotation
    if isinstance(record, type) and issubclass(record, msgspec.Struct):  # fields() also substitutes type variables
        return {field.name: field.type for field in msgspec.structs.fields(annotation)}
    return typing.get_type_hints(record, include_extras=True)


def key_types(annotation: Any) -> Mapping[str, tuple[Any, Any]]:
    """Return each key of a TypedDict with `Required` or `NotRequired` and its annotation.

    A qualifier in the annotation counts first: `__required_keys__` does not know those in annotations that are texts.
    """
    found = {}
    for name, hint in field_types(annotation).items():
        qualifier = Required if name in annotation.__required_keys__ else NotRequired
        while getattr(origin := get_origin(hint), "_name", "") in ("Required", "NotRequired", "ReadOnly"):
            qualifier = qualifier if origin._name == "ReadOnly" else origin
            hint = get_args(hint)[0]
        found[name] = (qualifier, hint)
    return found


def describe(annotation: Any) -> str:
    """Return an annotation as source code would write it."""
    annotation, metadata = split_annotated(annotation)
    for marker in metadata:
        if isinstance(marker, IdOf):
            return repr(marker)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is NoneType or annotation is ...:
        return "None" if annotation is NoneType else "..."
    if origin in UNIONS:
        return " | ".join(describe(member) for member in arguments)
    if origin is Literal or not arguments:
        return annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("typing.")
    return f"{getattr(origin, '__name__', origin)}[{', '.join(describe(part) for part in arguments)}]"
