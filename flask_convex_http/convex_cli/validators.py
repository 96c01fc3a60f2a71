"""Types as Convex's validators in JSON, in which `npx convex function-spec` prints them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask_convex_http.codegen.types import (
    ArrayType,
    Field,
    IdType,
    LiteralType,
    MapType,
    PageType,
    Record,
    Scalar,
    ScalarName,
    TupleType,
    Type,
    UnionType,
)

Validator = dict[str, Any]

_STRING: Validator = {"type": "string"}
_NULL: Validator = {"type": "null"}
_NUMBER: Validator = {"type": "number"}
_BOOLEAN: Validator = {"type": "boolean"}
_CURSOR: Validator = {"type": "union", "value": [_STRING, _NULL]}


def object_of(fields: Iterable[Field]) -> Validator:
    """Return the validator of an object with fields, such as the arguments of a function."""
    return _object(fields, ())


def validator_of(kind: Type, inside: tuple[Record, ...] = ()) -> Validator:
    """Return the validator of a type.

    Args:
        kind: The type.
        inside: The records that contain it. A record inside itself becomes `any`, since validators have no references.
    """
    match kind:
        case Scalar(name):
            return _SCALARS.get(name, _STRING)
        case IdType(tables):
            return _union({"type": "id", "tableName": table} for table in tables) if tables else _STRING
        case LiteralType(values, takes_numbers):
            return _union(literal for value in values for literal in _literals(value, takes_numbers))
        case ArrayType(item):
            return {"type": "array", "value": validator_of(item, inside)}
        case PageType(item):
            return _page(validator_of(item, inside))
        case TupleType(items):
            return {"type": "array", "value": _union(validator_of(item, inside) for item in items)}
        case MapType(key, value):
            keys = validator_of(key) if isinstance(key, IdType) else _STRING
            return {"type": "record", "keys": keys, "values": _field(validator_of(value, inside))}
        case UnionType(members):
            return _union(validator_of(member, inside) for member in members)
        case Record():
            return {"type": "any"} if kind in inside else _object(kind.fields, (*inside, kind))


def _object(fields: Iterable[Field], inside: tuple[Record, ...]) -> Validator:
    described = {
        field.wire: _field(validator_of(field.type, inside), is_optional=field.is_optional) for field in fields
    }
    return {"type": "object", "value": described}


def _field(validator: Validator, *, is_optional: bool = False) -> dict[str, Any]:
    return {"fieldType": validator, "optional": is_optional}


def _page(item: Validator) -> Validator:
    fields = {
        "page": _field({"type": "array", "value": item}),
        "isDone": _field(_BOOLEAN),
        "continueCursor": _field(_STRING),
    }
    return {"type": "object", "value": fields}


def _union(members: Iterable[Validator]) -> Validator:
    """Return a union with each member once, also those of unions in it, or its only member."""
    parts = [part for member in members for part in (member["value"] if member["type"] == "union" else [member])]
    distinct = list({repr(part): part for part in parts}.values())  # as Python values 1, 1.0 and True are equal
    return distinct[0] if len(distinct) == 1 else {"type": "union", "value": distinct}


def _literals(value: object, takes_numbers: bool) -> list[Validator]:
    """Return a constant. An integer is a bigint, for which clients may send a number."""
    if value is None:
        return [_NULL]
    literal: Validator = {"type": "literal", "value": value}
    if type(value) is int and takes_numbers:
        return [{"type": "literal", "value": float(value)}, literal]
    return [literal]


#: The other scalars are strings.
_SCALARS: dict[ScalarName, Validator] = {
    "any": {"type": "any"},
    "boolean": _BOOLEAN,
    "bytes": {"type": "bytes"},
    "integer": {"type": "bigint"},
    "null": _NULL,
    "number": _NUMBER,
    "sent integer": {"type": "union", "value": [_NUMBER, {"type": "bigint"}]},
    "pagination options": {
        "type": "object",
        "value": {
            "numItems": _field(_NUMBER),
            "cursor": _field(_CURSOR),
            "endCursor": _field(_CURSOR, is_optional=True),
        },
    },
}
