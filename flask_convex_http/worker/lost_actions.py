"""Actions whose worker died: rows in progress whose lease is not renewed.

A living worker renews its rows at every heartbeat. This process measures on its own monotonic clock for how long a row
has not changed. Times in rows are only compared with the same row's earlier times, so a wall clock that jumps, here or
on another machine, makes no action lost.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from flask_convex_http.backend import Backend
from flask_convex_http.functions.function import ActionFunction, Function
from flask_convex_http.log import EVENT, logger_of
from flask_convex_http.retry import Retry
from flask_convex_http.runtime import AppContext, MutationCalls
from flask_convex_http.scheduling.jobs import POLL_SECONDS, count_attempts
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.worker.final_failures import fail_action
from flask_convex_http.worker.observed import publish_interrupted

logger = logger_of("jobs")

#: Seconds on top of the lease for functions that this process does not know, so that a newer version of the application
#: can end their attempts first: it knows whether to retry them.
_UNKNOWN_FUNCTION_GRACE = 60.0
#: The minimum delay before the retry of a stopped attempt, in milliseconds. Its thread runs until its process ends.
_MINIMUM_DELAY_AFTER_STOP = 1000.0
_ERRORS = {
    "lost": "The worker that ran it died",
    "stopped": "The worker that ran it was stopped",
}


@dataclass(frozen=True, slots=True)
class _Silence:
    """How long a row has not changed.

    Attributes:
        lease_end: The `due` of the row, which every renewal changes.
        seconds: The time for which this process has seen that value.
    """

    lease_end: float
    seconds: float = 0.0


class LeaseMonitor:
    """Watches the leases of the actions in progress, in all processes.

    Args:
        backend: The deployment.
        app_context: Returns the context that each `on_failure` runs in.
    """

    def __init__(self, backend: Backend, app_context: AppContext = nullcontext) -> None:
        self._backend = backend
        self._app_context = app_context
        self._silences: dict[str, _Silence] = {}
        self._last_check = time.monotonic()

    def end_lost_attempts(self) -> int:
        """End the attempts whose lease has expired, and return their number."""
        with self._backend.engine.snapshot() as snapshot:
            running = self._backend.jobs.running_actions(snapshot)
        if running:  # wait for the write lock as a renewal does, so that a long write makes no action look lost
            self._backend.engine.write(lambda transaction: None)
        self._measure(running)
        lost = [job for job in running if self._is_lost(job)]
        if lost:
            self._backend.runtime.write(lambda calls: self._end_attempts(calls, lost), self._backend.caller())
        return len(lost)

    def _measure(self, running: list[ScheduledFunction]) -> None:
        """Add the time since the last check to the silence of each row that has not changed.

        At most two heartbeat intervals are added. A longer time means that the machine was suspended or this process
        had to wait, so that it cannot have seen the renewals.
        """
        now = time.monotonic()
        elapsed, self._last_check = min(now - self._last_check, 2 * heartbeat_interval(self._backend)), now
        known = self._silences
        self._silences = {}
        for job in running:
            silence = known.get(job.id)
            is_unchanged = silence is not None and silence.lease_end == job.due
            seconds = silence.seconds + elapsed if silence is not None and is_unchanged else 0.0
            self._silences[job.id] = _Silence(job.due, seconds)

    def _is_lost(self, job: ScheduledFunction) -> bool:
        is_known = self._backend.functions.get(job.name) is not None
        grace = 0.0 if is_known else _UNKNOWN_FUNCTION_GRACE
        return self._silences[job.id].seconds > self._backend.settings.worker_lease + grace

    def _end_attempts(self, calls: MutationCalls, lost: list[ScheduledFunction]) -> None:
        for job in lost:
            current = self._backend.jobs.get(calls.transaction, job.id)
            if current is not None and current.completed_time is None and current.due == job.due:
                logger.error("The worker that ran the scheduled action %s (%s) died", job.name, job.id, extra=EVENT)
                end_interrupted_attempt(self._backend, self._app_context, calls, current, "lost")


def heartbeat_interval(backend: Backend) -> float:
    """Return the seconds between two renewals of a lease, which are also those between two checks of all leases."""
    return min(backend.settings.worker_lease / 3, POLL_SECONDS)


def end_interrupted_attempt(
    backend: Backend,
    app_context: AppContext,
    calls: MutationCalls,
    job: ScheduledFunction,
    outcome: Literal["lost", "stopped"],
) -> None:
    """End an attempt that was lost or stopped, of which it is unknown how far it came.

    An action with a `Retry` is retried while it has attempts left. Any other action fails. An attempt that was stopped
    with its worker does not count towards `max_attempts`.
    """
    retry, now, error = retry_of(backend.functions.get(job.name)), backend.clock(), _ERRORS[outcome]
    count = count_attempts(job) - (outcome == "stopped")
    is_final = retry is None or count >= retry.max_attempts
    publish_interrupted(backend.telemetry, calls, job, now, error, is_final=is_final)
    if retry is None or is_final:
        fail_action(backend, app_context, calls, job, error, outcome, as_job=outcome == "lost")
        return
    delay = retry.delay(max(count, 1))
    if outcome == "stopped":
        delay = max(delay, _MINIMUM_DELAY_AFTER_STOP)
    backend.jobs.schedule_retry(calls.transaction, job, now, now + delay, error, outcome)


def retry_of(function: Function[Any, Any] | None) -> Retry | None:
    """Return the retry policy of a function, or None if it has none."""
    return function.retry if isinstance(function, ActionFunction) else None
