"""The rows that have changed between two snapshots, from the commit log.

The log is read in the later snapshot itself, so it agrees with the queries that read there. On PostgreSQL a commit
with a lower number may become visible after one with a higher number. The position of a snapshot is therefore its
settled number and the numbers above it that were visible. A later snapshot is asked for all commits but these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flask_convex_http.engines import Engine, Row, Snapshot
from flask_convex_http.errors import HistoryError
from flask_convex_http.history.reader import HistoryReader, LoggedChange
from flask_convex_http.history.values import decode_values, row_of, values_of
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.sync.positions import ChangedRow, Position

#: Commits after which running all queries again is less work than reading what changed.
_MOST_COMMITS = 20_000


class Changes:
    """Reads which rows have changed since another snapshot.

    Args:
        engine: The database.
        schema: The tables.
    """

    def __init__(self, engine: Engine, schema: Schema) -> None:
        self._engine = engine
        self._schema = schema

    def settled(self) -> int | None:
        """Return the settled number, to be called before the snapshot is opened. None if numbers are in order."""
        return self._engine.settled_commit()

    def position(self, snapshot: Snapshot, settled: int | None) -> Position:
        """Return the position of a snapshot.

        Args:
            snapshot: The snapshot.
            settled: What `settled` has returned before the snapshot was opened.
        """
        reader = HistoryReader(snapshot, self._schema)
        newest = reader.newest()
        if settled is None:
            return Position(newest, newest)
        if settled >= newest:  # the numbers between them were rolled back
            return Position(settled, newest)
        commits = reader.commits(settled, None, limit=_MOST_COMMITS)
        return Position(settled, newest, frozenset(commit.number for commit in commits))

    def between(
        self, snapshot: Snapshot, known: Position, new: Position, watched: Callable[[str, str], bool]
    ) -> list[ChangedRow] | None:
        """Return the rows that may differ between two snapshots.

        Args:
            snapshot: The later snapshot.
            known: The position of the earlier one.
            new: The position of the later one.
            watched: Tells for the name of a table and the id of a document whether its row is of interest.

        Returns:
            The rows of interest. None if the log does not have all changes.
        """
        reader = HistoryReader(snapshot, self._schema)
        if new.newest < known.newest or new.newest - known.settled > _MOST_COMMITS:
            return None
        if reader.coverage.first > known.settled:
            return None
        changes: dict[str, list[LoggedChange]] = {}
        for change in reader.changes_of(known.settled + 1, new.newest):
            if change.number not in known.above:
                changes.setdefault(change.document_id, []).append(change)
        try:
            return list(self._rows(snapshot, changes, watched))
        except HistoryError:  # a part of the history was erased or purged, or the schema has changed
            return None

    def _rows(
        self, snapshot: Snapshot, changes: dict[str, list[LoggedChange]], watched: Callable[[str, str], bool]
    ) -> Iterator[ChangedRow]:
        for document_id, own in changes.items():
            table = self._schema.likely_table_of(document_id)
            if table is not None and watched(table.name, document_id):
                after = snapshot.get(table, document_id)
                yield ChangedRow(table.name, document_id, row_before(table, after, own), after)


def row_before(table: Table[Any], after: Row | None, changes: list[LoggedChange]) -> Row | None:
    """Return a row as it was before its changes.

    Args:
        table: The table of the row.
        after: The row as it is now.
        changes: Its changes, oldest first.

    Raises:
        HistoryError: A change cannot be read.
    """
    row = after
    for change in reversed(changes):
        row = _row_before_change(table, row, change)
    return row


def _row_before_change(table: Table[Any], row: Row | None, change: LoggedChange) -> Row | None:
    if change.operation == "insert":
        return None
    if change.before is None:
        raise HistoryError(f"The history of {change.document_id} was erased")
    if change.operation == "delete":
        return row_of(table, change.document_id, decode_values(table, change.before))
    if row is None:
        return None
    values = values_of(table, row) | decode_values(table, change.before)
    return [row[0], *values.values()]
