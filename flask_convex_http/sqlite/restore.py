"""Bringing a SQLite file back to a copy of it.

Where the file is sound this is one transaction like any other: who reads goes on reading, and a crash in the middle
leaves what was there. A file that is missing or damaged is replaced as a whole, by a rename, and nothing is deleted.
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
from flask_convex_http.sqlite.backup import (
    PAGES,
    Progress,
    copy_pages,
    faults,
    file_errors,
    into_place,
    is_damage,
    new_file,
    told,
)
from flask_convex_http.sqlite.connections import sqlite3
from flask_convex_http.sqlite.file import SQLiteFile, make_folder
from flask_convex_http.sqlite.process_lock import FileLock

#: The bytes of a database file that everybody who has it open keeps locked (PENDING_BYTE in SQLite's os.h).
_LOCKED_FROM, _LOCKED_BYTES = 0x40000000, 512
_MAGIC = b"SQLite format 3\0"
#: The byte of a database's header that says whether it is read through a write-ahead log, and then what it is.
_READ_VERSION, _THROUGH_LOG = 19, b"\2"
_BESIDE = ("-wal", "-shm", "-journal")


class Restore:
    """Bringing a file back to a copy: looked into when it is made, done by `run`.

    Args:
        copy: The copy.
        file: The file, which need not be there.
        is_ours: Whether a connection leads to tables that belong into the file.

    Attributes:
        rows: How many rows the copy has.
        replaces: How many rows they replace; None if the file is damaged.

    Raises:
        EngineError: The copy is not a sound copy of such a file; nothing was changed.
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
        """Do it: in one transaction, while others read, where the file is sound.

        A file that is missing or damaged is replaced as a whole, which needs it for itself.

        Returns:
            Where the damaged file was put, or None.

        Raises:
            OverloadedError: Somebody else did not stop writing.
            EngineError: The file is damaged and in use, or it cannot be written; nothing was changed.
        """
        with _opened(self._copy, self._path) as source:
            if self._page_bytes is None:
                self._file.close()
                return self._put_into_place(source, progress)
            with self._resized(source) as fitting, self._file.translated():
                # SQLite holds the write lock from the first step to the last: it is one transaction.
                overwrite = partial(fitting.backup, pages=PAGES, progress=told(progress), sleep=0)
                self._file.write(overwrite, alone=True)
        return None

    def _put_into_place(self, source: Any, progress: Progress | None) -> Path | None:
        with file_errors(self._path):
            make_folder(self._path.parent)
        with _taken(self._path), new_file(self._path) as copy:
            copy_pages(source, copy, progress)
            aside = _move_aside(self._path, copy)
            into_place(copy, self._path)
        return aside

    @contextlib.contextmanager
    def _resized(self, source: Any) -> Iterator[Any]:
        """The copy in pages of the file's size, without which SQLite does not take it."""
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
    """A connection to a copy, which it never changes; another thread may use it.

    Raises:
        EngineError: It is no database, or the file itself.
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
    """Whether SQLite would make a log beside it only to read it, as for a copy that was made by other means."""
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
    """The rows of the file, None if it is damaged; the size of its pages, None if it must be replaced as a whole."""
    if not path.exists():
        return 0, None
    try:
        # Only to read: whoever closes a file as the last one would fold its log into it, also if it is damaged.
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
        if is_damage(error):  # within its pages, which are replaced one by one
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
    """Nobody else has the file open or writes to it, until the block ends."""
    lock = FileLock(path)
    try:
        if not lock.try_acquire():
            raise OverloadedError(f"Another process is writing to {path}; stop the app and try again")
        with _locked_bytes(path):
            yield
    finally:
        lock.close()


@contextlib.contextmanager
def _locked_bytes(path: Path) -> Iterator[None]:
    """SQLite's own locks on a file that is there."""
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
    """Give the file, with what lies beside it, another name, and the successor its owner and rights.

    A log that is left alone would be taken for the successor's.
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
    with contextlib.suppress(PermissionError):  # only root can give files away
        os.chown(new, owner.st_uid, owner.st_gid)
