"""Backends of tests: a temporary one, and the one behind an app."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask

from flask_convex_http.backend import Backend, Functions, system_clock
from flask_convex_http.config import MEMORY, Settings
from flask_convex_http.scheduling import Crons
from flask_convex_http.schema.documents import Schema
from flask_convex_http.web.state import backend_of


@contextmanager
def memory_backend(
    schema: Schema,
    functions: Functions = (),
    *,
    crons: Crons | None = None,
    clock: Callable[[], float] = system_clock,
    database_url: str = MEMORY,
) -> Iterator[Backend]:
    """Open a migrated backend on a temporary database, for a `with` statement.

    Args:
        schema: The application's tables.
        functions: The application's functions, as `ConvexHTTP` takes them.
        crons: The application's crons.
        clock: Returns the current time in milliseconds since the epoch.
        database_url: Another empty database, such as a PostgreSQL one. It is not removed at the end.
    """
    settings = Settings.from_mapping({"CONVEX_DATABASE_URL": database_url, "CONVEX_STORAGE_URL": MEMORY})
    backend = Backend(settings, schema, functions, crons=crons, folder=Path(), clock=clock)
    try:
        backend.migrate()
        yield backend
    finally:
        backend.close()


def backend_behind(target: Backend | Flask) -> Backend:
    """Return a backend, or the one of an app.

    Raises:
        TypeError: The value is neither.
    """
    if isinstance(target, Backend):
        return target
    if not isinstance(target, Flask):
        raise TypeError(f"It takes a backend or a Flask app, not {target!r}")
    return backend_of(target)
