"""One SQLite file in WAL mode: connections, reads and writes. The engine and the blob store have one each."""

from __future__ import annotations

import contextlib
import os
import stat
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from flask_convex_http.errors import ConvexHTTPError, EngineError, UnavailableError
from flask_convex_http.log import logger_of
from flask_convex_http.sqlite.checkpoints import LOG_BYTES, fold_log
from flask_convex_http.sqlite.connections import REPLACED, UNOPENED, Connection, Connections, sqlite3
from flask_convex_http.sqlite.durable_files import make_folder
from flask_convex_http.sqlite.open_files import OpenFiles, identity
from flask_convex_http.sqlite.writer import Writer

logger = logger_of("database")

T = TypeVar("T")

#: Defaults: the seconds for which a write waits, and the number of writes that may wait.
WRITE_TIMEOUT, WRITE_QUEUE = 10.0, 1000
_STATEMENTS_KEPT = 512
_REMEDY = (
    "the next request uses what is at the path. If nothing is there, restore a backup with `flask convex restore`, or "
    "create an empty database with `flask convex migrate`"
)


class SQLiteFile:
    """A SQLite file. It opens nothing before its first use, and only `create` creates it.

    Args:
        path: The path, on a local disk.
        translate: Returns the package's error for an error of the driver.
        synchronous: With "FULL" a commit is on the disk when it returns. With "NORMAL" a power cut, but not a crash of
            the process, may roll back the commits since the last checkpoint. With "OFF" a power cut may damage the
            file.
        page_bytes: The page size of a new file.
        timeout: Seconds for which a write waits for the writer.
        depth: The largest number of waiting writes of a process.
    """

    def __init__(
        self,
        path: Path,
        translate: Callable[[Exception], ConvexHTTPError],
        *,
        synchronous: str = "FULL",
        page_bytes: int = 4096,
        timeout: float = WRITE_TIMEOUT,
        depth: int = WRITE_QUEUE,
    ) -> None:
        self.path = path
        self.connections = Connections(self._connect, self._replaced)
        self._translate = translate
        self._synchronous = synchronous
        self._page_bytes = page_bytes
        self._timeout = timeout
        self._depth = depth
        self._writer = self._new_writer()
        _ALL.add(self)

    def create(self) -> None:
        """Create the file and its folder, unless they exist. Only their owner may use them.

        Raises:
            OSError: They cannot be created.
        """
        make_folder(self.path.parent)
        with contextlib.suppress(FileExistsError):
            # Not open(): closing a descriptor of the file would drop the locks of this process.
            os.mknod(self.path, 0o600 | stat.S_IFREG)

    def write(self, work: Callable[[Any], T], *, alone: bool = False, timeout: float | None = None) -> T:
        """Run work in a transaction and commit it; see `Writer.run`."""
        return self._writer.run(work, alone=alone, timeout=timeout)

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
            raise self._translate(error) from error

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.connections.close()
        self._writer.close()

    def _new_writer(self) -> Writer:
        return Writer(self.path, self.connections, self._translate, timeout=self._timeout, depth=self._depth)

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
            raise self._unusable(UNOPENED, self._reason(error)) from error
        try:
            connection.execute("PRAGMA wal_autocheckpoint = 0")  # see checkpoints
            connection.execute(f"PRAGMA page_size = {self._page_bytes}")
            self._write_ahead(connection)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
            connection.execute("PRAGMA temp_store = MEMORY")  # a savepoint must not need a file of its own
            connection.execute("PRAGMA schema_version").fetchone()  # opens the log
            connection.files = OpenFiles(self.path)
            if connection.files.database != found:
                raise self._unusable(REPLACED, f"{self.path} was replaced while it was opened")
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._translate(error) from error
            raise
        return connection

    def _reason(self, error: Exception) -> str:
        """Return why the file cannot be opened, for the operator."""
        if not self.path.exists():
            self.connections.generation += 1
            return f"{self.path} does not exist; {_REMEDY}"
        if self.path.is_file() and not os.access(self.path, os.R_OK | os.W_OK):
            return f"{self.path} cannot be opened: it is not writable for this user, or its file system is read-only"
        return f"{self.path} cannot be opened: {error}"

    def _replaced(self, connection: Connection | None) -> ConvexHTTPError:
        """Retire the connections if the files of this one are not in place, and return the error to raise.

        Args:
            connection: The connection, or None if retired ones are still in use.
        """
        if connection is None:
            return self._unusable(
                REPLACED, f"{self.path} was replaced, and a query still reads the old file; try again"
            )
        change, log = connection.files.change(), connection.files.lost_log()
        if log is not None and not fold_log(connection) and log == "missing":
            return self._unusable(REPLACED, f"{change}, and its commits could not be saved yet; no write is accepted")
        if change is not None and self.connections.retire(connection):
            self._writer.renew_lock()
            logger.error("%s while it was open; writes since then were not acknowledged, and %s", change, _REMEDY)
        return self._translate(sqlite3.OperationalError(REPLACED))

    def _unusable(self, text: str, detail: str) -> ConvexHTTPError:
        """Log the details of a failure for the operator, and return the error with a text for clients."""
        logger.error("%s", detail)
        error = self._translate(sqlite3.OperationalError(text))
        if isinstance(error, UnavailableError):
            error.detail = detail
        return error

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
