"""Views of PostgreSQL: a snapshot that is read, and a transaction that is written to; each has a connection of its own.

A transaction that conflicts with another, or whose connection is lost, cannot go on: whatever its function makes of the
error, nothing of it is committed, and `conflict` says that it may be run again.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

from flask_convex_http.engines.base import RestartError, Row
from flask_convex_http.engines.postgres.connections import BEGIN_READ, Connections, PooledConnection, end, run
from flask_convex_http.engines.postgres.cursors import Stream
from flask_convex_http.engines.postgres.errors import DRIVER_ERRORS, is_conflict, is_lost, translate
from flask_convex_http.engines.postgres.statements import PostgresStatements, guard_values
from flask_convex_http.engines.postgres.values import Loading, refuse_too_long, stored
from flask_convex_http.errors import ConvexHTTPError, EngineError, UnavailableError
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, Table
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.tables import taken


class Shared(NamedTuple):
    """What all views of a database share."""

    connections: Connections
    statements: PostgresStatements
    loading: Loading


class _Reader:
    """Reads rows by one connection, in a transaction."""

    #: What a SELECT of rows ends with, those of streams apart: they are many.
    _ending = ""

    def __init__(self, shared: Shared) -> None:
        self._connections, self._statements, self._loading = shared
        self._connection: PooledConnection | None = None
        self._is_over = False
        self._streams: weakref.WeakSet[Stream] | None = None

    def get(self, table: Table[Any], document_id: str) -> Row | None:
        rows = self._fetch(table, self._statements.get(table) + self._ending, (document_id,))
        return rows[0] if rows else None

    def select(self, table: Table[Any], segment: Segment, *, descending: bool, limit: int | None) -> list[Row]:
        sql, values = self._statements.scan(table, segment, descending, limit)
        return self._fetch(table, sql + self._ending, values)

    def count(self, table: Table[Any]) -> int:
        return int(self._rows(f'SELECT count(*) FROM "{table.name}"', ())[0][0])

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        self._live()
        sql, values = self._statements.scan(table, segment, descending, None)
        stream = Stream(partial(self._fetch, table), sql, values)
        if self._streams is None:
            self._streams = weakref.WeakSet()  # weak: a stream nobody reads any more is over
        self._streams.add(stream)
        return stream

    def _fetch(self, table: Table[Any], sql: str, values: Sequence[Any], *, once: bool = False) -> list[Row]:
        return self._loading.rows(table, self._rows(sql, values, once=once))

    def _rows(self, sql: str, values: Sequence[Any], *, once: bool = False) -> list[Any]:
        connection = self._live()
        try:
            return connection.statements.rows(sql, stored(values), once=once)
        except DRIVER_ERRORS as error:
            raise self._failed(error) from error

    def _live(self) -> PooledConnection:
        """The connection, in its transaction."""
        if self._connection is None or self._is_over:
            raise EngineError("ctx.db was used after its function had ended; it lives as long as the function")
        self._connection.check_process()
        return self._connection

    def _failed(self, error: Exception) -> ConvexHTTPError:
        return translate(error)

    def end(self) -> None:
        """Refuse all that is asked from now on, and give the connection back."""
        self._is_over = True
        for stream in self._streams or ():
            stream.close()
        if self._connection is not None:
            self._connections.give(self._connection)


class PostgresSnapshot(_Reader):
    """A read transaction: one consistent view, taken at the first read.

    A statement is a snapshot by itself, and most queries are one. So the first is run without a transaction, if the
    caller can begin anew. When there is a second, a transaction is begun and the first read again in it: if that is the
    same still, all that the caller has seen is in the transaction's snapshot.

    Args:
        shared: What all views share.
        restartable: Whether the caller begins anew after a `RestartError`.
    """

    def __init__(self, shared: Shared, *, restartable: bool) -> None:
        super().__init__(shared)
        self._is_begun = not restartable
        self._first: tuple[str, Sequence[Any], list[Any]] | None = None
        self._is_lost = False

    def __enter__(self) -> PostgresSnapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None and self._is_begun:
            end(self._connection, b"COMMIT")
        self.end()
        if self._is_lost and (error is None or isinstance(error, Exception)):  # whatever the function has made of it
            raise RestartError

    def select(self, table: Table[Any], segment: Segment, *, descending: bool, limit: int | None) -> list[Row]:
        if limit is None:  # it may be much, and is not to be read twice
            self._begin()
        return super().select(table, segment, descending=descending, limit=limit)

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        self._begin()
        return super().stream(table, segment, descending=descending)

    def _rows(self, sql: str, values: Sequence[Any], *, once: bool = False) -> list[Any]:
        if not self._is_begun and self._first is None and not self._is_over:
            self._connection, rows = self._connections.read(sql, stored(values))
            self._first = sql, values, rows.copy()  # as they came: whoever gets them unescapes them in their place
            return rows
        self._begin()
        return super()._rows(sql, values, once=once)

    def _begin(self) -> None:
        """Begin the transaction, in which the first read must answer what it has answered."""
        if self._is_over or self._is_begun:
            return
        self._is_begun = True
        if self._first is None:
            return
        sql, values, rows = self._first
        try:
            connection = super()._live()
            run(connection, BEGIN_READ)
            self._is_lost = connection.statements.rows(sql, stored(values)) != rows
        except DRIVER_ERRORS:
            self._is_lost = True
        if self._is_lost:
            raise RestartError

    def _live(self) -> PooledConnection:
        if self._is_lost:
            raise RestartError
        if self._connection is None and not self._is_over:
            self._connection = self._connections.begin(BEGIN_READ)
        return super()._live()


class PostgresTransaction(_Reader):
    """A write transaction. What it has read is as if it were alone, or it is not committed.

    Attributes:
        conflict: Why it cannot be committed, but may be when it is run again.
    """

    def __init__(self, shared: Shared, connection: PooledConnection, *, locks: bool) -> None:
        super().__init__(shared)
        self._connection = connection
        self.conflict: ConvexHTTPError | None = None
        self._ending = " FOR UPDATE" if locks else ""
        self._error: ConvexHTTPError | None = None
        self._depth = 0
        self._ended = b""

    def insert(self, table: Table[Any], row: Row) -> None:
        refuse_too_long(table, columns_of(table), row)
        if not self._write(self._statements.insert(table), row):
            raise self._collision(table, str(row[0]), dict(zip(columns_of(table), row, strict=True)))

    def insert_all(self, table: Table[Any], rows: Sequence[Row]) -> None:
        for row in rows:
            refuse_too_long(table, columns_of(table), row)
        for stream in self._streams or ():
            stream.detach()
        cursor = self._live().cursor()
        try:
            cursor.executemany(self._statements.insert(table), [stored(row) for row in rows])
        except DRIVER_ERRORS as error:
            raise self._failed(error) from error
        if cursor.rowcount < len(rows):
            raise taken(table, table.name, ("_id",))

    def update(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> bool:
        refuse_too_long(table, changes, tuple(changes.values()))
        sql = self._statements.update(table, tuple(changes))
        guards = guard_values(table, document_id, dict(changes))
        if self._write(sql, (*changes.values(), document_id, *guards)):
            return True
        row = self.get(table, document_id) if guards else None
        if row is None:
            return False
        there = dict(zip(columns_of(table), row, strict=True))
        raise self._collision(table, document_id, {**there, **changes})

    def delete(self, table: Table[Any], document_id: str) -> bool:
        return self._write(self._statements.delete(table), (document_id,)) > 0

    def claim(self, table: Table[Any], segment: Segment, *, limit: int) -> list[Row]:
        return self._fetch(table, *self._statements.claim(table, segment, limit))

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        self._depth += 1
        name = f"nested{self._depth}".encode()
        try:
            self._command(b"SAVEPOINT " + name)
            yield
        except BaseException:
            if not self._is_over:
                self._undo_to(name)
            raise
        else:
            self._ended += b"RELEASE " + name + b"; "  # goes along with the next command
        finally:
            self._depth -= 1

    def commit(self) -> None:
        """Commit, durably.

        Raises:
            UnavailableError: The connection was lost; nobody knows whether the commit was made.
        """
        if self._error is not None:  # a function has caught it, and the server has undone everything
            raise self._error
        if self._connection is not None and not self._connection.is_ours:  # the parent commits
            return
        connection = self._live()
        try:
            done = run(connection, self._ended + b"COMMIT")
        except DRIVER_ERRORS as error:
            if is_conflict(error):
                raise self._failed(error) from error
            raise _unknown(error) from error
        if done != b"COMMIT":
            raise EngineError(f"The database has answered COMMIT with {done.decode()}")

    def undo(self) -> None:
        """Undo everything."""
        if self._connection is not None:
            end(self._connection, b"ROLLBACK")

    def _write(self, sql: str, values: Sequence[Any]) -> int:
        for stream in self._streams or ():
            stream.detach()
        connection = self._live()
        try:
            return connection.statements.change(sql, stored(values))
        except DRIVER_ERRORS as error:
            raise self._failed(error) from error

    def _command(self, command: bytes) -> None:
        connection = self._live()
        try:
            run(connection, self._ended + command)
        except DRIVER_ERRORS as error:
            raise self._failed(error) from error
        self._ended = b""

    def _undo_to(self, name: bytes) -> None:
        if self.conflict is not None:
            return
        for stream in self._streams or ():
            if self._error is None:
                stream.detach()
            else:  # its cursor may go with the savepoint
                stream.close("A query was read on after a part of its function had failed; collect() it before")
        self._error, self._ended = None, b""  # those that have ended inside go with it
        self._command(b"ROLLBACK TO " + name + b"; RELEASE " + name)

    def _live(self) -> PooledConnection:
        connection = super()._live()
        if self._error is not None:
            raise self._error
        return connection

    def _failed(self, error: Exception) -> ConvexHTTPError:
        """After an error the server takes nothing more, up to a savepoint before it."""
        assert self._connection is not None
        self._error = translate(error)
        lost = is_lost(error, self._connection)
        if lost:
            self._connection.close()  # a server that takes no writes any more may be there for ever
        if lost or is_conflict(error):
            self.conflict = self._error
        return self._error

    def _collision(self, table: Table[Any], document_id: str, values: Mapping[str, Any]) -> ConvexHTTPError:
        """Which unique index another row has these values in."""
        for index in table.indexes.values():
            fields = index.fields if index.unique else ()
            wanted = tuple(values[name] for name in fields)
            if not fields or None in wanted:
                continue
            rows = self._fetch(table, self._statements.lookup(table, fields), wanted)
            if any(row[0] != document_id for row in rows):
                return taken(table, table.name, fields)
        return taken(table, table.name, ("_id",))


def columns_of(table: Table[Any]) -> tuple[str, ...]:
    """The columns of a row, in order."""
    return (ID_COLUMN, TIME_COLUMN, *table.columns)


def _unknown(error: Exception) -> ConvexHTTPError:
    translated = translate(error)
    if not isinstance(translated, UnavailableError):
        return translated
    return UnavailableError(f"{translated}. Whether the last write was made is not known", by_engine=True)
