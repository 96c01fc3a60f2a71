"""Finding actions whose worker died: rows in progress that show no sign of life.

A living worker changes its rows again and again. Whether one has stopped is judged by how long this process has seen
the row unchanged, on a clock that nobody sets; what the rows say of the time is compared with themselves only. So a
clock that jumps, here or there, kills nobody.
"""

from __future__ import annotations

import logging
import time
from typing import Literal

from flask_convex_http.backend import Backend
from flask_convex_http.engines.base import Transaction
from flask_convex_http.errors import FunctionNotFoundError
from flask_convex_http.functions import Action
from flask_convex_http.retry import Retry
from flask_convex_http.system import ScheduledFunction

logger = logging.getLogger("flask_convex_http")

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
        self._seen: dict[str, tuple[float, float]] = {}

    def give_up_lost(self) -> int:
        """Give up what has shown no sign of life for the length of a lease; answers how many that were."""
        with self._backend.engine.read() as snapshot:
            running = self._backend.jobs.running(snapshot)
        self._watch(running)
        lost = [job for job in running if self._is_lost(job)]
        if lost:
            self._backend.engine.write(lambda transaction: self._give_up(transaction, lost))
        return len(lost)

    def _watch(self, running: list[ScheduledFunction]) -> None:
        now, seen = time.monotonic(), self._seen
        self._seen = {
            job.id: seen[job.id] if job.id in seen and seen[job.id][0] == job.due else (job.due, now) for job in running
        }

    def _is_lost(self, job: ScheduledFunction) -> bool:
        _, since = self._seen[job.id]
        return time.monotonic() - since > self._backend.settings.worker_lease

    def _give_up(self, transaction: Transaction, lost: list[ScheduledFunction]) -> None:
        for job in lost:
            now = self._backend.jobs.get(transaction, job.id)
            if now is not None and now.state == "inProgress" and now.due == job.due:
                logger.error("The worker that ran the scheduled action %s (%s) died", job.name, job.id)
                give_up(self._backend, transaction, now, "lost")


def give_up(
    backend: Backend, transaction: Transaction, job: ScheduledFunction, outcome: Literal["lost", "stopped"]
) -> None:
    """End an attempt of which nobody knows how far it came: tried again if its author allows it, failed otherwise."""
    retry, now, error = _retry_of(backend, job), backend.clock(), _ERRORS[outcome]
    if retry is None or len(job.attempts) >= retry.max_attempts:
        backend.jobs.fail(transaction, job, now, error, outcome)
    else:
        wait = retry.delay(len(job.attempts)) if outcome == "lost" else 0.0
        backend.jobs.postpone(transaction, job, now, now + wait, error, outcome)


def _retry_of(backend: Backend, job: ScheduledFunction) -> Retry | None:
    try:
        function = backend.functions.find(job.name)
    except FunctionNotFoundError:
        return None
    return function.retry if isinstance(function, Action) else None
