"""One SQLite file in WAL mode: how its connections are opened, lent to readers, and written through.

The engine and the store of files each have one. What is in the file is their business.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from flask_convex_http.errors import ConvexHTTPError, EngineError
from flask_convex_http.sqlite.backup import sync
from flask_convex_http.sqlite.checkpoints import LOG_BYTES
from flask_convex_http.sqlite.connections import Connections, sqlite3
from flask_convex_http.sqlite.writer import Writer

T = TypeVar("T")

#: Seconds a write waits, and how many may wait, unless the deployment says otherwise.
WRITE_TIMEOUT, WRITE_QUEUE = 10.0, 1000
_STATEMENTS_KEPT = 512


class SQLiteFile:
    """A file; nothing is opened before the first use.

    Args:
        path: Where it is, on a local disk.
        translate: Makes the package's errors of the driver's.
        synchronous: "FULL": a commit is on the disk when it returns. "NORMAL": a power cut, not a crash of the
            process, may undo the commits since the last checkpoint. "OFF": a power cut may leave a broken file.
        page_bytes: The page size of a file that is made new.
        timeout: Seconds a write waits for its turn.
        depth: How many writes of a process may wait.
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
        self.connections = Connections(self._connect)
        self._translate = translate
        self._synchronous = synchronous
        self._page_bytes = page_bytes
        self._timeout = timeout
        self._depth = depth
        self._writer = self._new_writer()
        _ALL.add(self)

    def write(self, work: Callable[[Any], T], *, alone: bool = False, patience: float | None = None) -> T:
        """Run work in a transaction and commit it; see `Writer.run`."""
        return self._writer.run(work, alone=alone, patience=patience)

    @contextlib.contextmanager
    def lend(self) -> Iterator[Any]:
        """A connection to read from; the driver's errors in the block become the package's."""
        with self.translated(), self.connections.lend() as connection:
            yield connection

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the driver's errors into the package's."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._translate(error) from error

    def close(self) -> None:
        """Close what is open and not in use."""
        self.connections.close()
        self._writer.close()

    def _new_writer(self) -> Writer:
        return Writer(self.path, self.connections, self._translate, timeout=self._timeout, depth=self._depth)

    def start_in_child(self) -> None:
        """Begin anew in a child of fork(), where the writer's thread does not exist."""
        self._writer = self._new_writer()

    # --- opening -----------------------------------------------------------------------------------------------------

    def _connect(self) -> Any:
        try:
            connection = sqlite3.connect(
                self.path,
                timeout=self._timeout,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=_STATEMENTS_KEPT,
            )
        except sqlite3.Error as error:
            raise EngineError(f"SQLite: {error}: {self.path}") from error
        try:
            connection.execute("PRAGMA wal_autocheckpoint = 0")  # see sqlite_checkpoints
            connection.execute(f"PRAGMA page_size = {self._page_bytes}")
            self._write_ahead(connection)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
            connection.execute("PRAGMA temp_store = MEMORY")  # a savepoint must not need a file of its own
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._translate(error) from error
            raise
        return connection

    def _write_ahead(self, connection: Any) -> None:
        # SQLite does not wait for the change to WAL mode: of two processes that make a file, one would fail.
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


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they are still there after a power cut; SQLite sees to the files.

    Raises:
        OSError: It cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)


_ALL: weakref.WeakSet[SQLiteFile] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for file in list(_ALL):
        file.start_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
