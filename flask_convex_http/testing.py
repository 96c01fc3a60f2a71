"""What tests of applications need: a backend that is gone afterwards, and a clock that stands still.

    with memory_backend(schema, functions=["my_app.items"]) as backend:
        item_id = backend.ctx().run_mutation(items.create, name="Lamp")

For tests of endpoints give the app `CONVEX_DATABASE_URL="sqlite:///:memory:"` and call `convex.migrate()` in its app
context.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from flask_convex_http.backend import Backend, Functions, system_clock
from flask_convex_http.config import Settings
from flask_convex_http.schema import Schema


class Clock:
    """A clock that moves only when it is told to; pass it as `clock=`.

    Args:
        now: Where it starts, an aware datetime; the present if not given.
    """

    def __init__(self, now: datetime | None = None) -> None:
        self._now = time.time() * 1000 if now is None else now.timestamp() * 1000

    def __call__(self) -> float:
        """Now, in milliseconds since the epoch."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move on (or back)."""
        self._now += by.total_seconds() * 1000


@contextmanager
def memory_backend(
    schema: Schema, functions: Functions = (), *, clock: Callable[[], float] = system_clock
) -> Iterator[Backend]:
    """A migrated backend on a temporary database, closed and removed at the end.

    Args:
        schema: The application's tables.
        functions: Its functions, as `ConvexHTTP` takes them.
        clock: Answers now, in milliseconds since the epoch.
    """
    settings = Settings.from_mapping({"CONVEX_DATABASE_URL": "sqlite:///:memory:"})
    backend = Backend(settings, schema, functions, folder=Path(), clock=clock)
    try:
        backend.migrate()
        yield backend
    finally:
        backend.close()
