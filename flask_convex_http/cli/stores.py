"""The SQLite files behind an app, for commands that treat one as a whole.

Of the documents the engine sees to that itself. A store of files knows bytes and keys only, so what is to be done with
its file is done here, under the same lock as its writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from flask import current_app

from flask_convex_http.backend import Backend
from flask_convex_http.blobs import SQLiteBlobs
from flask_convex_http.config import sqlite_path
from flask_convex_http.errors import ConvexHTTPError, EngineError
from flask_convex_http.sqlite_copies import Progress, copy_to, faults
from flask_convex_http.sqlite_file import SQLiteFile
from flask_convex_http.sqlite_restores import Restore


def database_path(backend: Backend) -> Path | None:
    """The file of the documents, which need not be there; None if it is a temporary one."""
    return sqlite_path("CONVEX_DATABASE_URL", backend.settings.database_url, Path(current_app.instance_path))


def sqlite_store(backend: Backend) -> SQLiteBlobs:
    """The store of files, if it is one SQLite file."""
    if not isinstance(backend.blobs, SQLiteBlobs):
        raise click.ClickException("This app's files are not in a database; copy them with the tools of their store")
    return backend.blobs


def back_up_store(store: SQLiteBlobs, path: Path, progress: Progress | None = None) -> None:
    """Write one consistent copy to a new file."""
    store.total()  # makes the store, if nothing was ever stored
    with _file(store) as file, file.lend() as source:
        copy_to(source, path, progress)


def restore_store(store: SQLiteBlobs, copy: Path) -> Restore:
    """Look into a copy, and answer what brings the store back to it, until the command ends."""
    return Restore(copy, click.get_current_context().with_resource(_file(store)), _has_tables)


def store_check(backend: Backend) -> Callable[[], list[str]] | None:
    """What answers the faults of the store; None if there is no store yet."""
    if not isinstance(backend.blobs, SQLiteBlobs):
        return list  # its own tools look after it
    return partial(_store_faults, backend.blobs) if backend.blobs.path.exists() else None


def _store_faults(store: SQLiteBlobs) -> list[str]:
    with _file(store) as file, file.lend() as connection:
        found = faults(connection)
    return [f"The store of files is damaged: {fault}; go back to a backup with `restore --files`" for fault in found]


@contextmanager
def _file(store: SQLiteBlobs) -> Iterator[SQLiteFile]:
    with closing(SQLiteFile(store.path, _translate)) as file, file.translated():
        yield file


def _translate(error: Exception) -> ConvexHTTPError:
    return EngineError(f"The file store failed: {error}")


def _has_tables(connection: Any) -> bool:
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {"blobs", "chunks"} <= names
