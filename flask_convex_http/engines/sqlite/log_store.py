"""The log store beside a SQLite database: a file of its own, which no commit of the application waits for.

It is not synced. A power cut may damage it, and a damaged file or one of another release is replaced by an empty one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from flask_convex_http.engines.log_store import LogSegment, LogSegmentFilter, select
from flask_convex_http.errors import ConvexHTTPError, EngineError, OverloadedError
from flask_convex_http.log import logger_of
from flask_convex_http.sqlite.connections import is_damage, sqlite3
from flask_convex_http.sqlite.file import SQLiteFile
from flask_convex_http.telemetry.records import CounterKey

logger = logger_of("database")

#: The version of the tables. A file of another version is replaced.
_VERSION = 2
_CREATE = (
    "CREATE TABLE IF NOT EXISTS segments (last INTEGER PRIMARY KEY, size INTEGER NOT NULL, level INTEGER NOT NULL,"
    " content BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS counters (minute INTEGER NOT NULL, name TEXT NOT NULL, label TEXT NOT NULL, value REAL"
    " NOT NULL, PRIMARY KEY (minute, name, label)) WITHOUT ROWID",
    f"PRAGMA user_version = {_VERSION}",
)
_NEWEST = "SELECT coalesce(max(last), 0) FROM segments"
_INSERT = f"INSERT INTO segments (last, size, level, content) VALUES (({_NEWEST}) + ?, ?, ?, ?)"
#: Counters of one statement. A statement for each would release and acquire Python's lock, for which requests wait.
_CHUNK = 100
_COUNT = "INSERT INTO counters (minute, name, label, value) VALUES "
_ADD = " ON CONFLICT (minute, name, label) DO UPDATE SET value = value + excluded.value"


class _DamagedError(EngineError):
    """The file is damaged, or has the tables of another release."""


class SQLiteLogStore:
    """Log records in a SQLite file.

    Args:
        path: The file. None for a temporary one, which is removed when the store is closed.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._open: SQLiteFile | None = None
        self._ready: int | None = None  # the generation of connections whose file has the tables
        self._remove_folder: Any = None

    def create(self) -> None:
        """See `LogStore`."""
        file = self._file()
        try:
            file.create()
        except OSError as error:
            raise EngineError(f"{file.path} cannot be created: {error}") from error
        with file.translated():
            file.write(_create_tables)
        self._ready = file.connections.generation

    def append(
        self, segment: LogSegment | None, counters: Mapping[CounterKey, float], *, keep: int, since: int
    ) -> None:
        """See `LogStore`."""

        def work(connection: Any) -> None:
            if segment is not None:
                connection.execute(_INSERT, (segment.size, *segment[1:]))
                connection.execute(f"DELETE FROM segments WHERE last <= ({_NEWEST}) - ?", (keep,))
            _count(connection, counters)
            connection.execute("DELETE FROM counters WHERE minute < ?", (since,))

        try:
            self._write(work)
        except _DamagedError as error:
            logger.warning("%s, and is replaced by an empty one", error)
            self._start_over()
            self._write(work)

    def read(self, wanted: LogSegmentFilter) -> list[LogSegment]:
        """See `LogStore`."""
        sql, values = select("segments", wanted, "?", "instr(content, ?) > 0")
        return [LogSegment(*row) for row in self._read(sql, values)]

    def newest(self) -> int:
        """See `LogStore`."""
        rows = self._read(_NEWEST, ())
        return int(rows[0][0]) if rows else 0

    def counters(self, since: int, until: int) -> list[tuple[int, str, str, float]]:
        """See `LogStore`."""
        sql = "SELECT minute, name, label, value FROM counters WHERE minute >= ? AND minute < ? ORDER BY minute"
        return [(minute, name, label, value) for minute, name, label, value in self._read(sql, (since, until))]

    def close(self) -> None:
        """See `LogStore`."""
        if self._open is not None:
            self._open.close()
        if self._remove_folder is not None:
            self._remove_folder()
            self._open, self._ready = None, None

    def _file(self) -> SQLiteFile:
        if self._open is None:
            path = self._path
            if path is None:
                folder = tempfile.mkdtemp(prefix="convex-logs-")
                self._remove_folder = weakref.finalize(self, _remove, folder, os.getpid())
                path = Path(folder, "logs.db")
            self._open = SQLiteFile(path, _translate, synchronous="OFF")
        return self._open

    def _write(self, work: Any) -> None:
        file = self._file()
        if self._ready != file.connections.generation or not file.path.exists():
            self.create()
        with file.translated():
            file.write(work)

    def _read(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """Return rows. A file that is not there, or not what it should be, has none."""
        file = self._file()
        if not file.path.exists():  # a connection would not create it
            return []
        with contextlib.suppress(_DamagedError), file.lend() as connection:
            rows: list[Any] = connection.execute(sql, values).fetchall()
            return rows
        return []

    def _start_over(self) -> None:
        file = self._file()
        file.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{file.path}{suffix}").unlink(missing_ok=True)
        self._open, self._ready = None, None
        self._path = file.path


def _create_tables(connection: Any) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        raise _DamagedError("The log store has the tables of another release")
    for statement in _CREATE:
        connection.execute(statement)


def _count(connection: Any, counters: Mapping[CounterKey, float]) -> None:
    rows = [(*key, value) for key, value in counters.items()]
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        sql = _COUNT + ", ".join(["(?, ?, ?, ?)"] * len(chunk)) + _ADD
        connection.execute(sql, list(chain.from_iterable(chunk)))


def _translate(error: Exception) -> ConvexHTTPError:
    text = str(error)
    if "locked" in text:
        return OverloadedError("The log store is busy: try again in a moment")
    is_other = isinstance(error, sqlite3.OperationalError) and text.startswith(("no such table", "no such column"))
    if is_damage(error) or is_other:
        return _DamagedError(f"The log store is damaged ({text})")
    return EngineError(f"The log store failed: {text}")


def _remove(folder: str, pid: int) -> None:
    if os.getpid() == pid:  # a forked child does not own the folder
        shutil.rmtree(folder, ignore_errors=True)
