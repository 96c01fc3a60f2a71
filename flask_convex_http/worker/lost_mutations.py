"""Mutations whose process died while they ran: each runs alone next, and is dead-lettered after a few deaths.

A batch of mutations is one commit, so a mutation that kills its process leaves no trace in the database: all jobs of
the batch are pending again, and would kill the next process too. On SQLite the engine's start marker has the job that
ran. Where there is no marker, the jobs that were due before this worker looked at them are suspects. A suspect, and a
job that was lost before, first gets a committed start of its attempt with a lease, and then runs in a transaction of
its own. If its process dies again, the attempt has no end and counts.
"""

from __future__ import annotations

import os
import secrets
import socket

import msgspec

from flask_convex_http.backend import Backend
from flask_convex_http.engines import Transaction
from flask_convex_http.errors import EngineError, UnavailableError
from flask_convex_http.functions.function import MutationFunction
from flask_convex_http.log import EVENT, logger_of
from flask_convex_http.retry import Retry
from flask_convex_http.runtime import MutationCalls
from flask_convex_http.schema.system_tables import Attempt, ScheduledFunction
from flask_convex_http.worker.observed import publish_interrupted

logger = logger_of("jobs")

#: How often a mutation runs whose process dies each time, and the delays in between. Webhooks have their own.
LOST_RETRY = Retry(max_attempts=5, backoff=1.0, max_backoff=60.0)
_ERROR = "The process that ran it died"
#: The maximum number of suspects after each sleep of a worker: the size of a batch, one of which killed the process.
_MAX_SUSPECTS = 100


class LostMutations:
    """Finds the mutations whose process died, and records their attempts.

    Args:
        backend: The deployment.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._marker = backend.engine.start_marker
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._suspects_left = 0
        self._suspect_before = 0.0

    def suspect(self, before: float) -> None:
        """Suspect jobs of having killed their process, since they were due and did not end.

        Args:
            before: Jobs that were due before this time, in milliseconds since the epoch.
        """
        self._suspect_before, self._suspects_left = before, _MAX_SUSPECTS

    def is_suspect(self, job: ScheduledFunction) -> bool:
        """Return whether a job must run alone, after its start was committed."""
        if job.attempts:
            return True
        return self._marker is None and self._suspects_left > 0 and job.due < self._suspect_before

    @property
    def is_marked(self) -> bool:
        """Whether a job is marked: one that runs in another process, or one whose process died."""
        return self._marker is not None and self._marker.read() is not None

    def find(self, transaction: Transaction) -> ScheduledFunction | None:
        """Return the job that ran when its process died, as the marker says, or None."""
        marked = None if self._marker is None else self._marker.read()
        if marked is None:
            return None
        try:
            job = self._backend.jobs.get(transaction, marked)
        except UnavailableError:
            raise
        except EngineError:  # its row cannot be read, and the next claim fails it
            job = None
        is_lost = job is not None and job.kind == "mutation" and job.completed_time is None
        return job if is_lost else None

    def mark(self, job: ScheduledFunction) -> None:
        """Mark a job before it runs."""
        if self._marker is not None:
            self._marker.write(job.id)

    def unmark(self) -> None:
        """Remove the mark."""
        if self._marker is not None:
            self._marker.clear()

    def start(self, transaction: Transaction, job: ScheduledFunction) -> ScheduledFunction:
        """Start an attempt of a suspect, and return its new row. No other worker takes it until the lease ends."""
        self._suspects_left -= 1
        now = self._backend.clock()
        return self._backend.jobs.start_alone(transaction, job, now, self._worker, self._lease_end(now))

    def hold(self, transaction: Transaction, job: ScheduledFunction) -> bool:
        """Return whether this worker still holds a job that it has started, and renew its lease."""
        jobs = self._backend.jobs
        current = jobs.get(transaction, job.id)
        if current is None or current.state != "pending" or not jobs.is_held(transaction, job):
            return False
        jobs.renew_leases(transaction, [job.id], self._worker, self._lease_end(self._backend.clock()))
        return True

    def undo_start(self, job: ScheduledFunction) -> None:
        """Make a job pending again whose transaction was rejected, so that its attempt does not count."""
        jobs, engine = self._backend.jobs, self._backend.engine

        def work(transaction: Transaction) -> None:
            if jobs.is_held(transaction, job):
                jobs.undo_start(transaction, job, self._backend.clock())

        try:
            engine.write(work)
        except Exception:  # its lease expires, and the attempt counts as lost
            logger.exception("The start of the scheduled mutation %s (%s) could not be undone", job.name, job.id)

    def end(self, calls: MutationCalls, job: ScheduledFunction) -> None:
        """Record an attempt that has no end: the job runs again later, or is dead-lettered."""
        jobs, now = self._backend.jobs, self._backend.clock()
        started = job if is_open(job) else with_attempt(job, now)
        count = sum(attempt.outcome in ("lost", "running") for attempt in started.attempts)
        delay = self._delay(calls, job, count)
        publish_interrupted(self._backend.telemetry, calls, started, now, _ERROR, is_final=delay is None)
        if delay is None:
            logger.error(
                "The process that ran the scheduled mutation %s (%s) died; it is dead", job.name, job.id, extra=EVENT
            )
            jobs.fail(calls.transaction, started, now, f"{_ERROR}, in attempt {count}", "lost")
            return
        logger.error(
            "The process that ran the scheduled mutation %s (%s) died in attempt %d; it runs alone in %.1f s",
            job.name,
            job.id,
            count,
            delay / 1000,
            extra=EVENT,
        )
        jobs.schedule_retry(calls.transaction, started, now, now + delay, _ERROR, "lost")

    def _delay(self, calls: MutationCalls, job: ScheduledFunction, count: int) -> float | None:
        """Return the milliseconds until a lost job runs again, or None if it must not."""
        function = self._backend.functions.get(job.name)
        if isinstance(function, MutationFunction) and function.on_lost is not None:
            try:
                return function.on_lost(calls.ctx(), job.args, _ERROR)
            except UnavailableError:
                raise
            except EngineError as error:  # its delivery cannot be read; the job must not run for ever
                logger.error("The lost job %s (%s) has a row that cannot be read: %s", job.name, job.id, error)
        return None if count >= LOST_RETRY.max_attempts else LOST_RETRY.delay(count)

    def _lease_end(self, now: float) -> float:
        return now + self._backend.settings.worker_lease * 1000


def is_open(job: ScheduledFunction) -> bool:
    """Return whether the last attempt of a job was started and has no end."""
    return bool(job.attempts) and job.attempts[-1].outcome == "running"


def with_attempt(job: ScheduledFunction, now: float) -> ScheduledFunction:
    """Return a job with one more attempt, whose start was not recorded."""
    attempts = [*job.attempts, Attempt(started=now)]
    return msgspec.structs.replace(job, attempts=attempts)  # type: ignore[type-var]  # a struct, as type checkers do not know
