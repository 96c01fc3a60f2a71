"""Copies of a SQLite file, and whether one is sound.

A copy is one file that needs none beside it, and it is there when it is complete and on the disk, not before. How a
file is brought back to a copy is told in `sqlite_restores`.
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

#: Pages copied between two signs of progress.
PAGES = 1000
#: What sqlite3_backup_step() answers when somebody else has the write lock: SQLITE_BUSY, SQLITE_LOCKED.
_OCCUPIED = (5, 6)


def copy_to(source: Any, path: Path, progress: Progress | None = None) -> None:
    """Write one consistent copy to a new file, in steps, while others write; only its owner can read it.

    Args:
        source: A connection in no transaction.
        path: The file.
        progress: Is told pages done and pages in all.

    Raises:
        ConfigurationError: The file is there already.
        EngineError: It cannot be written; nothing is there then.
    """
    if os.path.lexists(path):
        raise ConfigurationError(f"{path} exists already; name a new file")
    with new_file(path) as copy:
        copy_pages(source, copy, progress)
        copy.chmod(0o600)
        into_place(copy, path)


def faults(connection: Any) -> list[str]:
    """What SQLite finds wrong with pages, tables and indexes, a sentence each."""
    try:
        found = [str(text) for (text,) in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return [str(error)]
    return [] if found == ["ok"] else found


def is_damage(error: Exception) -> bool:
    """Whether an error of the driver says that the file itself is broken; the rest of them are classes below."""
    return type(error) is sqlite3.DatabaseError


def copy_pages(source: Any, path: Path, progress: Progress | None) -> None:
    """Copy all pages to a new file and wait until they are on the disk."""
    with closing(sqlite3.connect(path, isolation_level=None)) as target:
        target.execute("PRAGMA synchronous = OFF")  # it is synced once, as a whole
        # A copy in steps starts again after each write, unless its source stays in one snapshot.
        source.execute("BEGIN")
        try:
            source.execute("SELECT count(*) FROM sqlite_master").fetchall()
            source.backup(target, pages=PAGES, progress=told(progress), sleep=0)
        finally:
            source.execute("ROLLBACK")
        # Else the copy would want a log beside it, which cannot be made where nobody may write.
        target.execute("PRAGMA journal_mode = DELETE")
    sync(path)


def told(progress: Progress | None) -> Callable[[int, int, int], None]:
    """A function for the driver, which tells it after each step what is done."""

    def tell(status: int, remaining: int, total: int) -> None:
        if status in _OCCUPIED:  # the driver would ask again for ever
            raise OverloadedError("Another program writes to the database and does not stop; try again")
        if progress is not None:
            progress(total - remaining, total)

    return tell


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A place beside a file for what is to become it, gone at the end with all that is left there."""
    with file_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        yield Path(folder, path.name)


@contextlib.contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn the file system's errors into the package's."""
    try:
        yield
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error}") from error


def into_place(new: Path, path: Path) -> None:
    """Give a new file its name, so that it keeps it after a power cut."""
    new.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
