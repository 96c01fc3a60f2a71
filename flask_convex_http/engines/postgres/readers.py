"""Reading rows over one PostgreSQL connection: what snapshots and write transactions share."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from flask_convex_http.engines.postgres.connections import PooledConnection, PostgresConnections
from flask_convex_http.engines.postgres.cursors import CursorStream
from flask_convex_http.engines.postgres.errors import DRIVER_ERRORS, translate
from flask_convex_http.engines.postgres.statements import PostgresStatements
from flask_convex_http.engines.postgres.values import RowDecoder, encoded
from flask_convex_http.engines.read_budget import ReadBudget
from flask_convex_http.engines.transaction import Row
from flask_convex_http.errors import ConvexHTTPError, EngineError
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.tables import Table

#: The number of rows of a read without a limit that take one round trip.
_FIRST_PAGE = 1000


class ReaderTools(NamedTuple):
    """What all readers of an engine share."""

    connections: PostgresConnections
    statements: PostgresStatements
    decoder: RowDecoder


class PostgresReader:
    """The reading half of a snapshot and of a write transaction.

    Args:
        tools: What all readers of the engine share.
    """

    #: Appended to each SELECT of rows, except those of streams.
    _locking_clause = ""

    def __init__(self, tools: ReaderTools) -> None:
        self._connections, self._statements, self._decoder = tools
        self._connection: PooledConnection | None = None
        self._is_over = False
        self._streams: weakref.WeakSet[CursorStream] | None = None

    def get(self, table: Table[Any], document_id: str) -> Row | None:
        """Return the row with this id, or None."""
        rows = self._fetch(table, self._statements.get(table) + self._locking_clause, (document_id,))
        return rows[0] if rows else None

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
        if budget is not None and limit is None and not self._locking_clause and "ORDER BY" in sql:
            # a server-side cursor for what follows, since libpq keeps a whole result in memory
            pages = CursorStream(partial(self._fetch, table), sql, values, first_page=_FIRST_PAGE)
            return budget.collect(table, pages)
        rows = self._fetch(table, sql + self._locking_clause, values)
        if budget is not None:
            budget.take_all(table, rows)
        return rows

    def count(self, table: Table[Any]) -> int:
        """Return the number of rows in a table."""
        return int(self._rows(f'SELECT count(*) FROM "{table.name}"', ())[0][0])

    def is_ordered_by_time(self, table: Table[Any]) -> bool:
        """Return whether the rows of a table are ordered by creation time."""
        return table.name in self._statements.by_time

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        """Yield the rows of a segment, in its order, as they are fetched."""
        self._live()
        sql, values = self._statements.scan(table, segment, descending, None)
        stream = CursorStream(partial(self._fetch, table), sql, values)
        if self._streams is None:
            self._streams = weakref.WeakSet()  # weak: a stream without references needs no closing
        self._streams.add(stream)
        return stream

    def end(self) -> None:
        """Close the streams, refuse all further use and give the connection back."""
        self._is_over = True
        for stream in self._streams or ():
            stream.close()
        if self._connection is not None:
            self._connections.give_back(self._connection)

    def _fetch(self, table: Table[Any], sql: str, values: Sequence[Any], *, once: bool = False) -> list[Row]:
        return self._decoder.decode(table, self._rows(sql, values, once=once))

    def _rows(self, sql: str, values: Sequence[Any], *, once: bool = False) -> list[Any]:
        connection = self._live()
        try:
            return connection.statements.rows(sql, encoded(values), once=once)
        except DRIVER_ERRORS as error:
            raise self._translated(error) from error

    def _live(self) -> PooledConnection:
        """Return the connection, with its transaction begun.

        Raises:
            EngineError: The reader has ended, or the process was forked.
        """
        if self._connection is None or self._is_over:
            raise EngineError("ctx.db was used after its function had ended; it lives as long as the function")
        self._connection.check_process()
        return self._connection

    def _translated(self, error: Exception) -> ConvexHTTPError:
        return translate(error)
