"""Finding actions whose worker died: rows in progress that show no sign of life.

A living worker changes its rows again and again. Whether one has stopped is judged by how long this process has seen
the row unchanged, on a clock that nobody sets; what the rows say of the time is compared with themselves only. So a
clock that jumps, here or there, kills nobody.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Literal

from flask_convex_http.backend import Backend
from flask_convex_http.engines.base import Transaction
from flask_convex_http.functions.function import Action, Function
from flask_convex_http.retry import Retry
from flask_convex_http.scheduling.jobs import LOOK_AFTER, tried
from flask_convex_http.schema.system_tables import ScheduledFunction

logger = logging.getLogger("flask_convex_http")

#: Seconds more for actions that are not known here.
_UNKNOWN_FOR = 60.0
#: Milliseconds after which an attempt that was stopped may be followed by the next: it goes on until its process ends.
_SOONEST = 1000.0
_ERRORS = {
    "lost": "The worker that ran it died",
    "stopped": "The worker that ran it was stopped",
}


class Leases:
    """Watches the actions in progress, those of all processes.

    Args:
        backend: Where they are.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._silence: dict[str, tuple[float, float]] = {}
        self._looked = time.monotonic()

    def give_up_lost(self) -> int:
        """Give up what has shown no sign of life for the length of a lease; answers how many that were."""
        with self._backend.engine.read() as snapshot:
            running = self._backend.jobs.running(snapshot)
        if running:  # nobody can show life while somebody else writes: if this cannot either, it counts for nothing
            self._backend.engine.write(lambda transaction: None)
        self._watch(running)
        lost = [job for job in running if self._is_lost(job)]
        if lost:
            self._backend.engine.write(lambda transaction: self._give_up(transaction, lost))
        return len(lost)

    def _watch(self, running: list[ScheduledFunction]) -> None:
        """Add up how long each row has not changed. No more than the usual from one look to the next: who was stopped
        in between, together with those it watches, or had to wait, has not seen what they did."""
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, 2 * sign_every(self._backend)), now
        before = self._silence
        self._silence = {job.id: (job.due, 0.0) for job in running}
        for job_id, (due, _) in self._silence.items():
            if job_id in before and before[job_id][0] == due:
                self._silence[job_id] = (due, before[job_id][1] + passed)

    def _is_lost(self, job: ScheduledFunction) -> bool:
        _, silence = self._silence[job.id]
        is_known = self._backend.functions.get(job.name) is not None
        patience = 0.0 if is_known else _UNKNOWN_FOR  # a newer version knows whether to try it again
        return silence > self._backend.settings.worker_lease + patience

    def _give_up(self, transaction: Transaction, lost: list[ScheduledFunction]) -> None:
        for job in lost:
            now = self._backend.jobs.get(transaction, job.id)
            if now is not None and now.completed_time is None and now.due == job.due:
                logger.error("The worker that ran the scheduled action %s (%s) died", job.name, job.id)
                give_up(self._backend, transaction, now, "lost")


def sign_every(backend: Backend) -> float:
    """Seconds from one sign of life to the next, and from one look at those of others to the next."""
    return min(backend.settings.worker_lease / 3, LOOK_AFTER)


def give_up(
    backend: Backend, transaction: Transaction, job: ScheduledFunction, outcome: Literal["lost", "stopped"]
) -> None:
    """End an attempt of which nobody knows how far it came: tried again if its author allows it, failed otherwise."""
    retry, now, error = retry_of(backend.functions.get(job.name)), backend.clock(), _ERRORS[outcome]
    count = tried(job) - (outcome == "stopped")
    if retry is None or count >= retry.max_attempts:
        backend.jobs.fail(transaction, job, now, error, outcome)
    else:
        wait = retry.delay(max(count, 1))
        if outcome == "stopped":
            wait = max(wait, _SOONEST)
        backend.jobs.postpone(transaction, job, now, now + wait, error, outcome)


def retry_of(function: Function[Any, Any] | None) -> Retry | None:
    """How a function is tried again, if it is."""
    return function.retry if isinstance(function, Action) else None
