"""Reading annotations: what one is made of, and how to say it in a message.

Here annotations are only taken apart. What is done with the parts is `validation`'s and `columns`' business.
"""

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
#: Types whose values are what they are: there is nothing in them, and nothing else is made into one.
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
#: Members of a union that stand for a value that is not there.
ABSENT = (NoneType, msgspec.UnsetType)


def unalias(annotation: Any) -> Any:
    """What a NewType or a `type` statement stands for."""
    while True:
        if isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # of typing from Python 3.12 on, and of typing_extensions
            annotation = annotation.__value__
        else:
            return annotation


def take_apart(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type that is meant and what `Annotated` says about it, through all aliases."""
    annotation = unalias(annotation)
    said: tuple[Any, ...] = ()
    while get_origin(annotation) is Annotated:
        base, *more = get_args(annotation)
        annotation, said = unalias(base), (*more, *said)
    return annotation, said


def split_union(members: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    """The members of a union that are values, and those that stand for none."""
    values = [member for member in members if member not in ABSENT]
    return values, [member for member in members if member in ABSENT]


def id_markers(annotation: Any) -> Iterator[IdOf]:
    """What every `Id[...]` in an annotation has left there; records are not looked into."""
    base, said = take_apart(annotation)
    yield from (meta for meta in said if isinstance(meta, IdOf))
    for part in get_args(base):
        yield from id_markers(part)


def msgspec_takes(annotation: Any) -> bool:
    """Whether msgspec can check values against an annotation."""
    try:
        msgspec.json.Decoder(annotation)
    except TypeError:
        return False
    return True


def is_document(annotation: Any) -> bool:
    """Whether an annotation is the class of a table's documents."""
    return hasattr(annotation, "__convex_document__")


def is_record(annotation: Any) -> bool:
    """Whether an annotation is a class whose instances are made by calling it and are checked by nobody then."""
    record = get_origin(annotation) or annotation
    if not isinstance(record, type):
        return False
    return issubclass(record, msgspec.Struct) or dataclasses.is_dataclass(record) or _is_named_tuple(record)


def _is_named_tuple(record: type) -> bool:
    return issubclass(record, tuple) and hasattr(record, "_fields")


def field_types(annotation: Any) -> dict[str, Any]:
    """The annotations of a record's fields, or of the keys of a TypedDict.

    Raises:
        NameError: One names something that is not defined yet.
    """
    record = get_origin(annotation) or annotation
    if isinstance(record, type) and issubclass(record, msgspec.Struct):  # this one also fills in type variables
        return {field.name: field.type for field in msgspec.structs.fields(annotation)}
    return typing.get_type_hints(record, include_extras=True)


def key_types(annotation: Any) -> Mapping[str, tuple[Any, Any]]:
    """The keys of a TypedDict: whether each is `Required` or `NotRequired`, and its annotation."""
    found = {}
    for name, hint in field_types(annotation).items():
        qualifier = Required if name in annotation.__required_keys__ else NotRequired
        while getattr(get_origin(hint), "_name", "") in ("Required", "NotRequired", "ReadOnly"):
            hint = get_args(hint)[0]
        found[name] = (qualifier, hint)
    return found


def describe(annotation: Any) -> str:
    """An annotation as one would write it."""
    annotation, said = take_apart(annotation)
    for marker in said:
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
