"""Restores a SQLite file from a backup.

A sound file is restored in one transaction like any other: readers continue, and a crash leaves the old content. A
missing or damaged file is replaced as a whole by a rename, and the old one is kept.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from flask_convex_http.errors import EngineError, OverloadedError
from flask_convex_http.sqlite.connections import is_damage, sqlite3
from flask_convex_http.sqlite.durable_files import file_errors, make_folder, rename_durably
from flask_convex_http.sqlite.file import SQLiteFile
from flask_convex_http.sqlite.integrity import faults
from flask_convex_http.sqlite.page_copy import PAGES, Progress, copy_pages, driver_progress
from flask_convex_http.sqlite.process_lock import ProcessLock
from flask_convex_http.sqlite.unfinished import new_file

#: The bytes of a database file that every open connection locks (PENDING_BYTE in SQLite's os.h).
_LOCKED_FROM, _LOCKED_BYTES = 0x40000000, 512
_MAGIC = b"SQLite format 3\0"
#: The byte of a database's header with its read format, and its value for a write-ahead log.
_READ_VERSION, _THROUGH_LOG = 19, b"\2"
_BESIDE = ("-wal", "-shm", "-journal")


class Restore:
    """A restore of a file from a backup: inspected when it is made, done by `run`.

    Args:
        copy: The backup.
        file: The file, which may be missing.
        is_ours: Returns whether a connection's tables belong into the file.

    Attributes:
        rows: The number of rows of the backup.
        replaces: The number of rows that they replace, or None if the file is damaged.

    Raises:
        EngineError: The backup is not a sound copy of such a file. Nothing was changed.
    """

    def __init__(self, copy: Path, file: SQLiteFile, is_ours: Callable[[Any], bool]) -> None:
        path = file.path
        self._copy, self._file, self._path = copy, file, path
        with _opened(copy, path) as source:
            found = faults(source)
            if found:
                raise EngineError(f"{copy} is damaged ({found[0]}); use another backup")
            if not is_ours(source):
                raise EngineError(f"{copy} is a database, but not a backup of {path.name}; use another file")
            self.rows = _rows(source)
        self.replaces, self._page_bytes = _state(path)

    def run(self, progress: Progress | None = None) -> Path | None:
        """Restore the file. A sound file is restored in one transaction, during reads.

        A missing or damaged file is replaced as a whole, and must not be in use.

        Returns:
            The new path of a damaged file, or None.

        Raises:
            OverloadedError: Other writes did not end in time.
            EngineError: The file is damaged and in use, or cannot be written. Nothing was changed.
        """
        with _opened(self._copy, self._path) as source:
            if self._page_bytes is None:
                self._file.close()
                return self._put_into_place(source, progress)
            with self._resized(source) as fitting, self._file.translated():
                # SQLite holds the write lock from the first step to the last, so this is one transaction.
                overwrite = partial(fitting.backup, pages=PAGES, progress=driver_progress(progress), sleep=0)
                self._file.write(overwrite, alone=True)
        return None

    def _put_into_place(self, source: Any, progress: Progress | None) -> Path | None:
        with file_errors(self._path):
            make_folder(self._path.parent)
        with _taken(self._path), new_file(self._path) as copy:
            copy_pages(source, copy, progress)
            aside = _move_aside(self._path, copy)
            rename_durably(copy, self._path)
        return aside

    @contextlib.contextmanager
    def _resized(self, source: Any) -> Iterator[Any]:
        """Return the backup in pages of the file's size, which SQLite requires."""
        if _pragma(source, "page_size") == self._page_bytes:
            yield source
            return
        with new_file(self._path) as path:
            copy_pages(source, path, None)
            with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
                connection.execute(f"PRAGMA page_size = {self._page_bytes}")
                connection.execute("VACUUM")
                yield connection


# --- looking ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(copy: Path, path: Path) -> Iterator[Any]:
    """Yield a read-only connection to a backup, which another thread may use.

    Raises:
        EngineError: The backup is not a database, or is the file itself.
    """
    _refuse(copy, path)
    options = "mode=ro&immutable=1" if _needs_log(copy) else "mode=ro"
    try:
        with closing(_connect(copy, options)) as connection:
            yield connection
    except sqlite3.OperationalError as error:
        raise EngineError(f"{copy} cannot be restored: {error}") from error


