"""What a handler would do: it runs in a transaction that is watched and then undone, and nothing happens afterwards.

Of each row only its state before the first write is kept; what has changed is found at the end, so that a part that the
handler itself has undone does not show. Tables of the package are put into words, since their rows say little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NoReturn

import msgspec

from flask_convex_http.database.db import DatabaseWriter
from flask_convex_http.engines.base import Row, Transaction
from flask_convex_http.errors import EngineError
from flask_convex_http.runtime.calls import MutationCalls
from flask_convex_http.runtime.commit_hooks import CommitHooks
from flask_convex_http.runtime.runtime import Runtime
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.system_tables import RateLimitBucket, ScheduledFunction, StoredFile

Verb = Literal["inserted", "changed", "deleted"]


class FieldChange(msgspec.Struct, frozen=True):
    """One field of a row; values as the database has them.

    Attributes:
        before: What it was; None if the row is new.
        after: What it would be; None if the row would be deleted.
    """

    before: Any
    after: Any


class RowChange(msgspec.Struct, frozen=True):
    """A row of the application that would be another afterwards.

    Attributes:
        table: Its table.
        id: Its id.
        verb: What would happen to it.
        fields: The fields that would differ.
    """

    table: str
    id: str = msgspec.field(name="_id")
    verb: Verb
    fields: dict[str, FieldChange]


class SystemChange(msgspec.Struct, frozen=True):
    """Something in the package's own tables that would be otherwise.

    Attributes:
        what: What would happen: "scheduled", "canceled", "file deleted", "file URLs revoked", "tokens taken", or the
            name of a table.
        name: Of what: a function, a file, a rate limit, a row.
        args: The arguments of a function, the key of a rate limit.
        time: When a function would run, in milliseconds since the epoch.
    """

    what: str
    name: str
    args: dict[str, Any] = {}
    time: float | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What a transaction would do.

    Attributes:
        result: What its body answered.
        rows: The rows that would change, in the order in which they were first written.
        system: What else would.
    """

    result: Any
    rows: list[RowChange]
    system: list[SystemChange]


class Recording:
    """A transaction that remembers what rows were before they were written to.

    Args:
        transaction: The transaction.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._before: dict[str, tuple[Table[Any], Row | None]] = {}

    def get(self, table: Table[Any], document_id: str) -> Row | None:
        """See `Snapshot`."""
        return self._transaction.get(table, document_id)

    def select(self, table: Table[Any], segment: Segment, *, descending: bool, limit: int | None) -> list[Row]:
        """See `Snapshot`."""
        return self._transaction.select(table, segment, descending=descending, limit=limit)

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        """See `Snapshot`."""
        return self._transaction.stream(table, segment, descending=descending)

    def count(self, table: Table[Any]) -> int:
        """See `Snapshot`."""
        return self._transaction.count(table)

    def lookup_again(self, table: Table[Any], values: Mapping[str, Any]) -> Row | None:
        """See `Transaction`."""
        return self._transaction.lookup_again(table, values)

    def claim(self, table: Table[Any], segment: Segment, *, limit: int) -> list[Row]:
        """See `Transaction`."""
        return self._transaction.claim(table, segment, limit=limit)

    def insert(self, table: Table[Any], row: Row) -> None:
        """See `Transaction`."""
        self._remember(table, row[0])
        self._transaction.insert(table, row)

    def insert_all(self, table: Table[Any], rows: Sequence[Row]) -> None:
        """See `Transaction`."""
        for row in rows:
            self.insert(table, row)

    def update(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> bool:
        """See `Transaction`."""
        self._remember(table, document_id)
        return self._transaction.update(table, document_id, changes)

    def delete(self, table: Table[Any], document_id: str) -> bool:
        """See `Transaction`."""
        self._remember(table, document_id)
        return self._transaction.delete(table, document_id)

    def savepoint(self) -> AbstractContextManager[None]:
        """See `Transaction`."""
        return self._transaction.savepoint()

    def changed(self) -> Iterator[tuple[Table[Any], str, Row | None, Row | None]]:
        """The rows that are otherwise now: table, id, before and after."""
        for row_id, (table, before) in self._before.items():
            after = self._transaction.get(table, row_id)
            if _listed(before) != _listed(after):
                yield table, row_id, before, after

    def _remember(self, table: Table[Any], row_id: str) -> None:
        if row_id not in self._before:
            self._before[row_id] = (table, self._transaction.get(table, row_id))


def dry_run(runtime: Runtime, body: Callable[[MutationCalls], Any]) -> Outcome:
    """Run a body in a transaction, and undo it.

    Args:
        runtime: Runs it.
        body: What is run; it must not raise on account of what it finds, or there is nothing to tell.

    Raises:
        Exception: What the body raises.
    """

    def work(transaction: Transaction) -> NoReturn:
        now, recording = runtime.clock(), Recording(transaction)
        runtime.times.begin(now)
        db = DatabaseWriter(recording, runtime.schema, runtime.times)
        # What is to happen after the commit is collected, and left there.
        result = body(MutationCalls(runtime, recording, db, now, CommitHooks(), runtime.caller()))
        changed = list(recording.changed())
        rows = [_row_change(*change) for change in changed if not change[0].system]
        raise _UndoneError(Outcome(result, rows, [_system_change(*change) for change in changed if change[0].system]))

    try:
        runtime.engine.write(work)
    except _UndoneError as undone:
        return undone.outcome


class _UndoneError(Exception):
    """Undoes a transaction, and takes out of it what it would have done."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("This was a dry run")
        self.outcome = outcome


# --- rows ------------------------------------------------------------------------------------------------------------


def _listed(row: Row | None) -> list[Any] | None:
    return None if row is None else list(row)


def _row_change(table: Table[Any], row_id: str, before: Row | None, after: Row | None) -> RowChange:
    verb: Verb = "inserted" if before is None else "deleted" if after is None else "changed"
    old, new = _fields(table, before), _fields(table, after)
    fields = {
        name: FieldChange(old.get(name), new.get(name))
        for name in table.columns
        if verb != "changed" or old[name] != new[name]
    }
    return RowChange(table.name, row_id, verb, fields)


def _fields(table: Table[Any], row: Row | None) -> dict[str, Any]:
    if row is None:
        return {}
    columns = table.columns.values()
    return {column.name: _value(column.type.kind, value) for column, value in zip(columns, list(row)[2:], strict=True)}


def _value(kind: str, value: Any) -> Any:
    """A stored value as JSON has it."""
    if value is None:
        return None
    if kind == "boolean":
        return bool(value)
    return _parsed(value) if kind == "json" else value


def _parsed(text: Any) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, TypeError, RecursionError):  # somebody has written to the database by hand
        return text


# --- the package's own tables ----------------------------------------------------------------------------------------


def _system_change(table: Table[Any], row_id: str, before: Row | None, after: Row | None) -> SystemChange:
    describe = _IN_WORDS.get(table.document)
    try:
        change = describe and describe(_document(table, before), _document(table, after))
    except EngineError:  # the row cannot be read
        change = None
    return change or SystemChange(table.name, row_id)


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


_IN_WORDS: dict[type, Callable[[Any, Any], SystemChange | None]] = {
    ScheduledFunction: _scheduled,
    StoredFile: _file,
    RateLimitBucket: _bucket,
}
