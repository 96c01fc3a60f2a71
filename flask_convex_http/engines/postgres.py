"""Documents in PostgreSQL: serialisable transactions over the rows of one database, which many machines share.

A mutation is a SERIALIZABLE transaction, run again while it conflicts with others; a query reads a snapshot. The hot
path is plain SQL; tables and indexes are made in `postgres_schema`. The driver's errors end here.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from flask_convex_http.engines.base import Restore, Row
from flask_convex_http.engines.collisions import taken
from flask_convex_http.engines.postgres_attempts import Attempts, RunAgainError
from flask_convex_http.engines.postgres_connections import BEGIN_READ, Connections, PooledConnection, end, run
from flask_convex_http.engines.postgres_errors import DRIVER_ERRORS, is_conflict, is_lost, translate
from flask_convex_http.engines.postgres_notifications import Listener, notify
from flask_convex_http.engines.postgres_statements import PostgresStatements, guard_values
from flask_convex_http.engines.postgres_streams import Stream
from flask_convex_http.engines.postgres_values import Loading, refuse_too_long, stored
from flask_convex_http.engines.readiness import check_tables, waiting
from flask_convex_http.errors import ConvexHTTPError, EngineError, UnavailableError
from flask_convex_http.migrations import Migration, Step
from flask_convex_http.ranges import Segment
from flask_convex_http.schema import Schema, Table

T = TypeVar("T")

_BEGIN_WRITE = b"BEGIN ISOLATION LEVEL SERIALIZABLE"
_NO_FILE = "PostgreSQL is backed up with its own tools: pg_dump and pg_restore, or a standby and an archive of its log"


class PostgresEngine:
    """One PostgreSQL database.

    Args:
        url: The database, as libpq takes it.
        schema: The tables to be there.
        durability: "full": a commit is on disk when it returns. "normal": a power cut of the server may undo the
            last moments.
        timeout: Seconds a mutation waits for a connection, for the rows of others, and until it has not conflicted.
        connections: How many connections a process has at most.
        queue: How many threads of a process may wait for one.
    """

    def __init__(
        self,
        url: str,
        schema: Schema,
        *,
        durability: str = "full",
        timeout: float = 10.0,
        connections: int = 10,
        queue: int = 1000,
    ) -> None:
        self.schema = schema
        self._timeout = timeout
        self._connections = Connections(
            url, most=connections, queue=queue, timeout=timeout, is_durable=durability == "full"
        )
        self._attempts = Attempts(timeout)
        self._statements = PostgresStatements()
        self._loading = Loading()
        self._ready = False

    def read(self) -> PostgresSnapshot:
        """Open a snapshot, to be used in a with statement."""
        self._check_ready()
        return PostgresSnapshot(self)

    def lookup(self, table: Table[Any], **values: Any) -> Row | None:
        """The row that has these values in a unique index: one statement, which is a snapshot by itself."""
        self._check_ready()
        sql, end = self._statements.lookup(table, tuple(values)), time.monotonic() + self._timeout
        while True:
            connection = self._connections.take(max(end - time.monotonic(), 0.0))
            try:
                rows = connection.rows.execute(sql, stored(values.values())).fetchall()
                return self._loading.rows(table, rows)[0] if rows else None
            except DRIVER_ERRORS as error:
                if not is_lost(error, connection) or time.monotonic() > end:
                    raise translate(error) from error
                connection.close()
            finally:
                self._connections.give(connection)

    def write(self, work: Callable[[PostgresTransaction], T], *, patience: float | None = None) -> T:
        """Run work in one transaction and commit it durably; again, while it conflicts with others."""
        self._check_ready()
        is_hurried = patience is not None and patience < self._timeout

        def attempt(seconds: float, locks: bool) -> T:
            return self._write_once(work, seconds, is_hurried=is_hurried, locks=locks)

        return self._attempts.run(attempt, patience)

    def migrate(self, plan: Callable[[Migration], Sequence[Step]], *, dry_run: bool) -> list[Step]:
        """Ask for the steps and apply them, all in one transaction; answer the steps."""
        from flask_convex_http.engines.postgres_schema import migrate

        steps = migrate(self._connections, self.schema, plan, dry_run=dry_run)
        self._ready = self._ready or not dry_run
        return steps

    def notify(self) -> None:
        """Wake the workers of all processes and machines."""
        notify(self._connections)

    def listen(self) -> Listener:
        """Begin to be woken."""
        return Listener(self._connections)

    def backup(self, path: Path, progress: Callable[[int, int], None] | None = None) -> NoReturn:
        """Refuse: the server has better ways."""
        raise EngineError(_NO_FILE)

    def restore(self, path: Path) -> Restore:
        """Refuse: the server has better ways."""
        raise EngineError(_NO_FILE)

    def check(self) -> list[str]:
        """What is wrong with the tables, a sentence each; the pages are the server's business."""
        from flask_convex_http.engines.postgres_schema import PostgresSchema

        with self._connections.lend() as connection:
            return waiting(PostgresSchema(connection, self.schema), self.schema)

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def _write_once(
        self, work: Callable[[PostgresTransaction], T], seconds: float, *, is_hurried: bool, locks: bool
    ) -> T:
        begin = _BEGIN_WRITE
        if is_hurried:
            # Half: who waits for a row that others wait for waits for them first, and then for whoever holds it.
            begin += f"; SET LOCAL lock_timeout = {max(int(seconds * 500), 1)}".encode()
        transaction = PostgresTransaction(self, self._connections.begin(begin, seconds), locks=locks)
        try:
            result = work(transaction)
            transaction.commit()
        except Exception as error:
            transaction.undo()
            if transaction.conflict is not None:  # whatever the function has made of it
                raise RunAgainError(transaction.conflict) from error
            raise
        except BaseException:
            transaction.undo()
            raise
        finally:
            transaction.end()
        return result

    def _check_ready(self) -> None:
        """Once a process: are the tables there? Asked at the first use, not when the app is made."""
        if self._ready:
            return
        from flask_convex_http.engines.postgres_schema import PostgresSchema

        with self._connections.lend() as connection:
            check_tables(PostgresSchema(connection, self.schema), self.schema)
        self._ready = True


