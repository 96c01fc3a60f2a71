"""Backups of the SQLite engine: copies of its file that contain the tables of this package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask_convex_http.engines.base import Progress
from flask_convex_http.engines.sqlite.schema import SQLiteSchema
from flask_convex_http.schema.documents import Schema
from flask_convex_http.sqlite.backup import write_backup
from flask_convex_http.sqlite.file import SQLiteFile
from flask_convex_http.sqlite.restore import Restore


class SQLiteBackups:
    """Makes and restores backups of one SQLite file.

    Args:
        file: The file.
        schema: The tables that must exist.
        is_temporary: Whether the file is removed when its engine is closed.
        before_restore: Is called before a restore, which may bring other tables.

    Attributes:
        path: The file, or None if it is temporary.
    """

    def __init__(
        self, file: SQLiteFile, schema: Schema, *, is_temporary: bool, before_restore: Callable[[], None]
    ) -> None:
        self.path: Path | None = None if is_temporary else file.path
        self._file = file
        self._schema = schema
        self._before_restore = before_restore

    def create(self, path: Path, progress: Progress | None = None) -> None:
        """Write a consistent backup to a new file, in steps, while others read and write."""
        with self._file.lend() as source:
            write_backup(source, path, progress)

    def prepare_restore(self, path: Path) -> Restore:
        """Inspect a backup and return what restores it."""
        self._before_restore()
        with self._file.translated():
            return Restore(path, self._file, self._has_tables)

    def _has_tables(self, connection: Any) -> bool:
        return bool(SQLiteSchema(connection, self._schema).stored_shape())
