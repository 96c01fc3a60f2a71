"""What lies behind an app, for commands that treat a database or a store of files as a whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
from flask import current_app

from flask_convex_http.backend import Backend
from flask_convex_http.engines.base import Backups
from flask_convex_http.storage.blobs import SQLiteBlobs


def database_backups(backend: Backend) -> Backups:
    """Return what makes and restores backups of the database.

    Raises:
        click.ClickException: The database has tools of its own for that.
    """
    backups = backend.engine.backups
    if backups is None:
        location = backend.settings.database(Path(current_app.instance_path))
        raise click.ClickException(
            f"{location} is copied and restored with PostgreSQL's own tools: pg_dump and pg_restore"
        )
    return backups


def database_name(backend: Backend) -> str | None:
    """The database as people know it; None if it is a temporary one."""
    location = backend.settings.database(Path(current_app.instance_path))
    return None if location.is_temporary else str(location)


def sqlite_store(backend: Backend) -> SQLiteBlobs:
    """The store of files, if it is one SQLite file."""
    if not isinstance(backend.blobs, SQLiteBlobs):
        raise click.ClickException(
            f"The bytes of files are in {backend.settings.storage_url}: copy them with the tools of that store"
        )
    return backend.blobs


def store_check(backend: Backend) -> Callable[[], list[str]] | None:
    """What answers the faults of the store; None if there is no store yet."""
    if not isinstance(backend.blobs, SQLiteBlobs):
        return list  # its own tools look after it
    return partial(_store_faults, backend.blobs) if backend.blobs.path.exists() else None


def _store_faults(store: SQLiteBlobs) -> list[str]:
    remedy = "go back to a backup with `restore --files`"
    return [f"The store of files is damaged: {fault}; {remedy}" for fault in store.faults()]
