"""Snapshots of SQLite, which neither wait for the writer nor make it wait."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

from flask_convex_http.engines.read_budget import ReadBudget
from flask_convex_http.engines.sqlite.readers import ENDED, SQLiteReader, Translate
from flask_convex_http.engines.sqlite.statements import SQLiteStatements
from flask_convex_http.engines.transaction import Row
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.tables import Table
from flask_convex_http.sqlite.connections import DRIVER_ERRORS, Connections, sqlite3, this_process


class SQLiteSnapshot(SQLiteReader):
    """A read transaction: one consistent view, taken at the first read.

    SQLite keeps a view for as long as a statement is active, so the statement of a first `get` is kept active. Many
    queries are one `get`: they need no statements that begin and end a transaction, at each of which Python may switch
    to another thread.

    Args:
        connections: The connections to the file.
        statements: The SQL.
        translate: Returns the package's error for one of the driver's.
    """

    __slots__ = ("_connections", "_first", "_own", "_process")

    def __init__(self, connections: Connections, statements: SQLiteStatements, translate: Translate) -> None:
        self._connection = ENDED  # super().__init__() would take longer
        self._statements = statements
        self._translate = translate
        self._streams = None
        self._connections = connections
        #: The cursor that keeps the view: of the first `get`, or of BEGIN.
        self._first: Any = None

    def __enter__(self) -> SQLiteSnapshot:
        self._process = self._connections.process
        self._own = self._connection = self._connections.take(self._process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the snapshot, and give the connection back."""
        self._connection = ENDED
        if self._process.pid == this_process():  # not in a child that was forked inside: the connection is the parent's
            try:
                if self._streams is not None:
                    self.end()
                if self._first is not None:
                    self._first.close()
                if self._own.in_transaction:
                    self._own.execute("ROLLBACK")
            except sqlite3.Error:  # a read has nothing to lose
                pass
        self._connections.give(self._process, self._own)

    def get(self, table: Table[Any], document_id: str) -> Row | None:
        """Return the row with this id, or None."""
        if self._first is not None:
            return super().get(table, document_id)
        try:
            self._first = self._connection.execute(self._statements.get_and_stay(table), (document_id,))
            row: Row = self._first.fetchone()
        except DRIVER_ERRORS as error:
            raise self._translate(error) from error
        return None if row[0] is None else row

    def select(
        self,
        table: Table[Any],
        segment: Segment,
        *,
        descending: bool,
        limit: int | None,
        budget: ReadBudget | None = None,
    ) -> list[Row]:
        """Return the rows of a segment, in its order."""
        self._begin()
        return super().select(table, segment, descending=descending, limit=limit, budget=budget)

    def count(self, table: Table[Any]) -> int:
        """Return the number of rows in a table."""
        self._begin()
        return super().count(table)

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        """Yield the rows of a segment, in its order, as they are fetched."""
        self._begin()
        return super().stream(table, segment, descending=descending)

    def _begin(self) -> None:
        if self._first is not None:
            return
        try:
            self._first = self._connection.execute("BEGIN")
        except DRIVER_ERRORS as error:
            raise self._translate(error) from error
