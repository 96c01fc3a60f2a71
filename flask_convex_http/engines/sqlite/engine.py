"""Documents in SQLite: transactions over the rows of one file.

The hot path is plain SQL; tables and indexes are made in `sqlite_schema` with sqlite-utils. Queries read a WAL
snapshot and never wait; mutations go through the file's writer. The driver's errors end here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from flask_convex_http.engines.base import Row
from flask_convex_http.engines.readiness import check_tables
from flask_convex_http.engines.sqlite.errors import translate
from flask_convex_http.engines.sqlite.statements import SQLiteStatements
from flask_convex_http.errors import ConfigurationError, EngineError
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.migrations import Migration, Step
from flask_convex_http.sqlite.backup import copy_to
from flask_convex_http.sqlite.connections import DRIVER_ERRORS, Connections, sqlite3, this_process
from flask_convex_http.sqlite.file import WRITE_QUEUE, WRITE_TIMEOUT, SQLiteFile, make_folder
from flask_convex_http.sqlite.restore import Restore
from flask_convex_http.sqlite.wakeups import Listener, notify

T = TypeVar("T")

_SYNCHRONOUS = {"full": "FULL", "normal": "NORMAL", "off": "OFF"}


class SQLiteEngine:
    """One SQLite file.

    Args:
        path: The database file; None for a temporary one that is gone when the engine is closed.
        schema: The tables to be there.
        durability: "full": a commit is on disk when it returns. "normal": a power cut may undo the commits since the
            last checkpoint. "off": for tests.
        writer_timeout: Seconds a mutation waits for its turn, in this process and then among processes.
        writer_queue: How many mutations of a process may wait.
    """

    is_concurrent = False

    def __init__(
        self,
        path: Path | None,
        schema: Schema,
        *,
        durability: str = "full",
        writer_timeout: float = WRITE_TIMEOUT,
        writer_queue: int = WRITE_QUEUE,
    ) -> None:
        folder = tempfile.mkdtemp(prefix="convex-") if path is None else None
        self.path = Path(folder, "convex.db") if folder else Path(path or "")
        self.schema = schema
        self._file = SQLiteFile(
            self.path,
            lambda error: translate(error, schema),
            synchronous=_SYNCHRONOUS[durability],
            timeout=writer_timeout,
            depth=writer_queue,
        )
        self._connections = self._file.connections
        self._statements = SQLiteStatements()
        self._ready = False
        self._remove_folder = weakref.finalize(self, _remove, folder, os.getpid()) if folder else None

    def read(self, *, restartable: bool = False) -> SQLiteSnapshot:
        """Open a snapshot, to be used in a with statement."""
        self._check_ready()
        return SQLiteSnapshot(self._connections, self._statements, self.schema)

    def lookup(self, table: Table[Any], /, _patience: float | None = None, **values: Any) -> Row | None:
        """The row that has these values in a unique index: one statement, which is a snapshot by itself."""
        self._check_ready()
        process = self._connections.here()
        connection = self._connections.take(process)
        try:
            row: Row | None = connection.execute(
                self._statements.lookup(table, tuple(values)), tuple(values.values())
            ).fetchone()
        except DRIVER_ERRORS as error:
            raise translate(error, self.schema) from error
        finally:
            self._connections.give(process, connection)
        return row

    def write(self, work: Callable[[SQLiteTransaction], T], *, patience: float | None = None) -> T:
        """Run work in one transaction and commit it durably."""
        self._check_ready()

        def run(connection: Any) -> T:
            transaction = SQLiteTransaction(connection, self._statements, self.schema)
            try:
                return work(transaction)
            finally:
                transaction.end()

        return self._file.write(run, patience=patience)

    def migrate(self, plan: Callable[[Migration], Sequence[Step]], *, dry_run: bool) -> list[Step]:
        """Ask for the steps and apply them, all in one transaction; answer the steps."""
        from flask_convex_http.engines.sqlite.schema import SQLiteSchema

        def run(connection: Any) -> list[Step]:
            with SQLiteSchema(connection, self.schema) as migration:
                steps = list(plan(migration))
                migration.finish(steps, dry_run=dry_run)
            return steps

        with self._file.translated():
            if dry_run and not self.path.exists():  # it must not make the file either
                with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as nothing:
                    return run(nothing)
            self._make_folder()
            steps = self._file.write(run, alone=True)
        self._ready = self._ready or not dry_run
        return steps

    def _make_folder(self) -> None:
        try:
            make_folder(self.path.parent)
        except OSError as error:
            raise ConfigurationError(f"The folder of the database {self.path} cannot be made: {error}") from error

    def notify(self) -> None:
        """Wake the workers of all processes."""
        notify(self.path)

    def listen(self) -> Listener:
        """Begin to be woken."""
        return Listener(self.path)

    def backup(self, path: Path, progress: Callable[[int, int], None] | None = None) -> None:
        """Write one consistent copy to a new file, in steps, while others write."""
        with self._file.lend() as source:
            copy_to(source, path, progress)

    def restore(self, path: Path) -> Restore:
        """Look into a copy, and answer what brings the database back to it."""
        from flask_convex_http.engines.sqlite.schema import SQLiteSchema

        def is_ours(copy: Any) -> bool:
            return bool(SQLiteSchema(copy, self.schema).stored_shape())

        self._ready = False
        with self._file.translated():
            return Restore(path, self._file, is_ours)

    def check(self) -> list[str]:
        """What is wrong with the file and the tables in it, a sentence each."""
        from flask_convex_http.engines.sqlite.check import check

        if not self.path.exists():  # to connect would make it
            check_tables(None, self.schema)
        with self._file.lend() as connection:
            return check(connection, self.schema)

    def close(self) -> None:
        """Close the idle connections."""
        self._file.close()
        if self._remove_folder is not None:
            self._remove_folder()

    def _check_ready(self) -> None:
        """Once a process: are the tables there? Asked at the first use, not when the app is made."""
        if self._ready:
            return
        from flask_convex_http.engines.sqlite.schema import SQLiteSchema

        there = self.path.exists()
        with self._file.lend() if there else contextlib.nullcontext() as connection:
            check_tables(SQLiteSchema(connection, self.schema) if connection else None, self.schema)
        self._ready = True


class _Reader:
    """Reads rows by one connection."""

    def __init__(self, connection: Any, statements: SQLiteStatements, schema: Schema) -> None:
        self._connection = connection
        self._statements = statements
        self._schema = schema
        self._streams: weakref.WeakSet[_Stream] | None = None

    def get(self, table: Table[Any], document_id: str) -> Row | None:
        try:
            row: Row | None = self._connection.execute(self._statements.get(table), (document_id,)).fetchone()
        except DRIVER_ERRORS as error:
            raise translate(error, self._schema) from error
        return row

    def select(self, table: Table[Any], segment: Segment, *, descending: bool, limit: int | None) -> list[Row]:
        sql, values = self._statements.scan(table, segment, descending, limit)
        try:
            rows: list[Row] = self._connection.execute(sql, values).fetchall()
        except DRIVER_ERRORS as error:
            raise translate(error, self._schema) from error
        return rows

    def claim(self, table: Table[Any], segment: Segment, *, limit: int) -> list[Row]:
        return self.select(table, segment, descending=False, limit=limit)  # there is one writer

    def count(self, table: Table[Any]) -> int:
        try:
            (rows,) = self._connection.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()
        except DRIVER_ERRORS as error:
            raise translate(error, self._schema) from error
        return int(rows)

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        sql, values = self._statements.scan(table, segment, descending, None)
        try:
            stream = _Stream(self._connection.execute(sql, values), self._schema)
        except DRIVER_ERRORS as error:
            raise translate(error, self._schema) from error
        if self._streams is None:
            self._streams = weakref.WeakSet()  # weak: a stream nobody reads any more is over
        self._streams.add(stream)
        return stream

    def end(self) -> None:
        """End the streams, and refuse all that is asked from now on."""
        self._connection = _OVER
        for stream in self._streams or ():
            stream.close()


class SQLiteSnapshot(_Reader):
    """A read transaction: one consistent view, taken at the first read.

    SQLite keeps a view for as long as a statement is under way, so a first `get` is simply not ended. For the many
    queries of one `get` that saves the statements that begin and end a transaction, and with each the moments in
    which Python lets other threads go first.
    """

    def __init__(self, connections: Connections, statements: SQLiteStatements, schema: Schema) -> None:
        super().__init__(_OVER, statements, schema)
        self._connections = connections
        self._first: Any = None

    def __enter__(self) -> SQLiteSnapshot:
        self._process = self._connections.here()
        self._own = self._connection = self._connections.take(self._process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection = _OVER
        if self._process.pid == this_process():  # or else fork() was called in here, and it is the parent's
            self.end()
            with contextlib.suppress(sqlite3.Error):  # a reader has nothing to lose
                self._end_view()
        self._connections.give(self._process, self._own)

    def get(self, table: Table[Any], document_id: str) -> Row | None:
        if self._first is not None:
            return super().get(table, document_id)
        try:
            self._first = self._connection.execute(self._statements.get_and_stay(table), (document_id,))
            row: Row = self._first.fetchone()
        except DRIVER_ERRORS as error:
            raise translate(error, self._schema) from error
        return None if row[0] is None else row

    def select(self, table: Table[Any], segment: Segment, *, descending: bool, limit: int | None) -> list[Row]:
        self._begin()
        return super().select(table, segment, descending=descending, limit=limit)

    def count(self, table: Table[Any]) -> int:
        self._begin()
        return super().count(table)

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        self._begin()
        return super().stream(table, segment, descending=descending)

    def _begin(self) -> None:
        if self._first is not None:
            return
        try:
            self._first = self._connection.execute("BEGIN")
        except DRIVER_ERRORS as error:
            raise translate(error, self._schema) from error

    def _end_view(self) -> None:
        if self._first is not None:
            self._first.close()
        if self._own.in_transaction:
            self._own.execute("ROLLBACK")


class SQLiteTransaction(_Reader):
    """A write transaction. The write lock is held from its start, so nothing it has read can change."""

    def insert(self, table: Table[Any], row: Row) -> None:
        self._write(self._statements.insert(table), row)

    def insert_all(self, table: Table[Any], rows: Sequence[Row]) -> None:
        for row in rows:
            self.insert(table, row)

    def update(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> bool:
        sql = self._statements.update(table, tuple(changes))
        return self._write(sql, (*changes.values(), document_id)) > 0

    def delete(self, table: Table[Any], document_id: str) -> bool:
        return self._write(self._statements.delete(table), (document_id,)) > 0

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        self._write("SAVEPOINT nested", ())
        try:
            yield
        except BaseException:
            self._refuse_if_undone()
            if not isinstance(self._connection, _Closed):
                self._write("ROLLBACK TO nested", ())
                self._write("RELEASE nested", ())
            raise
        self._write("RELEASE nested", ())

    def _write(self, sql: str, values: Sequence[Any]) -> int:
        try:
            for stream in self._streams or ():  # an open SELECT may or may not see a write; let it see none
                stream.detach()
            self._refuse_if_undone()
            count: int = self._connection.execute(sql, values).rowcount
        except DRIVER_ERRORS as error:
            self._refuse_if_undone()
            raise translate(error, self._schema) from error
        return count

    def _refuse_if_undone(self) -> None:
        """For want of space or memory SQLite undoes the whole transaction: what came next would be committed by itself,
        even if the function has caught the error."""
        if not self._connection.in_transaction:
            self._connection = _Closed("The database has undone the whole transaction")


class _Stream:
    """Rows of a SELECT as they are fetched, until something is written or the transaction ends."""

    def __init__(self, cursor: Any, schema: Schema) -> None:
        self._cursor = cursor
        self._rows: Iterator[Row] = cursor
        self._schema = schema
        self._detached = self._closed = False

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        if self._closed:
            raise EngineError("A query was read on after its function had ended; collect() it inside the function")
        try:
            return next(self._rows)
        except sqlite3.Error as error:
            raise translate(error, self._schema) from error

    def detach(self) -> None:
        """Fetch what is left, so that the SELECT is over."""
        if not self._detached and not self._closed:
            self._rows, self._detached = iter(self._cursor.fetchall()), True

    def close(self) -> None:
        """End the SELECT; an open one would keep its snapshot alive."""
        self._closed = True
        self._cursor.close()


class _Closed:
    """What a transaction has for a connection when it is over."""

    in_transaction = True  # so that there is one message for all that is tried

    def __init__(self, why: str) -> None:
        self._why = why

    def execute(self, *_: object) -> Any:
        raise EngineError(self._why)


_OVER = _Closed("ctx.db was used after its function had ended; it lives as long as the function")


def _remove(folder: str, pid: int) -> None:
    if pid == os.getpid():  # a child of fork() leaves the parent's files alone
        shutil.rmtree(folder, ignore_errors=True)