class _Reader:
    """Reads rows by one connection, in a transaction."""

    #: What a SELECT of rows ends with, those of streams apart: they are many.
    _ending = ""

    def __init__(self, engine: PostgresEngine) -> None:
        self._engine = engine
        self._statements = engine._statements
        self._loading = engine._loading
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
        rows = self._execute(f'SELECT count(*) FROM "{table.name}"', ()).fetchall()
        return int(rows[0][0])

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        sql, values = self._statements.scan(table, segment, descending, None)
        stream = Stream(partial(self._fetch, table), sql, values)
        if self._streams is None:
            self._streams = weakref.WeakSet()  # weak: a stream nobody reads any more is over
        self._streams.add(stream)
        return stream

    def _fetch(self, table: Table[Any], sql: str, values: Sequence[Any]) -> list[Row]:
        cursor = self._execute(sql, values)
        return self._loading.rows(table, cursor.fetchall()) if cursor.description else []

    def _execute(self, sql: str, values: Sequence[Any]) -> Any:
        connection = self._live()
        try:
            return connection.rows.execute(sql, stored(values))
        except DRIVER_ERRORS as error:
            raise self._failed(error) from error

    def _live(self) -> PooledConnection:
        """The connection, in its transaction."""
        if self._connection is None or self._is_over:
            raise EngineError("ctx.db was used after its function had ended; it lives as long as the function")
        return self._connection

    def _failed(self, error: Exception) -> ConvexHTTPError:
        return translate(error)

    def end(self) -> None:
        """Refuse all that is asked from now on, and give the connection back."""
        self._is_over = True
        for stream in self._streams or ():
            stream.close()
        if self._connection is not None:
            self._engine._connections.give(self._connection)


class PostgresSnapshot(_Reader):
    """A read transaction: one consistent view, taken at the first read."""

    def __enter__(self) -> PostgresSnapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            end(self._connection, b"COMMIT")
        self.end()

    def _live(self) -> PooledConnection:
        if self._connection is None and not self._is_over:
            self._connection = self._engine._connections.begin(BEGIN_READ)
        return super()._live()


class PostgresTransaction(_Reader):
    """A write transaction. What it has read is as if it were alone, or it is not committed.

    Attributes:
        conflict: Why it cannot be committed, but may be when it is run again.
    """

    def __init__(self, engine: PostgresEngine, connection: PooledConnection, *, locks: bool) -> None:
        super().__init__(engine)
        self._connection = connection
        self.conflict: ConvexHTTPError | None = None
        self._ending = " FOR UPDATE" if locks else ""
        self._error: ConvexHTTPError | None = None
        self._depth = 0
        self._ended = b""

    def insert(self, table: Table[Any], row: Row) -> None:
        names = ("_id", "_creation_time", *table.columns)
        refuse_too_long(table, dict(zip(names, row, strict=True)))
        if not self._write(self._statements.insert(table), row):
            raise self._collision(table, str(row[0]), dict(zip(names, row, strict=True)))

    def update(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> bool:
        refuse_too_long(table, dict(changes))
        sql = self._statements.update(table, tuple(changes))
        guards = guard_values(table, document_id, dict(changes))
        if self._write(sql, (*changes.values(), document_id, *guards)):
            return True
        row = self.get(table, document_id) if guards else None
        if row is None:
            return False
        there = dict(zip(("_id", "_creation_time", *table.columns), row, strict=True))
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
        return int(self._execute(sql, values).rowcount)

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
        self._error = None
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


def _unknown(error: Exception) -> ConvexHTTPError:
    translated = translate(error)
    if not isinstance(translated, UnavailableError):
        return translated
    return UnavailableError(f"{translated} Whether the last write was made is not known", by_engine=True)
