"""The changes of a dry run as values that can be printed.

A row of the application is described by its fields, and a row of the package by what the change means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from flask_convex_http.engines import Row
from flask_convex_http.errors import EngineError
from flask_convex_http.runtime.recording import RecordedChange
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.system_tables import RateLimitBucket, ScheduledFunction, StoredFile

Verb = Literal["inserted", "changed", "deleted"]


class FieldChange(msgspec.Struct, frozen=True):
    """A change of one field.

    Values are as the database stores them, except that booleans and structured values are decoded.

    Attributes:
        before: The value before, or None if the row would be new.
        after: The value after, or None if the row would be deleted.
    """

    before: Any
    after: Any


class RowChange(msgspec.Struct, frozen=True):
    """A change of one row of the application.

    Attributes:
        table: The row's table.
        id: The row's id.
        verb: The kind of change.
        fields: The fields that would differ, by name. All fields of a row that is inserted or deleted.
    """

    table: str
    id: str = msgspec.field(name="_id")
    verb: Verb
    fields: dict[str, FieldChange]


class SystemChange(msgspec.Struct, frozen=True):
    """A change in the package's own tables.

    Attributes:
        what: The change: "scheduled", "canceled", "file deleted", "file URLs revoked", "tokens taken", or the name of a
            table for any other row.
        name: Its subject: a function, a file, a rate limit or the id of a row.
        args: The arguments of a function, or the key of a rate limit.
        time: The time at which a scheduled function runs, in milliseconds since the epoch.
    """

    what: str
    name: str
    args: dict[str, Any] = {}
    time: float | None = None


def row_change(change: RecordedChange) -> RowChange:
    """Describe a change of an application's row."""
    table, row_id, before, after = change
    verb: Verb = "inserted" if before is None else "deleted" if after is None else "changed"
    old, new = _fields(table, before), _fields(table, after)
    fields = {
        name: FieldChange(old.get(name), new.get(name))
        for name in table.columns
        if verb != "changed" or old[name] != new[name]
    }
    return RowChange(table.name, row_id, verb, fields)


def system_change(change: RecordedChange) -> SystemChange:
    """Describe a change of a row in the package's own tables."""
    table, row_id, before, after = change
    describe = _DESCRIPTIONS.get(table.document)
    try:
        described = describe and describe(_document(table, before), _document(table, after))
    except EngineError:  # the row cannot be read
        described = None
    return described or SystemChange(table.name, row_id)


# --- rows of the application -----------------------------------------------------------------------------------------


def _fields(table: Table[Any], row: Row | None) -> dict[str, Any]:
    if row is None:
        return {}
    columns = table.columns.values()
    return {column.name: _value(column.type.kind, value) for column, value in zip(columns, list(row)[2:], strict=True)}


def _value(kind: str, value: Any) -> Any:
    """Decode a stored boolean or structured value, and return any other value as it is."""
    if value is None:
        return None
    if kind == "boolean":
        return bool(value)
    return _parsed(value) if kind == "json" else value


def _parsed(text: Any) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, TypeError, RecursionError):  # the row was edited by hand
        return text


# --- rows of the package ---------------------------------------------------------------------------------------------


def _document(table: Table[Any], row: Row | None) -> Any:
    return None if row is None else table.read(row)


def _scheduled(before: ScheduledFunction | None, after: ScheduledFunction | None) -> SystemChange | None:
    if after is None or (before is not None and after.state != "canceled"):
        return None
    what = "canceled" if after.state == "canceled" else "scheduled"
    return SystemChange(what, after.name, after.args, after.scheduled_time)


def _file(before: StoredFile | None, after: StoredFile | None) -> SystemChange | None:
    if before is None:
        return None
    return SystemChange("file deleted" if after is None else "file URLs revoked", before.id)


def _bucket(before: RateLimitBucket | None, after: RateLimitBucket | None) -> SystemChange | None:
    return None if after is None else SystemChange("tokens taken", after.name, {"key": after.key})


_DESCRIPTIONS: dict[type, Callable[[Any, Any], SystemChange | None]] = {
    ScheduledFunction: _scheduled,
    StoredFile: _file,
    RateLimitBucket: _bucket,
}
