"""What tests of applications need: a backend that is gone afterwards, and a clock that stands still.

    with memory_backend(schema, functions=["my_app.items"]) as backend:
        item_id = backend.ctx().run_mutation(items.create, name="Lamp")

What was scheduled runs when a test says so:

    clock = Clock()
    with memory_backend(schema, functions=["my_app.items"], clock=clock) as backend:
        backend.ctx().run_mutation(items.create_later, name="Lamp")
        run_scheduled(backend, advance=timedelta(hours=1))

For tests of endpoints give the app `CONVEX_DATABASE_URL="sqlite:///:memory:"` and TESTING=True, without which its first
request starts a worker, and call `convex.migrate()` in its app context.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flask import Flask

from flask_convex_http.backend import Backend, Functions, system_clock
from flask_convex_http.batches import Batches
from flask_convex_http.config import MEMORY, Settings
from flask_convex_http.crons import Crons
from flask_convex_http.running import RunningActions
from flask_convex_http.schema import Schema
from flask_convex_http.system import ScheduledFunction
from flask_convex_http.web.state import backend_of

#: What `run_scheduled` runs before it gives up.
_MOST_RUNS = 10_000


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

    def advance_to(self, time: float) -> None:
        """Move on to a time, in milliseconds since the epoch; a clock that is there already stays."""
        self._now = max(self._now, time)


@contextmanager
def memory_backend(
    schema: Schema,
    functions: Functions = (),
    *,
    crons: Crons | None = None,
    clock: Callable[[], float] = system_clock,
) -> Iterator[Backend]:
    """A migrated backend on a temporary database, closed and removed at the end.

    Args:
        schema: The application's tables.
        functions: Its functions, as `ConvexHTTP` takes them.
        crons: Its crons.
        clock: Answers now, in milliseconds since the epoch.
    """
    settings = Settings.from_mapping({"CONVEX_DATABASE_URL": MEMORY})
    backend = Backend(settings, schema, functions, crons=crons, folder=Path(), clock=clock)
    try:
        backend.migrate()
        yield backend
    finally:
        backend.close()


def run_scheduled(target: Backend | Flask, *, advance: timedelta | None = None) -> list[ScheduledFunction]:
    """Run what is due, in the order of its time and in this thread, until nothing is; crons fire too.

    Args:
        target: A backend, or an app with one.
        advance: Move the backend's `Clock` on by that much, stopping at each time that something is due.

    Returns:
        What ran, in order, as it is afterwards: see its `state` and `error`.

    Raises:
        RuntimeError: It does not come to an end, or the app is not one for tests.
        TypeError: `advance` is given, but the backend was not given a `Clock`.
        BaseException: What a function raises that is no Exception.
    """
    if advance is not None and not (isinstance(advance, timedelta) and advance >= timedelta(0)):
        raise TypeError(f"run_scheduled(advance={advance!r}) takes a timedelta of 0 or more")
    if isinstance(target, Backend):
        return _Runner(target, nullcontext).run(advance)
    if not isinstance(target, Flask):
        raise TypeError(f"run_scheduled() takes a backend or a Flask app, not {target!r}")
    backend = backend_of(target)
    if not target.testing and backend.settings.database_url != MEMORY:
        raise RuntimeError(
            f"run_scheduled() would run what is pending in {backend.settings.database_url}, for real; give the app "
            f"TESTING=True, or CONVEX_DATABASE_URL={MEMORY!r}"
        )
    return _Runner(backend, target.app_context).run(advance)


class _Runner:
    def __init__(self, backend: Backend, around: Callable[[], AbstractContextManager[Any]]) -> None:
        self._backend = backend
        self._ticks = backend.ticks
        self._batches = Batches(backend, around)
        self._actions = RunningActions(backend, around, lambda: None)
        self._ran: list[str] = []

    def run(self, advance: timedelta | None) -> list[ScheduledFunction]:
        backend = self._backend
        backend.register_crons()
        if advance is None:
            self._run_due()
        else:
            self._run_while_moving(advance)
        with backend.engine.read() as snapshot:
            rows = [backend.jobs.get(snapshot, job_id) for job_id in dict.fromkeys(self._ran)]
        return [row for row in rows if row is not None]

    def _run_while_moving(self, by: timedelta) -> None:
        clock = self._backend.clock
        if not isinstance(clock, Clock):
            raise TypeError("advance= moves a Clock: make the backend with clock=Clock()")
        end = clock() + by.total_seconds() * 1000
        while (due := self._next_due()) <= end:
            clock.advance_to(due)  # exactly: a timedelta is rounded, and might never get there
            self._run_due()
        clock.advance_to(end)

    def _run_due(self) -> None:
        while self._next_due() <= self._backend.clock():
            self._run_next()
            if len(self._ran) > _MOST_RUNS:
                raise RuntimeError(f"More than {_MOST_RUNS} scheduled functions ran; does one schedule itself at once?")

    def _run_next(self) -> None:
        tick, mutation, action = self._times()
        if tick <= min(mutation, action):
            self._backend.fire_crons()
        elif mutation <= action:
            self._ran += self._batches.run(1)
        else:
            self._ran += self._actions.run_one()
        escaped = self._batches.escaped or self._actions.escaped
        if escaped is not None:  # Ctrl-C, or pytest.fail()
            raise escaped

    def _next_due(self) -> float:
        return min(self._times())

    def _times(self) -> tuple[float, float, float]:
        jobs = self._backend.jobs
        with self._backend.engine.read() as snapshot:
            times = (
                self._ticks.next_tick(snapshot, self._backend.clock()),
                jobs.next_due(snapshot, "mutation"),
                jobs.next_due(snapshot, "action"),
            )
        tick, mutation, action = (math.inf if time is None else time for time in times)
        return tick, mutation, action
