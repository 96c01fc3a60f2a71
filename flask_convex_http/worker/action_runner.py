"""Run scheduled actions, each on a thread of its own, up to a limit at the same time.

A committed transaction marks an action as in progress before it starts. From then on its worker renews the row's lease
until the result is recorded. A row whose lease is not renewed belongs to a worker that died (`lost_actions`).
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

from flask_convex_http.backend import Backend
from flask_convex_http.engines import Transaction
from flask_convex_http.error_texts import text_of
from flask_convex_http.errors import MutationTimeoutError
from flask_convex_http.functions.function import Function
from flask_convex_http.log import logger_of
from flask_convex_http.runtime import AppContext, MutationCalls
from flask_convex_http.runtime.caller import Caller, RunningJob
from flask_convex_http.scheduling.jobs import count_attempts
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.worker.final_failures import fail_action
from flask_convex_http.worker.lost_actions import end_interrupted_attempt, retry_of
from flask_convex_http.worker.observed import observed, publish
from flask_convex_http.worker.resolve import record, resolve
from flask_convex_http.worker.results import AttemptResult, is_final, last_attempt, log_failure, log_success

T = TypeVar("T")

logger = logger_of("jobs")

#: Seconds between two attempts to record the result of an action.
_RECORD_AGAIN = 1.0
#: Milliseconds after which an action is due again if the system had no thread for it.
_START_AGAIN = 1000.0


class _Claim(NamedTuple):
    """A due job that this worker has claimed, with its function, or with the result if it cannot run here."""

    job: ScheduledFunction
    resolved: Function[Any, Any] | AttemptResult


class ActionRunner:
    """Runs due actions.

    Args:
        backend: The deployment.
        app_context: Returns the context that each function runs in, such as Flask's application context.
        on_end: Called when an action has ended, from the action's thread.
    """

    def __init__(
        self,
        backend: Backend,
        app_context: AppContext,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._backend = backend
        self._app_context = app_context
        self._on_end = on_end
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._running: dict[str, ScheduledFunction] = {}
        self._changed = threading.Condition()

    @property
    def free_slots(self) -> int:
        """The number of further actions that may start now."""
        return max(self._backend.settings.worker_actions - len(self._running), 0)

    def start_due(self) -> int:
        """Start due actions, up to the free slots, and return the number of jobs that were claimed."""
        claims = self._claim_due(self.free_slots)
        for job, resolved in claims:
            if isinstance(resolved, Function):
                self._start(job, resolved)
        return len(claims)

    def run_one(self) -> list[AttemptResult]:
        """Run one due action in this thread, and return its result, or an empty list if none is due."""
        return [
            self._run(job, resolved) if isinstance(resolved, Function) else resolved
            for job, resolved in self._claim_due(1)
        ]

    def renew_leases(self) -> None:
        """Renew the leases of all actions that run here."""
        job_ids = list(self._running)
        if job_ids:
            self._backend.engine.write(
                lambda transaction: self._backend.jobs.renew_leases(
                    transaction, job_ids, self._worker, self._lease_end()
                )
            )

    def wait(self, seconds: float) -> bool:
        """Wait until no action runs, at most this many seconds, and return whether none runs."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)

    def interrupt(self) -> None:
        """Record the attempts of all running actions as stopped. Actions with a `Retry` are retried, others fail."""
        with self._changed:
            remaining = list(self._running.values())
        for job in remaining:
            logger.warning("The scheduled action %s (%s) was stopped before it had ended", job.name, job.id)
            self._try(partial(self._write, partial(self._end_as_stopped, job)), job)
            self._remove(job)

    # --- starting ----------------------------------------------------------------------------------------------------

    def _claim_due(self, limit: int) -> list[_Claim]:
        claims = self._backend.engine.write(lambda transaction: self._claim_in(transaction, limit))
        publish(self._backend.telemetry, [each for _, each in claims if isinstance(each, AttemptResult)])
        return claims

    def _claim_in(self, transaction: Transaction, limit: int) -> list[_Claim]:
        now = self._backend.clock()
        due = self._backend.jobs.claim_due(transaction, "action", now, limit)
        return [self._claim(transaction, job, now) for job in due]

    def _claim(self, transaction: Transaction, job: ScheduledFunction, now: float) -> _Claim:
        jobs = self._backend.jobs
        function = resolve(job, self._backend.functions, now)
        if isinstance(function, Function):
            return _Claim(jobs.start(transaction, job, now, self._worker, self._lease_end()), function)
        return _Claim(job, record(function, job, self._backend, transaction))

    def _lease_end(self) -> float:
        return self._backend.clock() + self._backend.settings.worker_lease * 1000

    def _start(self, job: ScheduledFunction, function: Function[Any, Any]) -> None:
        with self._changed:
            self._running[job.id] = job
        thread = threading.Thread(target=self._run, args=(job, function), name=f"convex-action-{job.name}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads
            self._remove(job)
            self._try(partial(self._backend.engine.write, partial(self._undo_start, job)), job)

    # --- running -----------------------------------------------------------------------------------------------------

    def _run(self, job: ScheduledFunction, function: Function[Any, Any]) -> AttemptResult:
        result = self._call(job, function)
        while not self._record(result, function):
            time.sleep(_RECORD_AGAIN)
        self._remove(job)
        self._on_end()
        return result

    def _call(self, job: ScheduledFunction, function: Function[Any, Any]) -> AttemptResult:
        if self._backend.telemetry.is_on:
            return observed(self._backend, job, lambda: self._attempt(job, function))
        return self._attempt(job, function)

    def _attempt(self, job: ScheduledFunction, function: Function[Any, Any]) -> AttemptResult:
        caller = self._backend.caller()
        try:
            number, last = len(job.attempts), last_attempt(job, retry_of(function))
            caller = Caller(caller.auth, caller.site, 1, RunningJob(job.id, job.id, number, last, self._cron_of(job)))
            arguments = function.check_arguments((), job.args, json=True)
            with self._app_context():
                ctx = self._backend.runtime.action_ctx(caller)
                return AttemptResult(job, self._backend.runtime.call(function, ctx, arguments, caller))
        except BaseException as error:
            log_failure(job, error, retry_of(function))
            return AttemptResult(job, error=error)

    def _cron_of(self, job: ScheduledFunction) -> str | None:
        if self._backend.settings.history == "off":
            return None
        with self._backend.engine.snapshot() as snapshot:
            return self._backend.crons.ticks.cron_of(snapshot, job)

    def _record(self, result: AttemptResult, function: Function[Any, Any], *, as_job: bool = False) -> bool:
        """Record the result of an action, and return False if it must be tried again.

        The action keeps its lease until then. An action that was interrupted is not tried again. `as_job` schedules
        `on_failure` instead of running it.
        """
        job = result.job
        try:
            is_held = self._write(lambda calls: self._end(calls, result, function, as_job=as_job))
        except MutationTimeoutError:
            logger.error("on_failure of the scheduled action %s (%s) took too long", job.name, job.id)
            return not as_job and self._record(result, function, as_job=True)
        except Exception:
            logger.exception("The end of the scheduled action %s (%s) could not be recorded yet", job.name, job.id)
            return job.id not in self._running
        if not is_held:  # who has ended the attempt has published it
            logger.warning("The scheduled action %s (%s) ended after its lease had expired", job.name, job.id)
            return True
        if result.error is None:
            log_success(job)
        publish(self._backend.telemetry, [result], retry_of(function))
        return True

    def _end(self, calls: MutationCalls, result: AttemptResult, function: Function[Any, Any], *, as_job: bool) -> bool:
        """Write the result to the row, and return whether this worker still held the row. If not, write nothing."""
        job, jobs, transaction = result.job, self._backend.jobs, calls.transaction
        if not jobs.is_held(transaction, job):
            return False
        if result.error is None:
            jobs.succeed(transaction, job, self._backend.clock())
            return True
        retry, now = retry_of(function), self._backend.clock()
        if retry is None or is_final(job, result.error, retry):
            fail_action(self._backend, self._app_context, calls, job, text_of(result.error), as_job=as_job)
        else:
            due = now + retry.delay(count_attempts(job))
            jobs.schedule_retry(transaction, job, now, due, text_of(result.error))
        return True

    def _write(self, body: Callable[[MutationCalls], T]) -> T:
        return self._backend.runtime.write(body, self._backend.caller())

    def _try(self, write: Callable[[], None], job: ScheduledFunction) -> None:
        try:
            write()
        except Exception:
            logger.exception(
                "The end of %s (%s) could not be recorded; its lease expires, and it is then lost", job.name, job.id
            )

    def _undo_start(self, job: ScheduledFunction, transaction: Transaction) -> None:
        if self._backend.jobs.is_held(transaction, job):
            self._backend.jobs.undo_start(transaction, job, self._backend.clock() + _START_AGAIN)

    def _end_as_stopped(self, job: ScheduledFunction, calls: MutationCalls) -> None:
        if self._backend.jobs.is_held(calls.transaction, job):
            end_interrupted_attempt(self._backend, self._app_context, calls, job, "stopped")

    def _remove(self, job: ScheduledFunction) -> None:
        with self._changed:
            self._running.pop(job.id, None)
            self._changed.notify_all()
