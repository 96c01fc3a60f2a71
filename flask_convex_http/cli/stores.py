"""What lies behind an app, for commands that treat a database or a store of files as a whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
from flask import current_app

from flask_convex_http.backend import Backend
from flask_convex_http.blobs import SQLiteBlobs
from flask_convex_http.config import sqlite_path


def database_path(backend: Backend) -> Path | None:
    """The file of the documents, which need not be there; None if it is a temporary one."""
    return sqlite_path("CONVEX_DATABASE_URL", backend.settings.database_url, Path(current_app.instance_path))


def sqlite_store(backend: Backend) -> SQLiteBlobs:
    """The store of files, if it is one SQLite file."""
    if not isinstance(backend.blobs, SQLiteBlobs):
        raise click.ClickException("This app's files are not in a database; copy them with the tools of their store")
    return backend.blobs


def store_check(backend: Backend) -> Callable[[], list[str]] | None:
    """What answers the faults of the store; None if there is no store yet."""
    if not isinstance(backend.blobs, SQLiteBlobs):
        return list  # its own tools look after it
    return partial(_store_faults, backend.blobs) if backend.blobs.path.exists() else None


def _store_faults(store: SQLiteBlobs) -> list[str]:
    remedy = "go back to a backup with `restore --files`"
    return [f"The store of files is damaged: {fault}; {remedy}" for fault in store.faults()]
