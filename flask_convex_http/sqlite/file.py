"""One SQLite file in WAL mode: connections, reads and writes. The engine and the blob store have one each."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from flask_convex_http.errors import ConvexHTTPError, EngineError, UnavailableError
from flask_convex_http.log import logger_of
from flask_convex_http.sqlite.checkpoints import LOG_BYTES, Checkpoints, fold_log
from flask_convex_http.sqlite.connections import REPLACED, Connection, Connections, is_damage, sqlite3
from flask_convex_http.sqlite.durable_files import make_folder
from flask_convex_http.sqlite.late_rows import LateRows
from flask_convex_http.sqlite.open_files import OpenFiles, identity
from flask_convex_http.sqlite.rights import create_private
from flask_convex_http.sqlite.shared_lock import SharedLock
from flask_convex_http.sqlite.writer import Writer
from flask_convex_http.telemetry import Telemetry

logger = logger_of("database")

T = TypeVar("T")

#: Defaults: the seconds for which a write waits, and the number of writes that may wait.
WRITE_TIMEOUT, WRITE_QUEUE = 10.0, 1000
_STATEMENTS_KEPT = 512
#: A part of the detail of an error about a damaged file.
DAMAGED = "is damaged or no database"
_REMEDY = "restore a backup with `flask convex restore`, or create an empty database with `flask convex migrate`"


class SQLiteFile:
    """A SQLite file. It opens nothing before its first use, and only `create` creates it.

    Args:
        path: The path, on a local disk.
        translate: Returns the package's error for an error of the driver.
        synchronous: With "FULL" a commit is on the disk when it returns. With "NORMAL" a power cut, but not a crash of
            the process, may roll back the commits since the last checkpoint. With "OFF" a power cut may damage the
            file.
        page_bytes: The page size of a new file.
        can_shrink: Whether a new file can give the space of deleted rows back in steps (incremental vacuum).
        timeout: Seconds for which a write waits for the writer.
        depth: The largest number of waiting writes of a process.
        telemetry: Receives an event for each group commit; None for no events.
    """

    def __init__(
        self,
        path: Path,
        translate: Callable[[Exception], ConvexHTTPError],
        *,
        synchronous: str = "FULL",
        page_bytes: int = 4096,
        can_shrink: bool = False,
        timeout: float = WRITE_TIMEOUT,
        depth: int = WRITE_QUEUE,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.path = path
        self.connections = Connections(self._connect, partial(SharedLock, path, can_shrink=can_shrink), self._replaced)
        self._to_error = translate
        self._synchronous = synchronous
        self._page_bytes = page_bytes
        self._can_shrink = can_shrink
        self._timeout = timeout
        self._depth = depth
        self._telemetry = telemetry or Telemetry()
        self._writer = self._new_writer()
        self._has_reported = False
        _ALL.add(self)

    def create(self) -> None:
        """Create the file and its folder, unless they exist. Only their owner may use them.

        Raises:
            OSError: They cannot be created.
        """
        make_folder(self.path.parent)
        with contextlib.suppress(FileExistsError):
            create_private(self.path)

    def write(self, work: Callable[[Any], T], *, alone: bool = False, timeout: float | None = None) -> T:
        """Run work in a transaction and commit it; see `Writer.run`."""
        return self._writer.run(work, alone=alone, timeout=timeout)

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file, which is then cut to its present size."""

        def run(connection: Any) -> None:
            with self.connections.lend() as other:
                Checkpoints(self.path).make(connection, other)

        self.write(run, alone=True)

    @contextlib.contextmanager
    def lend(self) -> Iterator[Any]:
        """Lend a connection for reading. Errors of the driver in the block become the package's."""
        with self.translated(), self.connections.lend() as connection:
            yield connection

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Translate errors of the driver in the block into the package's."""
        try:
            yield
        except sqlite3.Error as error:
            raise self.translate(error) from error

    def oldest_wait(self) -> float:
        """Return the seconds for which the oldest waiting write of this process has waited, or 0."""
        return self._writer.oldest_wait()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.connections.close()
        self._writer.close()

    def _new_writer(self) -> Writer:
        return Writer(
            self.path,
            self.connections,
            self.translate,
            timeout=self._timeout,
            depth=self._depth,
            telemetry=self._telemetry,
        )

    def start_in_child(self) -> None:
        """Start without connections and without a writer thread in a child of fork()."""
        self._writer = self._new_writer()

    # --- opening -----------------------------------------------------------------------------------------------------

    def _connect(self) -> Connection:
        found = identity(self.path)
        try:
            connection: Connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=rw",  # a missing file is not created
                uri=True,
                timeout=self._timeout,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=_STATEMENTS_KEPT,
                factory=Connection,
            )
        except sqlite3.Error as error:
            if found is None:
                self.connections.generation += 1  # its tables have to be looked at again
            raise self.translate(error) from error
        try:
            self._configure(connection)
            connection.files, connection.late_rows = OpenFiles(self.path), LateRows()
            if connection.files.database != found:
                raise sqlite3.OperationalError(REPLACED)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise self.translate(error) from error
            raise
        return connection

    def _configure(self, connection: Connection) -> None:
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # see checkpoints
        connection.execute(f"PRAGMA page_size = {self._page_bytes}")
        if self._can_shrink:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._write_ahead(connection)
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        connection.execute("PRAGMA temp_store = MEMORY")  # a savepoint must not need a file of its own
        connection.execute("PRAGMA schema_version").fetchone()  # opens the log

    def _replaced(self, connection: Connection | None) -> ConvexHTTPError:
        """Retire the connections if the files of this one are not in place, and return the error to raise.

        Args:
            connection: The connection, or None if retired ones are still in use.
        """
        error = self._to_error(sqlite3.OperationalError(REPLACED))
        change = connection and connection.files.change()
        if connection is None or change is None:
            self._report_other_content()
            return error
        log = connection.files.lost_log()
        if log is not None and not fold_log(connection) and log == "missing":
            logger.error("%s while it was open; its commits cannot be saved yet, and no write is accepted", change)
        elif self.connections.retire(connection):
            self._writer.renew_lock()
            logger.error(
                "%s while it was open. Writes since then were not acknowledged, and the next request uses what is at "
                "the path. If nothing is there, %s",
                change,
                _REMEDY,
            )
        return error

    def _report_other_content(self) -> None:
        """Log once that the content of the file was replaced. A restart is needed, so the connections stay."""
        if self._has_reported or not self.connections.process.has_other_content():
            return
        self._has_reported = True
        logger.error(
            "The content of %s was replaced while it was open, and the log beside it belongs to the old one. No write "
            "is accepted. Stop the app, delete the files -wal and -shm, put the copy there again, and start the app. "
            "Next time use `flask convex restore`, which works while the app runs",
            self.path,
        )

    def translate(self, error: Exception) -> ConvexHTTPError:
        """Return the package's error for one of the driver's, with the path and the cause for the operator."""
        translated = self._to_error(error)
        if isinstance(translated, UnavailableError):
            translated.detail = translated.detail or self._cause(error)
        return translated

    def _cause(self, error: Exception) -> str:
        if not self.path.exists():
            return f"{self.path} does not exist; {_REMEDY}"
        if is_damage(error):
            return (
                f"{self.path} {DAMAGED}; `flask convex check` looks for the damage, and `flask convex "
                "restore` restores a backup"
            )
        for place in (self.path.parent, self.path):
            if not os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                is_read_only = os.statvfs(place).f_flag & os.ST_RDONLY
                cause = "is on a read-only file system" if is_read_only else "cannot be written by the user of the app"
                return f"{place} {cause}; SQLite writes the database and files beside it"
        return f"{self.path}: {error}"

    def _write_ahead(self, connection: Any) -> None:
        # SQLite does not wait for the change to WAL mode, so the second of two processes that create a file would fail.
        end = time.monotonic() + self._timeout
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.005)
        if mode != "wal":
            raise EngineError(f"{self.path} cannot use a write-ahead log: put it on a local disk")


_ALL: weakref.WeakSet[SQLiteFile] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for file in list(_ALL):
        file.start_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
