"""Run the due jobs and crons of a backend in a test."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from datetime import timedelta

from flask import Flask

from flask_convex_http.backend import Backend
from flask_convex_http.config import MEMORY, hide_password
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.inbox.queue import PROCESS
from flask_convex_http.inbox.registry import DeclinedError
from flask_convex_http.log import logger_of
from flask_convex_http.runtime import AppContext
from flask_convex_http.scheduling.jobs import KINDS
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.testing.backends import backend_behind
from flask_convex_http.testing.clocks import Clock, use_clock
from flask_convex_http.web.state import raises_unexpected
from flask_convex_http.worker import ActionRunner, AttemptResult, MutationRunner

logger = logger_of("jobs")

#: Jobs that `run_scheduled` runs before it raises an error.
_MAX_RUNS = 10_000


class ScheduledRun(list[ScheduledFunction]):
    """The jobs that `run_scheduled` ran, in order.

    Attributes:
        later: The jobs that are due later than the clock shows, those that wait for a retry included, the first one
            first.
    """

    def __init__(self, ran: Iterable[ScheduledFunction], later: list[ScheduledFunction]) -> None:
        super().__init__(ran)
        self.later = later


def run_scheduled(target: Backend | Flask, *, advance: timedelta | None = None) -> ScheduledRun:
    """Run due jobs and crons in this thread, in the order of their time, until none is due.

    Args:
        target: A backend, or an app with one.
        advance: How far to move the backend's `Clock`. It stops at each time at which a job or cron is due. A backend
            that follows the system's time gets a `Clock` that stands still from then on.

    Returns:
        The jobs in the order in which they ran, as they are afterwards: see their `state` and `error`. Jobs that are
        due later are in its attribute `later` and in the log, as a warning if they wait for a retry.

    Raises:
        RuntimeError: More than 10,000 jobs ran, or the app is not one for tests.
        TypeError: `advance` is given, but the backend has a clock of another class.
        BaseException: An error of a function that is no `Exception`, such as a failure of pytest. With `TESTING` or
            `PROPAGATE_EXCEPTIONS`, also an error of the handler of a webhook with `mode="enqueue"`.
    """
    if advance is not None and not (isinstance(advance, timedelta) and advance >= timedelta(0)):
        raise TypeError(f"run_scheduled(advance={advance!r}) takes a timedelta of 0 or more")
    backend = backend_behind(target)
    if isinstance(target, Backend):
        return _Runner(target, nullcontext).run(advance)
    if not target.testing and backend.settings.database_url != MEMORY:
        place = hide_password(backend.settings.database_url)
        raise RuntimeError(
            f"run_scheduled() would run the pending jobs in {place}, for real; give the app TESTING=True, or "
            f"CONVEX_DATABASE_URL={MEMORY!r}"
        )
    return _Runner(backend, target.app_context, propagates=raises_unexpected(target)).run(advance)


def _raise_unexpected(error: BaseException | None) -> None:
    """Raise the exception of a webhook's handler, unless the handler meant it as the response to the sender."""
    is_meant = isinstance(error, DeclinedError) or (isinstance(error, ConvexHTTPError) and error.public)
    if error is not None and not is_meant:
        raise error


class _Runner:
    """Runs due jobs one at a time."""

    def __init__(self, backend: Backend, app_context: AppContext, *, propagates: bool = False) -> None:
        self._backend = backend
        self._propagates = propagates
        self._ticks = backend.crons.ticks
        self._mutations = MutationRunner(backend, app_context)
        self._actions = ActionRunner(backend, app_context)
        self._ran: list[str] = []

    def run(self, advance: timedelta | None) -> ScheduledRun:
        backend = self._backend
        backend.crons.register()
        if advance is None:
            self._run_due()
        else:
            self._run_while_moving(advance)
        with backend.engine.snapshot() as snapshot:
            rows = [backend.jobs.get(snapshot, job_id) for job_id in dict.fromkeys(self._ran)]
            pending = [job for kind in KINDS for job in backend.jobs.in_state(snapshot, "pending", kind)]
        later = sorted(pending, key=lambda job: job.due)
        self._log_later(later)
        return ScheduledRun((row for row in rows if row is not None), later)

    def _log_later(self, later: list[ScheduledFunction]) -> None:
        if not later:
            return
        is_retry = any(job.attempts for job in later)
        logger.log(
            logging.WARNING if is_retry else logging.INFO,
            "run_scheduled() leaves %d %s for later; the first, %s, is due in %.3f s: advance= moves the clock",
            len(later),
            "jobs, retries included," if is_retry else "jobs",
            later[0].name,
            (later[0].due - self._backend.clock()) / 1000,
        )

    def _run_while_moving(self, by: timedelta) -> None:
        source = self._backend.clock.source
        if source is not None and not isinstance(source, Clock):
            raise TypeError("advance= moves a Clock, and this backend has another clock: call use_clock() first")
        clock = use_clock(self._backend)
        end = clock() + by.total_seconds() * 1000
        while (due := self._next_due()) <= end:
            clock.advance_to(due)  # exactly: a timedelta is rounded, and might never get there
            self._run_due()
        clock.advance_to(end)

    def _run_due(self) -> None:
        while self._next_due() <= self._backend.clock():
            self._run_next()
            if len(self._ran) > _MAX_RUNS:
                raise RuntimeError(f"More than {_MAX_RUNS} jobs ran; does one schedule itself without a delay?")

    def _run_next(self) -> None:
        tick, mutation, action = self._times()
        if tick <= min(mutation, action):
            self._backend.crons.fire()
        elif mutation <= action:
            self._collect(self._mutations.run(1))
        else:
            self._collect(self._actions.run_one())

    def _collect(self, results: Sequence[AttemptResult]) -> None:
        for result in results:
            self._ran.append(result.job.id)
            if result.error is not None and not isinstance(result.error, Exception):  # Ctrl-C, or pytest.fail()
                raise result.error
            if self._propagates and result.job.name == PROCESS:
                _raise_unexpected(result.value)

    def _next_due(self) -> float:
        return min(self._times())

    def _times(self) -> tuple[float, float, float]:
        jobs = self._backend.jobs
        with self._backend.engine.snapshot() as snapshot:
            times = (
                self._ticks.next_tick(snapshot, self._backend.clock()),
                jobs.next_due(snapshot, "mutation"),
                jobs.next_due(snapshot, "action"),
            )
        tick, mutation, action = (math.inf if time is None else time for time in times)
        return tick, mutation, action
