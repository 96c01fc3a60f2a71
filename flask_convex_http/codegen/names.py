"""Names of records: those of their classes, if no two are the same."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args, get_origin

from flask_convex_http.codegen.types import (
    ArrayType,
    MapType,
    PageType,
    Record,
    TupleType,
    Type,
    UnionType,
)
from flask_convex_http.validation.annotations import describe

#: Added to the name of a record that is sent, where it differs from the one that is received.
_SENT = "Input"


def name_records(records: Iterable[Record], taken: Iterable[str] = ()) -> list[Record]:
    """Set the names of records, and return those that have one of their own, in the order of the names.

    Args:
        records: All records.
        taken: Names that records cannot have.
    """
    by_class: dict[Any, list[Record]] = {}
    for record in records:
        by_class.setdefault(record.annotation, []).append(record)
    names, named = set(taken), []
    for annotation, variants in sorted(by_class.items(), key=lambda item: _sort_key(item[0])):
        variants.sort(key=lambda record: record.is_sent)
        first, *others = variants
        first.name = free_name(_name_of(annotation), names)
        named.append(first)
        for other in others:
            other.name = first.name if _are_alike(first, other, set()) else free_name(first.name + _SENT, names)
            named += [other] if other.name != first.name else []
    return sorted(named, key=lambda record: record.name)


def _sort_key(annotation: Any) -> tuple[str, str, str]:
    kind = get_origin(annotation) or annotation
    return kind.__module__, kind.__qualname__, describe(annotation)


def free_name(name: str, names: set[str]) -> str:
    """Return a name that is not taken, and take it."""
    number, found = 1, name
    while found in names:
        number += 1
        found = f"{name}{number}"
    names.add(found)
    return found


def _name_of(annotation: Any) -> str:
    """Return the name of a class, such as BoxOfItem for Box[Item]. Names such as `_class` keep their underscore."""
    whole = re.sub(r"\W", "_", (get_origin(annotation) or annotation).__name__)
    short = whole.lstrip("_")
    name = short if short.isidentifier() and not keyword.iskeyword(short) else whole
    if not get_args(annotation):
        return str(name)
    letters = "".join(
        character if character.isalnum() else " " for part in get_args(annotation) for character in f"{describe(part)} "
    )
    return f"{name}Of{''.join(word[0].upper() + word[1:] for word in letters.split())}"


# --- whether records are alike ----------------------------------------------------------------------------------------


def _are_alike(one: Record, other: Record, assumed: set[tuple[int, int]]) -> bool:
    """Return whether two records have the same fields. Pairs that are being compared count as alike."""
    pair = (id(one), id(other))
    if pair in assumed:
        return True
    assumed.add(pair)
    if one.annotation != other.annotation or len(one.fields) != len(other.fields):
        return False
    return all(
        (field.wire, field.is_optional) == (twin.wire, twin.is_optional) and _same(field.type, twin.type, assumed)
        for field, twin in zip(one.fields, other.fields, strict=True)
    )


def _same(one: Type, other: Type, assumed: set[tuple[int, int]]) -> bool:
    if isinstance(one, Record) and isinstance(other, Record):
        return _are_alike(one, other, assumed)
    parts, others = list(parts_of(one)), list(parts_of(other))
    if not parts:
        return one == other
    return (
        type(one) is type(other)
        and len(parts) == len(others)
        and all(_same(part, twin, assumed) for part, twin in zip(parts, others, strict=True))
    )


def parts_of(kind: Type) -> Iterator[Type]:
    """Yield the types that a type is made of. A record is not opened."""
    match kind:
        case ArrayType(item) | PageType(item):
            yield item
        case MapType(key, value):
            yield from (key, value)
        case TupleType(types) | UnionType(types):
            yield from types
        case _:
            pass
