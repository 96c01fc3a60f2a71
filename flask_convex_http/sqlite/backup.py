"""Backups of a SQLite file, and integrity checks.

A backup is one file without a log beside it. It has its name when it is complete and on the disk, not before. `restore`
brings a file back to a backup.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from flask_convex_http.errors import ConfigurationError, EngineError, OverloadedError
from flask_convex_http.sqlite.connections import sqlite3

Progress = Callable[[int, int], None]

#: Pages copied between two calls of the progress function.
PAGES = 1000
#: Results of sqlite3_backup_step() while another connection holds the write lock: SQLITE_BUSY, SQLITE_LOCKED.
_OCCUPIED = (5, 6)


def write_backup(source: Any, path: Path, progress: Progress | None = None) -> None:
    """Write one consistent copy to a new file, in steps, during other writes. Only its owner can read it.

    Args:
        source: A connection outside a transaction.
        path: The new file.
        progress: Called with the pages done and all pages.

    Raises:
        ConfigurationError: The file exists already.
        EngineError: It cannot be written. No file is left then.
    """
    if os.path.lexists(path):
        raise ConfigurationError(f"{path} exists already; name a new file")
    with new_file(path) as copy:
        copy_pages(source, copy, progress)
        copy.chmod(0o600)
        rename_durably(copy, path)


def faults(connection: Any) -> list[str]:
    """Yield SQLite's complaints about pages, tables and indexes, a sentence each."""
    try:
        found = [str(text) for (text,) in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return [str(error)]
    return [] if found == ["ok"] else found


def is_damage(error: Exception) -> bool:
    """Return whether a driver's error means that the file is damaged. It is no subclass of the other errors."""
    return type(error) is sqlite3.DatabaseError


def copy_pages(source: Any, path: Path, progress: Progress | None) -> None:
    """Copy all pages to a new file and sync it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as target:
        target.execute("PRAGMA synchronous = OFF")  # synced once, as a whole
        # A backup in steps starts again after each write, unless its source stays in one snapshot.
        source.execute("BEGIN")
        try:
            source.execute("SELECT count(*) FROM sqlite_master").fetchall()
            source.backup(target, pages=PAGES, progress=told(progress), sleep=0)
        finally:
            source.execute("ROLLBACK")
        # Otherwise the copy needs a log beside it, which a read-only folder does not allow.
        target.execute("PRAGMA journal_mode = DELETE")
    sync(path)


def told(progress: Progress | None) -> Callable[[int, int, int], None]:
    """Return a progress function for the driver."""

    def tell(status: int, remaining: int, total: int) -> None:
        if status in _OCCUPIED:  # the driver would retry forever
            raise OverloadedError("Another program writes to the database and does not stop; try again")
        if progress is not None:
            progress(total - remaining, total)

    return tell


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file beside a file. It is deleted at the end if it still exists."""
    with file_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        yield Path(folder, path.name)


@contextlib.contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Translate errors of the file system into errors of the package."""
    try:
        yield
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error}") from error


def rename_durably(new: Path, path: Path) -> None:
    """Rename a new file into place, durably."""
    new.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Sync a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
