"""The commit log of one transaction: the changes that it has made so far, and its cause.

A change is noted with the previous values of its fields. At the end of the transaction all changes of a document become
one, and are written with the commit. A part of the transaction that was rolled back to its savepoint leaves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from flask_convex_http.engines import Row, Transaction
from flask_convex_http.history.values import encode_values, values_of
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.history_tables import Operation

_encode = msgspec.json.Encoder().encode


class NotedChange(NamedTuple):
    """A change of a document in a transaction that is not committed.

    Attributes:
        table: The table of the document.
        document_id: Its id.
        operation: The kind of change.
        before: The previous stored values of the fields that changed; all of them if it was deleted.
    """

    table: Table[Any]
    document_id: str
    operation: Operation
    before: Mapping[str, Any]


class RowWrites(Protocol):
    """Writes rows: a transaction, or `LoggedWrites`."""

    def insert(self, table: Table[Any], row: Row) -> None:
        """Insert a row."""

    def update(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> bool:
        """Set columns of a row and return whether it exists."""

    def delete(self, table: Table[Any], document_id: str) -> bool:
        """Delete a row and return whether it existed."""


class Cause(msgspec.Struct):  # one is made for each mutation, and a dataclass takes five times as long
    """The cause of a commit. Attributes are those of `CommitRow`."""

    request_id: str | None = None
    function: str | None = None
    identity: str | None = None
    delivery: str | None = None
    job: str | None = None
    cron: str | None = None
    undoes: list[int] | None = None

    def values(self, changes: str = "[]") -> tuple[Any, ...]:
        """Return the stored values of a commit with these changes, in the order of its columns after the number."""
        undoes = None if self.undoes is None else msgspec.json.encode(self.undoes).decode()
        return changes, self.request_id, self.function, self.identity, self.delivery, self.job, self.cron, undoes


class CommitLog(msgspec.Struct, eq=False):  # made for each mutation
    """The log of one transaction.

    Attributes:
        cause: The cause of the commit, which may be completed until the end.
        noted: The changes, oldest first.
    """

    cause: Cause
    noted: list[NotedChange] = []

    def mark(self) -> int:
        """Return the current state, for `roll_back`."""
        return len(self.noted)

    def roll_back(self, mark: int) -> None:
        """Drop the changes since a mark, because the transaction was rolled back to a savepoint."""
        del self.noted[mark:]

    def commit(self, transaction: Transaction, now: float) -> None:
        """Write the commit. Without changes nothing is written.

        Args:
            transaction: The transaction that the changes are a part of.
            now: The time of the transaction, in milliseconds since the epoch.
        """
        changes = _merged(self.noted) if len(self.noted) > 1 else list(self.noted)
        self.noted.clear()
        if changes:
            transaction.append_commit(now, self.cause.values(_encode([_stored(change) for change in changes]).decode()))


class LoggedWrites(msgspec.Struct, eq=False):  # made for each mutation
    """Writes rows of the application in a transaction, and notes the changes in its log.

    Args:
        transaction: The transaction.
        log: The log.
    """

    _transaction: Transaction
    log: CommitLog

    def insert(self, table: Table[Any], row: Row) -> None:
        """See `Transaction`."""
        self._transaction.insert(table, row)
        if table.has_history:
            self.log.noted.append(NotedChange(table, row[0], "insert", {}))

    def update(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> bool:
        """See `Transaction`."""
        if not table.has_history:
            return self._transaction.update(table, document_id, changes)
        previous = self._transaction.replace_values(table, document_id, changes)
        if previous is None:
            return False
        pairs = zip(changes.items(), previous, strict=True)
        before = {name: old for (name, new), old in pairs if old != new}
        if before:
            self.log.noted.append(NotedChange(table, document_id, "update", before))
        return True

    def delete(self, table: Table[Any], document_id: str) -> bool:
        """See `Transaction`."""
        if not table.has_history:
            return self._transaction.delete(table, document_id)
        row = self._transaction.take_row(table, document_id)
        if row is None:
            return False
        self.log.noted.append(NotedChange(table, document_id, "delete", values_of(table, row)))
        return True


def _stored(change: NotedChange) -> tuple[str, str, str, msgspec.Raw | None]:
    before = None if change.operation == "insert" else msgspec.Raw(encode_values(change.table, change.before))
    return change.table.name, change.document_id, change.operation, before


def _merged(noted: Sequence[NotedChange]) -> list[NotedChange]:
    """Return one change for each document, in the order of its first change."""
    merged: dict[str, NotedChange | None] = {}
    for change in noted:
        first = merged.get(change.document_id)
        merged[change.document_id] = change if first is None else _both(first, change)
    return [change for change in merged.values() if change is not None]


def _both(first: NotedChange, second: NotedChange) -> NotedChange | None:
    """Return two changes of a document as one; None if they leave nothing."""
    if first.operation == "insert":
        return None if second.operation == "delete" else first
    operation: Operation = "delete" if second.operation == "delete" else "update"
    return NotedChange(first.table, first.document_id, operation, {**second.before, **first.before})
