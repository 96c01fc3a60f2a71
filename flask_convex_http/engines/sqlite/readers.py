"""Reading rows over one SQLite connection: what snapshots and write transactions share."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

from flask_convex_http.engines.read_budget import ReadBudget
from flask_convex_http.engines.sqlite.statements import SQLiteStatements
from flask_convex_http.engines.transaction import Row
from flask_convex_http.errors import ConvexHTTPError, EngineError
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.tables import Table
from flask_convex_http.sqlite.connections import DRIVER_ERRORS, sqlite3

#: Returns the package's error for one of the driver's.
Translate = Callable[[Exception], ConvexHTTPError]


class SQLiteReader:
    """The reading half of a snapshot and of a write transaction.

    Args:
        connection: The connection to read by.
        statements: The SQL.
        translate: Returns the package's error for one of the driver's.
    """

    __slots__ = ("_connection", "_statements", "_streams", "_translate")

    def __init__(self, connection: Any, statements: SQLiteStatements, translate: Translate) -> None:
        self._connection = connection
        self._statements = statements
        self._translate = translate
        self._streams: weakref.WeakSet[SQLiteStream] | None = None

    def get(self, table: Table[Any], document_id: str) -> Row | None:
        """Return the row with this id, or None."""
        try:
            row: Row | None = self._connection.execute(self._statements.get(table), (document_id,)).fetchone()
        except DRIVER_ERRORS as error:
            raise self._translate(error) from error
        return row

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
        sql, values = self._statements.scan(table, segment, descending, limit)
        try:
            cursor = self._connection.execute(sql, values)
            rows: list[Row] = cursor.fetchall() if budget is None else budget.collect(table, cursor)
        except DRIVER_ERRORS as error:
            raise self._translate(error) from error
        return rows

    def count(self, table: Table[Any]) -> int:
        """Return the number of rows in a table."""
        try:
            (rows,) = self._connection.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()
        except DRIVER_ERRORS as error:
            raise self._translate(error) from error
        return int(rows)

    def is_ordered_by_time(self, table: Table[Any]) -> bool:
        """Return whether the rows of a table are ordered by creation time."""
        return table.name in self._statements.by_time

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        """Yield the rows of a segment, in its order, as they are fetched."""
        sql, values = self._statements.scan(table, segment, descending, None)
        try:
            stream = SQLiteStream(self._connection.execute(sql, values), self._translate)
        except DRIVER_ERRORS as error:
            raise self._translate(error) from error
        if self._streams is None:
            self._streams = weakref.WeakSet()  # weak: a stream without references needs no closing
        self._streams.add(stream)
        return stream

    def end(self) -> None:
        """Close the streams and refuse all further use."""
        self._connection = ENDED
        for stream in self._streams or ():
            stream.close()


class SQLiteStream:
    """The rows of a SELECT, readable until the transaction ends.

    Args:
        cursor: A cursor that has executed the SELECT.
        translate: Returns the package's error for one of the driver's.
    """

    def __init__(self, cursor: Any, translate: Translate) -> None:
        self._cursor = cursor
        self._rows: Iterator[Row] = cursor
        self._translate = translate
        self._is_detached = self._is_closed = False

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        if self._is_closed:
            raise EngineError("A query was read on after its function had ended; collect() it inside the function")
        try:
            return next(self._rows)
        except sqlite3.Error as error:
            raise self._translate(error) from error

    def detach(self) -> None:
        """Fetch all remaining rows, so that later writes do not show in them."""
        if not self._is_detached and not self._is_closed:
            self._rows, self._is_detached = iter(self._cursor.fetchall()), True

    def close(self) -> None:
        """End the SELECT, which would keep its snapshot alive."""
        self._is_closed = True
        self._cursor.close()


class ClosedConnection:
    """Takes the place of a connection that must not be used any more.

    Args:
        reason: The message of the error that every use raises.
    """

    in_transaction = True  # so that `SQLiteTransaction` goes on to `execute`, and there is one message for all uses

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def execute(self, *_: object) -> Any:
        """Raise an EngineError with the reason."""
        raise EngineError(self._reason)

    executemany = execute


ENDED = ClosedConnection("ctx.db was used after its function had ended; it lives as long as the function")
