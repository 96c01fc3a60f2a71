"""A snapshot of the past: the rows as they were after a commit, rebuilt from the present rows and the log.

A row as it was is the present row with the previous values of all later changes, newest first. Rows that have not
changed since are read where they are. So a read costs as much as one of the present and, in addition, some rows of the
log: for `get` those of later changes of the document and those that are not indexed yet, for a range all later ones.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from flask_convex_http.engines import ReadBudget, Row, Snapshot
from flask_convex_http.errors import EngineError, HistoryError
from flask_convex_http.history.log import NotedChange
from flask_convex_http.history.reader import HistoryReader, LoggedChange
from flask_convex_http.history.row_order import order_key, row_matcher
from flask_convex_http.history.values import Values, decode_values, row_of, values_of
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.index_ranges import Segment


class PastRow:
    """A row of the present that goes back in time, change by change.

    Args:
        table: The table.
        document_id: The id of the row.
        row: The present row, or None.
    """

    __slots__ = ("_is_lost", "_table", "document_id", "values")

    def __init__(self, table: Table[Any], document_id: str, row: Row | None) -> None:
        self._table = table
        self.document_id = document_id
        self.values: Values | None = None if row is None else values_of(table, row)
        self._is_lost = False

    def undo(self, operation: str, before: Values) -> None:
        """Go back over one change. The history of a document that was erased has no document before that."""
        if operation == "erased":
            self._is_lost = True
        if operation in ("insert", "erased"):
            self.values = None
        elif operation == "delete":
            self.values = None if self._is_lost else dict(before)
        elif self.values is not None:
            self.values.update(before)

    def undo_logged(self, change: LoggedChange) -> None:
        """Go back over a change of the log."""
        is_read = change.before is not None and not self._is_lost
        self.undo(change.operation, decode_values(self._table, change.before) if is_read else {})  # type: ignore[arg-type]

    def try_undo(self, change: LoggedChange) -> bool:
        """Go back over a change of the log, and return whether the row before it is known."""
        try:
            self.undo_logged(change)
        except HistoryError:  # a field had another type before
            return False
        return True

    def row(self) -> list[Any] | None:
        """Return the row, or None if there was none.

        Raises:
            HistoryError: The class has changed since such that the row does not fit.
        """
        return None if self.values is None else row_of(self._table, self.document_id, self.values)

    def document(self) -> Any:
        """Return the document of the row, or None if there was none."""
        row = self.row()
        return None if row is None else self._table.read(row)

    def document_or_none(self) -> Any:
        """Return the document of the row, or None if there is none or its class has changed too much."""
        try:
            return self.document()
        except (HistoryError, EngineError):
            return None


class AsOfSnapshot:
    """The rows as they were after a commit. The methods are those of `engines.transaction.Snapshot`.

    Args:
        reader: Reads the log.
        number: The number of the commit.
        time: The time that the caller meant, or None if it was the commit.
        noted: The changes of the transaction that reads, which are not in the log yet.
        budget: Counts the bytes of the changes that are read.
    """

    def __init__(
        self,
        reader: HistoryReader,
        number: int,
        time: float | None = None,
        *,
        noted: Sequence[NotedChange] = (),
        budget: ReadBudget | None = None,
    ) -> None:
        self._reader = reader
        self._number = number
        self._time = time
        self._noted = noted
        self._budget = budget
        self._changed: dict[str, dict[str, Row | None]] | None = None

    @property
    def _snapshot(self) -> Snapshot:
        return self._reader.snapshot

    def get(self, table: Table[Any], document_id: str) -> Row | None:
        """Return the row with this id as it was, or None."""
        self._reader.check_covered(table, self._number, self._time)
        row = PastRow(table, document_id, self._snapshot.get(table, document_id))
        for noted in reversed(self._noted):
            if noted.document_id == document_id:
                row.undo(noted.operation, dict(noted.before))
        for change in self._reader.changes_of_document(document_id, self._number, budget=self._budget):
            row.undo_logged(change)
        return row.row()

    def select(
        self,
        table: Table[Any],
        segment: Segment,
        *,
        descending: bool,
        limit: int | None,
        budget: ReadBudget | None = None,
    ) -> list[Row]:
        """Return the rows of a segment as they were, in its order."""
        changed = self._changed_rows(table)
        more = None if limit is None else limit + len(changed)
        present = self._snapshot.select(table, segment, descending=descending, limit=more, budget=budget)
        rows = list(_merged(table, segment, present, changed, descending=descending))
        return rows if limit is None else rows[:limit]

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        """Yield the rows of a segment as they were, in its order."""
        changed = self._changed_rows(table)
        present = self._snapshot.stream(table, segment, descending=descending)
        return _merged(table, segment, present, changed, descending=descending)

    def count(self, table: Table[Any]) -> int:
        """Return the number of rows that a table had."""
        changed = self._changed_rows(table)
        present = sum(self._snapshot.get(table, document_id) is not None for document_id in changed)
        return self._snapshot.count(table) - present + sum(row is not None for row in changed.values())

    def is_ordered_by_time(self, table: Table[Any]) -> bool:
        """Return whether the rows of a table are ordered by creation time."""
        return self._snapshot.is_ordered_by_time(table)

    def _changed_rows(self, table: Table[Any]) -> dict[str, Row | None]:
        """Return the rows of a table that have changed since, by id, as they were."""
        self._reader.check_covered(table, self._number, self._time)
        if self._changed is None:
            self._changed = {}
        known = self._changed.get(table.name)
        if known is None:
            known = self._changed[table.name] = self._rebuild(table)
        return known

    def _rebuild(self, table: Table[Any]) -> dict[str, Row | None]:
        rows: dict[str, PastRow] = {}
        for noted in reversed(self._noted):
            if noted.table is table:
                self._past(rows, table, noted.document_id).undo(noted.operation, dict(noted.before))
        for change in self._reader.changes_since(self._number, budget=self._budget):
            if change.table in table.id_prefixes:
                self._past(rows, table, change.document_id).undo_logged(change)
        return {document_id: row.row() for document_id, row in rows.items()}

    def _past(self, rows: dict[str, PastRow], table: Table[Any], document_id: str) -> PastRow:
        row = rows.get(document_id)
        if row is None:
            row = rows[document_id] = PastRow(table, document_id, self._snapshot.get(table, document_id))
        return row


def _merged(
    table: Table[Any],
    segment: Segment,
    present: Iterable[Row],
    changed: dict[str, Row | None],
    *,
    descending: bool,
) -> Iterator[Row]:
    """Yield the present rows that have not changed and the changed rows of a segment as they were, in its order."""
    if not changed:
        return iter(present)
    matches, key = row_matcher(table, segment), order_key(table, segment)
    past = [row for row in changed.values() if row is not None and matches(row)]
    past.sort(key=key, reverse=descending)
    unchanged = (row for row in present if row[0] not in changed)
    return heapq.merge(unchanged, past, key=key, reverse=descending)
