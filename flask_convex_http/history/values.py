"""The previous values of a change, as the log stores them: JSON that is exact and that people can read.

A structured field is stored as its JSON, and every other value as the JSON of its kind. Bytes and infinite numbers,
which JSON lacks, are objects with one key: `{"$bytes": "aGk="}` and `{"$float": "inf"}`.

The schema may have changed since a change was logged. A renamed field is found under its old names, a dropped field is
left out, and a value that its field cannot have any more is a `HistoryError`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from flask_convex_http.errors import HistoryError
from flask_convex_http.schema.columns import Kind
from flask_convex_http.schema.documents import TIME_COLUMN, Column, Table

Values = dict[str, Any]

#: The Python types that a stored value of a kind has.
_TYPES: dict[Kind, Any] = {
    "integer": (int,),
    "real": (float, int),
    "boolean": (bool, int),
    "blob": (bytes,),
}
#: Kinds whose values JSON can hold as they are.
_PLAIN: frozenset[Kind] = frozenset({"text", "integer", "datetime", "date", "uuid", "decimal"})

_encode = msgspec.json.Encoder().encode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def encode_values(table: Table[Any], values: Mapping[str, Any]) -> bytes:
    """Return stored values of a table's columns as the log stores them."""
    columns = table.columns
    logged = {
        name: value if value is None or name == TIME_COLUMN else _logged(columns[name].type.kind, value)
        for name, value in values.items()
    }
    return _encode(logged)


def decode_values(table: Table[Any], text: msgspec.Raw) -> Values:
    """Return the stored values of a table's columns, by their present names.

    Raises:
        HistoryError: A field has another type now.
    """
    decoded: Values = {}
    for name, raw in _decode_raw(text).items():
        if name == TIME_COLUMN:
            decoded[name] = float(msgspec.json.decode(raw))
            continue
        column = column_of(table, name)
        if column is not None:
            decoded[column.name] = _stored(table, column, raw)
    return decoded


def column_of(table: Table[Any], name: str) -> Column | None:
    """Return the column that a logged field is in now, or None if it was dropped."""
    column = table.columns.get(name)
    return column or next((each for each in table.columns.values() if name in each.old_names), None)


def shown_values(text: msgspec.Raw) -> Values:
    """Return logged values as JSON values, for people and for other programs."""
    values: Values = msgspec.json.decode(text)
    if TIME_COLUMN in values:
        values["_creationTime"] = values.pop(TIME_COLUMN)
    return values


def row_of(table: Table[Any], document_id: str, values: Mapping[str, Any]) -> list[Any]:
    """Return the row of a deleted document from its logged values.

    Raises:
        HistoryError: A field is missing that was added since, and it has no default.
    """
    if TIME_COLUMN not in values:
        raise HistoryError(f"The log has only some fields of {document_id}, and the rest of it is gone")
    return [document_id, values[TIME_COLUMN], *(_value(table, column, values) for column in table.columns.values())]


def values_of(table: Table[Any], row: Any) -> Values:
    """Return the values of a row by column, with its creation time."""
    return dict(zip((TIME_COLUMN, *table.columns), list(row)[1:], strict=True))


def _value(table: Table[Any], column: Column, values: Mapping[str, Any]) -> Any:
    if column.name in values:
        return values[column.name]
    default = column.default
    if default is not msgspec.UNSET:
        return table.store(column.name, default)
    if column.nullable:
        return None
    raise HistoryError(f"{table.name}.{column.name} was added since, so the document cannot be shown as it was")


def _logged(kind: Kind, value: Any) -> Any:
    if kind in _PLAIN:
        return value
    if kind == "json":
        return msgspec.Raw(value.encode())
    if kind == "boolean":
        return bool(value)
    if kind == "blob":
        return {"$bytes": base64.b64encode(value).decode()}
    return value if math.isfinite(value) else {"$float": str(value)}


def _stored(table: Table[Any], column: Column, raw: msgspec.Raw) -> Any:
    kind = column.type.kind
    if kind == "json":
        return None if bytes(raw) == b"null" else bytes(raw).decode()
    value: Any = msgspec.json.decode(raw)
    if isinstance(value, dict):
        value = base64.b64decode(value["$bytes"]) if "$bytes" in value else _float(value)
    if value is None or isinstance(value, _TYPES.get(kind, (str,))):
        return float(value) if kind == "real" and value is not None else value
    raise HistoryError(f"{table.name}.{column.name} had another type, so the document cannot be shown as it was")


def _float(value: dict[str, Any]) -> Any:
    infinity: Any = value.get("$float")
    return value if infinity is None else float(infinity)
