"""The SQLite engine: documents as rows of one file.

Queries read a snapshot and never wait. Mutations go through the file's writer, one at a time. The SQL of rows is in
`statements`, tables and indexes are made in `schema`. No error of the driver leaves this folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flask_convex_http.engines.base import DatabaseSize
from flask_convex_http.engines.readiness import UndescribedTable, check_tables, undescribed_tables
from flask_convex_http.engines.sqlite.errors import translate
from flask_convex_http.engines.sqlite.snapshots import SQLiteSnapshot
from flask_convex_http.engines.sqlite.statements import SQLiteStatements
from flask_convex_http.engines.sqlite.transactions import SQLiteTransaction
from flask_convex_http.engines.transaction import Row
from flask_convex_http.errors import ConfigurationError
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.migrations import Migration, MigrationStep
from flask_convex_http.sqlite.connections import DRIVER_ERRORS, sqlite3
from flask_convex_http.sqlite.file import WRITE_QUEUE, WRITE_TIMEOUT, SQLiteFile
from flask_convex_http.sqlite.key_locks import KeyLocks
from flask_convex_http.sqlite.mailbox import Mailbox
from flask_convex_http.sqlite.start_marker import StartMarker
from flask_convex_http.sqlite.wakeups import PipeListener, notify
from flask_convex_http.telemetry import Telemetry

if TYPE_CHECKING:
    from flask_convex_http.sqlite.backups import SQLiteBackups

T = TypeVar("T")

_SYNCHRONOUS = {"full": "FULL", "normal": "NORMAL", "off": "OFF"}


class SQLiteEngine:
    """One SQLite file.

    Args:
        path: The database file. None for a temporary one, which is removed when the engine is closed.
        schema: The tables that must exist.
        durability: "full": a commit is on disk when it returns. "normal": a power cut may undo the commits since the
            last checkpoint. "off": for tests.
        writer_timeout: Seconds that a mutation waits for its turn, in this process and then among processes.
        writer_queue: Maximum number of mutations of this process that wait.
        telemetry: Receives an event for each group commit.

    Attributes:
        path: The database file.
        notifications: Wakes the workers of all processes on this machine.
        start_marker: Marks the job that runs.
        mailbox: Keeps texts for other processes.
        key_locks: Locks keys among processes.
    """

    def __init__(
        self,
        path: Path | None,
        schema: Schema,
        *,
        durability: str = "full",
        writer_timeout: float = WRITE_TIMEOUT,
        writer_queue: int = WRITE_QUEUE,
        telemetry: Telemetry | None = None,
    ) -> None:
        folder = tempfile.mkdtemp(prefix="convex-") if path is None else None
        self.path = Path(folder, "convex.db") if folder else Path(path or "")
        self.schema = schema
        self.notifications = SQLiteNotifications(self.path)
        self.start_marker = StartMarker(self.path)
        self.mailbox = Mailbox(self.path)
        self.key_locks = KeyLocks(self.path)
        self._file = SQLiteFile(
            self.path,
            lambda error: translate(error, schema),
            synchronous=_SYNCHRONOUS[durability],
            timeout=writer_timeout,
            depth=writer_queue,
            telemetry=telemetry,
        )
        self._connections = self._file.connections
        self._translate = self._file.translate
        self._statements = SQLiteStatements()
        self._ready: int | None = None  # the generation of connections whose file has the tables
        self._remove_folder = weakref.finalize(self, _remove, folder, os.getpid()) if folder else None

    @property
    def backups(self) -> SQLiteBackups:
        """Makes and restores backups of the file."""
        from flask_convex_http.engines.sqlite.tables import SQLiteTables
        from flask_convex_http.sqlite.backups import SQLiteBackups

        def has_tables(connection: Any) -> bool:
            return bool(SQLiteTables(connection, self.schema).stored_shape())

        path = None if self._remove_folder is not None else self.path
        return SQLiteBackups(self._file, path, has_tables, self._expect_changes)

    def read(self, query: Callable[[SQLiteSnapshot], T]) -> T:
        """Run a query on one snapshot and return its result."""
        if self._ready != self._connections.generation:
            self._check_ready()
        snapshot = SQLiteSnapshot(self._connections, self._statements, self._translate).__enter__()
        try:  # a with statement would take longer
            return query(snapshot)
        finally:
            snapshot.close()

    def snapshot(self) -> SQLiteSnapshot:
        """Open a snapshot that lasts as long as a `with` statement."""
        if self._ready != self._connections.generation:
            self._check_ready()
        return SQLiteSnapshot(self._connections, self._statements, self._translate)

    def lookup(self, table: Table[Any], values: Mapping[str, Any], *, timeout: float | None = None) -> Row | None:
        """Return the row that has these values in a unique index, or None. A read never waits, so no timeout ends."""
        self._check_ready()
        process = self._connections.process
        connection = self._connections.take(process)
        try:
            row: Row | None = connection.execute(
                self._statements.lookup(table, tuple(values)), tuple(values.values())
            ).fetchone()
        except DRIVER_ERRORS as error:
            raise self._translate(error) from error
        finally:
            self._connections.give(process, connection)
        return row

    def version(self) -> tuple[int, bytes] | None:
        """Return a value that differs after each commit of any process, or None if a read has to be made."""
        return self._connections.version()

    def write(self, work: Callable[[SQLiteTransaction], T], *, timeout: float | None = None) -> T:
        """Run work in one transaction and commit it durably."""
        self._check_ready()

        def run(connection: Any) -> T:
            transaction = SQLiteTransaction(connection, self._statements, self._translate)
            late_rows = connection.late_rows
            mark = late_rows.mark()
            try:
                return work(transaction)
            except BaseException:
                late_rows.roll_back(mark)
                raise
            finally:
                transaction.end()

        return self._file.write(run, timeout=timeout)

    def settled_commit(self) -> None:
        """Return None, since commits become visible in the order of their numbers."""

    def oldest_wait(self) -> float:
        """Return the seconds for which the oldest waiting write of this process has waited, or 0."""
        return self._file.oldest_wait()

    def is_read_only(self, *, timeout: float | None = None) -> bool:
        """Return whether this process may not write to the file or its folder, which has the log."""
        return not all(os.access(place, os.W_OK) for place in (self.path.parent, self.path))

    def count(self, table: Table[Any], segment: Segment, limit: int, *, timeout: float | None = None) -> int:
        """Return the number of rows in a segment, or the limit. A read never waits, so no timeout ends."""
        self._check_ready()
        with self._file.lend() as connection:
            (rows,) = connection.execute(*self._statements.count(table, segment, limit)).fetchone()
        return int(rows)

    def size(self, *, timeout: float | None = None) -> DatabaseSize:
        """Return the bytes of the file and of its log."""
        return DatabaseSize(_bytes_of(self.path), _bytes_of(self.path.with_name(f"{self.path.name}-wal")))

    def migrate(self, plan: Callable[[Migration], Sequence[MigrationStep]], *, dry_run: bool) -> list[MigrationStep]:
        """Apply the steps that `plan` returns in one transaction, and return them."""
        from flask_convex_http.engines.sqlite.schema import SQLiteMigration

        def run(connection: Any) -> list[MigrationStep]:
            with SQLiteMigration(connection, self.schema) as migration:
                steps = list(plan(migration))
                migration.finish(steps, dry_run=dry_run)
            return steps

        if dry_run and not self.path.exists():  # a dry run must not create the file
            with (
                self._file.translated(),
                contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as empty,
            ):
                return run(empty)
        with self._file.translated():
            self._create_file()
            steps = self._file.write(run, alone=True)
        if not dry_run:
            self._ready = None  # the order of rows may have changed
        return steps

    def check(self) -> list[str]:
        """Return the problems of the file and its tables."""
        from flask_convex_http.engines.sqlite.check import check

        if not self.path.exists():  # a connection would create it
            check_tables(None, self.schema, self.path)
        with self._file.lend() as connection:
            return check(connection, self.schema)

    def undescribed_tables(self) -> list[UndescribedTable]:
        """Return the tables that earlier schemas had and that have rows, but no class now."""
        from flask_convex_http.engines.sqlite.tables import SQLiteTables

        if not self.path.exists():  # a connection would create it
            check_tables(None, self.schema, self.path)
        with self._file.translated(), self._file.lend() as connection:
            return undescribed_tables(SQLiteTables(connection, self.schema), self.schema)

    def ordered_by_time(self) -> frozenset[str]:
        """Return the names of the tables whose rows are ordered by creation time."""
        self._check_ready()
        return self._statements.by_time

    def close(self) -> None:
        """Close the idle connections, and remove the file if it is temporary."""
        self._file.close()
        self.start_marker.close()
        self.key_locks.close()
        if self._remove_folder is not None:
            self._remove_folder()

    def _create_file(self) -> None:
        try:
            self._file.create()
        except OSError as error:
            raise ConfigurationError(f"The database {self.path} cannot be created: {error}") from error

    def _check_ready(self) -> None:
        """Check that the tables exist, at the first use and after the file was replaced."""
        generation = self._connections.generation
        if self._ready == generation:
            return
        from flask_convex_http.engines.sqlite.tables import SQLiteTables

        exists = self.path.exists()
        with self._file.lend() if exists else contextlib.nullcontext() as connection:
            tables = SQLiteTables(connection, self.schema) if connection else None
            self._statements.order_by_time(check_tables(tables, self.schema, self.path))
        self._ready = generation

    def _expect_changes(self) -> None:
        self._ready = None


class SQLiteNotifications:
    """Wakes the workers of all processes on this machine, by named pipes beside the file.

    Args:
        path: The database file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def notify(self) -> None:
        """Wake every listener. Best effort."""
        notify(self._path)

    def listen(self) -> PipeListener:
        """Start to listen."""
        return PipeListener(self._path)


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # there is none, or not any more
        return 0


def _remove(folder: str, pid: int) -> None:
    if pid == os.getpid():  # a child of fork() must not remove the parent's files
        shutil.rmtree(folder, ignore_errors=True)