def _refuse(copy: Path, path: Path) -> None:
    if not copy.is_file():
        raise EngineError(f"{copy} {'is not a file' if copy.exists() else 'does not exist'}; name a backup")
    if path.exists() and copy.samefile(path):
        raise EngineError(f"{copy} is the database in use itself; name a backup of it")
    if _header(copy)[: len(_MAGIC)] != _MAGIC:
        raise EngineError(f"{copy} is not a SQLite database; name a backup")


def _needs_log(copy: Path) -> bool:
    """Return whether SQLite would create a log beside the backup only to read it, as for a copy made by other means."""
    return _header(copy)[_READ_VERSION : _READ_VERSION + 1] == _THROUGH_LOG and not Path(f"{copy}-wal").exists()


def _header(copy: Path) -> bytes:
    try:
        with copy.open("rb") as file:
            return file.read(100)
    except OSError as error:
        raise EngineError(f"{copy} cannot be read: {error}") from error


def _connect(path: Path, options: str) -> Any:
    address = f"{path.absolute().as_uri()}?{options}"
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)


def _state(path: Path) -> tuple[int | None, int | None]:
    """Return the number of rows of the file, None if it is damaged, and its page size, None if it must be replaced."""
    if not path.exists():
        return 0, None
    try:
        # Read only: the last connection to close would checkpoint the log into the file, even into a damaged one.
        with closing(_connect(path, "mode=ro")) as connection:
            return _looked_at(connection)
    except sqlite3.OperationalError as error:
        raise EngineError(f"{path} cannot be looked at: {error}") from error


def _looked_at(connection: Any) -> tuple[int | None, int | None]:
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return None, None
        raise
    page_bytes = _pragma(connection, "page_size")
    try:
        return _rows(connection), page_bytes
    except sqlite3.DatabaseError as error:
        if is_damage(error):  # damage within pages, which are replaced one by one
            return None, page_bytes
        raise


def _rows(connection: Any) -> int:
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*' "
        "AND sql NOT LIKE 'CREATE VIRTUAL%'"
    ).fetchall()
    return sum(connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in tables)


def _pragma(connection: Any, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


# --- replacing a file that is missing or damaged ---------------------------------------------------------------------


@contextlib.contextmanager
def _taken(path: Path) -> Iterator[None]:
    """Exclude all other connections and writers of the file during the block."""
    lock = ProcessLock(path)
    try:
        if not lock.try_acquire():
            raise OverloadedError(f"Another process is writing to {path}; stop the app and try again")
        with _locked_bytes(path):
            yield
    finally:
        lock.close()


@contextlib.contextmanager
def _locked_bytes(path: Path) -> Iterator[None]:
    """Hold SQLite's own locks on an existing file."""
    if not path.exists():
        yield
        return
    with file_errors(path), path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCKED_BYTES, _LOCKED_FROM)
        except BlockingIOError:
            raise EngineError(
                f"{path} is damaged, and another process has it open; stop the app and try again"
            ) from None
        yield


def _move_aside(path: Path, successor: Path) -> Path | None:
    """Rename the file, with the files beside it, and give the successor its owner and mode.

    A log that stays behind would be treated as the successor's.
    """
    time = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}"
    aside = path.with_name(f"{path.name}.damaged-{time}")
    there = [end for end in (*_BESIDE, "") if os.path.lexists(f"{path}{end}")]
    if any(os.path.lexists(f"{aside}{end}") for end in there):
        raise EngineError(f"{aside} exists already; try again in a second")
    if path.exists():
        _copy_rights(path, successor)
    for end in there:
        os.rename(f"{path}{end}", f"{aside}{end}")
    return aside if there else None


def _copy_rights(old: Path, new: Path) -> None:
    shutil.copymode(old, new)
    owner = old.stat()
    with contextlib.suppress(PermissionError):  # only root can change the owner
        os.chown(new, owner.st_uid, owner.st_gid)
