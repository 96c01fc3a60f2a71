"""Backups of one SQLite file, for the database and for the blob store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask_convex_http.sqlite.file import SQLiteFile
from flask_convex_http.sqlite.page_copy import Progress, write_backup
from flask_convex_http.sqlite.restore import Restore
from flask_convex_http.sqlite.unfinished import remove_unfinished


@dataclass(frozen=True, slots=True)
class SQLiteBackups:
    """Makes and restores backups of one SQLite file.

    Attributes:
        file: The file.
        path: Its path, or None if it is temporary.
        has_tables: Returns whether a connection leads to tables that belong in the file.
        before_restore: Is called before a restore, which may bring other tables.
        before_create: Is called before a backup, to create the tables of a file that has none.
    """

    file: SQLiteFile
    path: Path | None
    has_tables: Callable[[Any], bool]
    before_restore: Callable[[], None]
    before_create: Callable[[], object] = lambda: None

    def create(self, path: Path, progress: Progress | None = None) -> None:
        """Write a consistent backup to a new file, in steps, while others read and write."""
        self.before_create()
        with self.file.lend() as source:
            write_backup(source, self.file.path, path, progress)

    def prepare_restore(self, path: Path) -> Restore:
        """Inspect a backup and return what restores it."""
        self.before_restore()
        with self.file.translated():
            return Restore(path, self.file, self.has_tables)

    def remove_unfinished(self) -> None:
        """Remove the parts of backups and restores whose processes were killed."""
        remove_unfinished(self.file.path.parent)
