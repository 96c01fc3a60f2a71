"""Consistent copies of a SQLite file, page by page.

A copy is one file without a log beside it. It has its name when it is complete and on the disk, not before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from flask_convex_http.errors import ConfigurationError, OverloadedError
from flask_convex_http.sqlite.connections import sqlite3
from flask_convex_http.sqlite.durable_files import rename_durably, sync
from flask_convex_http.sqlite.rights import create_private
from flask_convex_http.sqlite.unfinished import new_file

Progress = Callable[[int, int], None]

#: Pages copied between two calls of the progress function.
PAGES = 1000
#: Results of sqlite3_backup_step() while another connection holds the write lock: SQLITE_BUSY, SQLITE_LOCKED.
_OCCUPIED = (5, 6)


def write_backup(source: Any, database: Path, path: Path, progress: Progress | None = None) -> None:
    """Write one consistent copy to a new file, in steps, during other writes. Only its owner can read it.

    Args:
        source: A connection outside a transaction.
        database: The database.
        path: The new file.
        progress: Called with the pages done and all pages.

    Raises:
        ConfigurationError: The file exists already.
        EngineError: It cannot be written. No file is left then.
    """
    if os.path.lexists(path):
        raise ConfigurationError(f"{path} exists already; name a new file")
    with new_file(path, database) as copy:
        copy_pages(source, copy, progress)
        rename_durably(copy, path)


def copy_pages(source: Any, path: Path, progress: Progress | None) -> None:
    """Copy all pages to a new file, which only its owner can read, and sync it."""
    create_private(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as target:
        target.execute("PRAGMA synchronous = OFF")  # synced once, as a whole
        # A backup in steps starts again after each write, unless its source stays in one snapshot.
        source.execute("BEGIN")
        try:
            source.execute("SELECT count(*) FROM sqlite_master").fetchall()
            source.backup(target, pages=PAGES, progress=driver_progress(progress), sleep=0)
        finally:
            source.execute("ROLLBACK")
        # Otherwise the copy needs a log beside it, which a read-only folder does not allow.
        target.execute("PRAGMA journal_mode = DELETE")
    sync(path)


def driver_progress(progress: Progress | None) -> Callable[[int, int, int], None]:
    """Return a progress function for the driver."""

    def report(status: int, remaining: int, total: int) -> None:
        if status in _OCCUPIED:  # the driver would retry forever
            raise OverloadedError("Another program writes to the database and does not stop; try again")
        if progress is not None:
            progress(total - remaining, total)

    return report
