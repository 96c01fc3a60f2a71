"""A transaction that records which rows it changes.

Only the state of a row before its first write is kept. The changes are computed at the end, so a part of the
transaction that was rolled back to its savepoint does not appear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from flask_convex_http.engines import ReadBudget, Row, Transaction
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.index_ranges import Segment


class RecordedChange(NamedTuple):
    """A row that differs from its state before the transaction.

    Attributes:
        table: The row's table.
        row_id: The row's id.
        before: The row before, or None if it is new.
        after: The row now, or None if it is deleted.
    """

    table: Table[Any]
    row_id: str
    before: Row | None
    after: Row | None


class RecordingTransaction:
    """A transaction that passes every call on, and records the rows it writes to.

    The methods are those of `engines.transaction.Transaction`.

    Args:
        transaction: The transaction of the engine.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._before: dict[str, tuple[Table[Any], Row | None]] = {}

    def interrupt(self) -> None:
        """See `Transaction`."""
        self._transaction.interrupt()

    def get(self, table: Table[Any], document_id: str) -> Row | None:
        """See `Snapshot`."""
        return self._transaction.get(table, document_id)

    def select(
        self,
        table: Table[Any],
        segment: Segment,
        *,
        descending: bool,
        limit: int | None,
        budget: ReadBudget | None = None,
    ) -> list[Row]:
        """See `Snapshot`."""
        return self._transaction.select(table, segment, descending=descending, limit=limit, budget=budget)

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        """See `Snapshot`."""
        return self._transaction.stream(table, segment, descending=descending)

    def count(self, table: Table[Any]) -> int:
        """See `Snapshot`."""
        return self._transaction.count(table)

    def is_ordered_by_time(self, table: Table[Any]) -> bool:
        """See `Snapshot`."""
        return self._transaction.is_ordered_by_time(table)

    def lookup_again(self, table: Table[Any], values: Mapping[str, Any]) -> Row | None:
        """See `Transaction`."""
        return self._transaction.lookup_again(table, values)

    def get_again(self, table: Table[Any], document_id: str, others: Callable[[], Sequence[str]]) -> Row | None:
        """See `Transaction`."""
        return self._transaction.get_again(table, document_id, others)

    def try_lock(self, number: int) -> bool:
        """See `Transaction`."""
        return self._transaction.try_lock(number)

    def claim(self, table: Table[Any], segment: Segment, *, limit: int) -> list[Row]:
        """See `Transaction`."""
        return self._transaction.claim(table, segment, limit=limit)

    def insert(self, table: Table[Any], row: Row) -> None:
        """See `Transaction`."""
        self._record(table, row[0])
        self._transaction.insert(table, row)

    def insert_late(self, table: Table[Any], row: Row) -> None:
        """See `Transaction`."""
        self.insert(table, row)

    def insert_all(self, table: Table[Any], rows: Sequence[Row]) -> None:
        """See `Transaction`."""
        for row in rows:
            self.insert(table, row)

    def update(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> bool:
        """See `Transaction`."""
        self._record(table, document_id)
        return self._transaction.update(table, document_id, changes)

    def delete(self, table: Table[Any], document_id: str) -> bool:
        """See `Transaction`."""
        self._record(table, document_id)
        return self._transaction.delete(table, document_id)

    def replace_values(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> Row | None:
        """See `Transaction`."""
        self._record(table, document_id)
        return self._transaction.replace_values(table, document_id, changes)

    def take_row(self, table: Table[Any], document_id: str) -> Row | None:
        """See `Transaction`."""
        self._record(table, document_id)
        return self._transaction.take_row(table, document_id)

    def delete_all(self, table: Table[Any], document_ids: Sequence[str]) -> None:
        """See `Transaction`."""
        for document_id in document_ids:
            self.delete(table, document_id)

    def delete_before(self, table: Table[Any], document_id: str, limit: int) -> int:
        """See `Transaction`. The rows are not recorded: only old rows of the commit log are deleted in this way."""
        return self._transaction.delete_before(table, document_id, limit)

    def append_commit(self, now: float, values: Row) -> None:
        """See `Transaction`. The row is not recorded."""
        self._transaction.append_commit(now, values)

    def resume_commit_numbers(self) -> None:
        """See `Transaction`."""
        self._transaction.resume_commit_numbers()

    def savepoint(self) -> AbstractContextManager[None]:
        """See `Transaction`."""
        return self._transaction.savepoint()

    def changes(self) -> Iterator[RecordedChange]:
        """Yield the rows that differ now, in the order in which they were first written."""
        for row_id, (table, before) in self._before.items():
            after = self._transaction.get(table, row_id)
            if _as_list(before) != _as_list(after):
                yield RecordedChange(table, row_id, before, after)

    def _record(self, table: Table[Any], row_id: str) -> None:
        if row_id not in self._before:
            self._before[row_id] = (table, self._transaction.get(table, row_id))


def _as_list(row: Row | None) -> list[Any] | None:
    return None if row is None else list(row)
