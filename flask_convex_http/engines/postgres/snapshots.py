"""Snapshots of PostgreSQL: one with a transaction, and one that needs no transaction for a single read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from flask_convex_http.engines.postgres.connections import BEGIN_READ, PooledConnection, end_transaction, execute
from flask_convex_http.engines.postgres.errors import DRIVER_ERRORS
from flask_convex_http.engines.postgres.readers import PostgresReader, ReaderTools
from flask_convex_http.engines.postgres.values import encoded
from flask_convex_http.engines.read_budget import ReadBudget
from flask_convex_http.engines.transaction import Row
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.tables import Table


class PostgresSnapshot(PostgresReader):
    """A read-only transaction: one consistent view, taken at the first read."""

    def __enter__(self) -> PostgresSnapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            end_transaction(self._connection, b"COMMIT")
        self.end()

    def _live(self) -> PooledConnection:
        if self._connection is None and not self._is_over:
            self._connection = self._connections.begin(BEGIN_READ)
        return super()._live()


class SnapshotChangedError(ConvexHTTPError):
    """Rows that a query has read changed before its next read, so the query must be retried."""


class OptimisticSnapshot(PostgresReader):
    """A snapshot whose first read needs no transaction.

    A single statement is a consistent view by itself, and most queries are one statement. Without a transaction they
    take one round trip instead of three, and the app and the server together use less processor time: a transaction
    adds 20 % to it (`benchmarks/postgres.py`).

    The second read begins a transaction and repeats the first statement in it. If its rows are the same, everything
    that the query has read belongs to the snapshot of that transaction. A first read that has no limit, or that
    streams its rows, begins the transaction at once, because repeating it would be expensive.

    Raises:
        SnapshotChangedError: The repeated statement returned other rows. Every later read raises it too, and so does
            the end of the `with` statement, even if the query has caught it.
    """

    def __init__(self, tools: ReaderTools) -> None:
        super().__init__(tools)
        self._is_begun = False
        self._has_changed = False
        self._first: tuple[str, Sequence[Any], list[Any]] | None = None

    def __enter__(self) -> OptimisticSnapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None and self._is_begun:
            end_transaction(self._connection, b"COMMIT")
        self.end()
        if self._has_changed and (error is None or isinstance(error, Exception)):
            raise SnapshotChangedError

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
        if limit is None:  # repeating the statement would read the whole result twice
            self._begin()
        return super().select(table, segment, descending=descending, limit=limit, budget=budget)

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        """Yield the rows of a segment, in its order, as they are fetched."""
        self._begin()
        return super().stream(table, segment, descending=descending)

    def _rows(self, sql: str, values: Sequence[Any], *, once: bool = False) -> list[Any]:
        if self._is_begun or self._first is not None or self._is_over:
            self._begin()
            return super()._rows(sql, values, once=once)
        self._connection, rows = self._connections.read(sql, encoded(values))
        self._first = sql, values, rows.copy()  # undecoded: the decoder replaces rows of the list in place
        return rows

    def _begin(self) -> None:
        """Begin the transaction, unless it has begun, and repeat the first statement in it.

        Raises:
            SnapshotChangedError: The statement returned other rows.
        """
        if self._is_over or self._is_begun:
            return
        if self._first is None:
            self._connection = self._connections.begin(BEGIN_READ)
        self._is_begun = True
        self._has_changed = self._first is not None and not self._repeats(*self._first)
        if self._has_changed:
            raise SnapshotChangedError

    def _repeats(self, sql: str, values: Sequence[Any], rows: list[Any]) -> bool:
        """Begin the transaction, and return whether the statement returns the same rows in it."""
        try:
            connection = super()._live()
            execute(connection, BEGIN_READ)
            return connection.statements.rows(sql, encoded(values)) == rows
        except DRIVER_ERRORS:
            return False

    def _live(self) -> PooledConnection:
        if self._has_changed:
            raise SnapshotChangedError
        return super()._live()
