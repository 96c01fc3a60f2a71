"""Scheduled actions that run in this process: each on a thread of its own, a few at the same time.

An action is marked in progress, durably, before it starts. From then on its row is renewed as a sign of life until its
end is recorded; who finds a row that shows none takes its worker for dead (`leases`).
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from flask_convex_http.backend import Backend
from flask_convex_http.engines.base import Transaction
from flask_convex_http.functions.function import Function
from flask_convex_http.runtime.runtime import Caller
from flask_convex_http.scheduling.jobs import tried
from flask_convex_http.scheduling.scheduler import Job
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.worker.lost_actions import give_up, retry_of
from flask_convex_http.worker.resolve import failure, function_of

logger = logging.getLogger("flask_convex_http")

#: Seconds between two tries to record how an action ended.
_RECORD_AGAIN = 1.0
#: Milliseconds until an action is taken again that no thread was left for.
_START_AGAIN = 1000.0


class RunningActions:
    """Takes actions that are due and runs them.

    Args:
        backend: Where they are.
        around: What each is run in, such as an application context.
        ended: Called when one has ended, from its thread.

    Attributes:
        escaped: What a function raised last that is no Exception, such as Ctrl-C.
    """

    def __init__(
        self, backend: Backend, around: Callable[[], AbstractContextManager[Any]], ended: Callable[[], None]
    ) -> None:
        self._backend = backend
        self._around = around
        self._ended = ended
        self.escaped: BaseException | None = None
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._running: dict[str, ScheduledFunction] = {}
        self._changed = threading.Condition()

    @property
    def free(self) -> int:
        """How many more can be taken."""
        return max(self._backend.settings.worker_actions - len(self._running), 0)

    def take(self) -> int:
        """Take what is due, as far as there is room, and start it; answers how many rows were dealt with."""
        room = self.free
        seen, taken = self._backend.engine.write(lambda transaction: self._take_in(transaction, room))
        for job, function in taken:
            self._start(job, function)
        return len(seen)

    def run_one(self) -> list[str]:
        """Take one that is due and run it in this thread; answers the ids of what has been dealt with."""
        seen, taken = self._backend.engine.write(lambda transaction: self._take_in(transaction, 1))
        for job, function in taken:
            self._run(job, function)
        return seen

    def renew(self) -> None:
        """Show a sign of life for all that runs."""
        job_ids = list(self._running)
        if job_ids:
            self._backend.engine.write(
                lambda transaction: self._backend.jobs.renew(transaction, job_ids, self._worker, self._lease_ends())
            )

    def wait(self, seconds: float) -> bool:
        """Wait until none runs, but not longer; whether none does."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)

    def hand_back(self) -> None:
        """Give up what still runs: it is tried again elsewhere if its author allows that, and has failed otherwise."""
        with self._changed:
            left = list(self._running.values())
        for job in left:
            logger.warning("The scheduled action %s (%s) was stopped before it had ended", job.name, job.id)
            self._record_that(self._stop, job)
            self._forget(job)

    # --- taking ------------------------------------------------------------------------------------------------------

    def _take_in(
        self, transaction: Transaction, room: int
    ) -> tuple[list[str], list[tuple[ScheduledFunction, Function[Any, Any]]]]:
        jobs, functions, now = self._backend.jobs, self._backend.functions, self._backend.clock()
        due = jobs.due(transaction, "action", now, room)
        taken = []
        for job in due:
            function = function_of(job, functions, jobs, transaction, now)
            if function is not None:
                taken.append((jobs.start(transaction, job, now, self._worker, self._lease_ends()), function))
        return [job.id for job in due], taken

    def _lease_ends(self) -> float:
        return self._backend.clock() + self._backend.settings.worker_lease * 1000

    def _start(self, job: ScheduledFunction, function: Function[Any, Any]) -> None:
        with self._changed:
            self._running[job.id] = job
        thread = threading.Thread(target=self._run, args=(job, function), name=f"convex-action-{job.name}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads
            self._forget(job)
            self._record_that(self._put_back, job)

    # --- running -----------------------------------------------------------------------------------------------------

    def _run(self, job: ScheduledFunction, function: Function[Any, Any]) -> None:
        error = self._call(job, function)
        while not self._record(job, function, error):
            time.sleep(_RECORD_AGAIN)
        self._forget(job)
        self._ended()

    def _call(self, job: ScheduledFunction, function: Function[Any, Any]) -> str | None:
        """Run it, and answer what it failed with."""
        caller = self._backend.caller()
        caller = Caller(caller.auth, caller.site, 1, Job(job.id, job.id, len(job.attempts)))
        try:
            arguments = function.check_arguments((), job.args, json=True)
            with self._around():
                function.check_returns(function.handler(self._backend.runtime.action_ctx(caller), **arguments))
        except BaseException as error:
            self.escaped = None if isinstance(error, Exception) else error
            return failure(job, error, retry_of(function))
        return None

    def _record(self, job: ScheduledFunction, function: Function[Any, Any], error: str | None) -> bool:
        """Record how it ended; whether that could be done. Until then it keeps its lease."""
        try:
            is_ours = self._backend.engine.write(lambda transaction: self._end(transaction, job, function, error))
        except Exception:
            logger.exception("The end of the scheduled action %s (%s) could not be recorded yet", job.name, job.id)
            return job.id not in self._running
        if not is_ours:
            logger.warning("The scheduled action %s (%s) ended after it was taken for lost", job.name, job.id)
        return True

    def _end(
        self, transaction: Transaction, job: ScheduledFunction, function: Function[Any, Any], error: str | None
    ) -> bool:
        jobs, now = self._backend.jobs, self._backend.clock()
        if not jobs.is_held(transaction, job):
            return False
        if error is None:
            jobs.succeed(transaction, job, now)
            return True
        retry, count = retry_of(function), tried(job)
        if retry is None or count >= retry.max_attempts:
            jobs.fail(transaction, job, now, error)
        else:
            jobs.postpone(transaction, job, now, now + retry.delay(count), error)
        return True

    def _record_that(self, step: Callable[[ScheduledFunction, Transaction], None], job: ScheduledFunction) -> None:
        try:
            self._backend.engine.write(partial(step, job))
        except Exception:
            logger.exception(
                "That %s (%s) does not run could not be recorded; it will be taken for lost", job.name, job.id
            )

    def _put_back(self, job: ScheduledFunction, transaction: Transaction) -> None:
        if self._backend.jobs.is_held(transaction, job):
            self._backend.jobs.put_back(transaction, job, self._backend.clock() + _START_AGAIN)

    def _stop(self, job: ScheduledFunction, transaction: Transaction) -> None:
        if self._backend.jobs.is_held(transaction, job):
            give_up(self._backend, transaction, job, "stopped")

    def _forget(self, job: ScheduledFunction) -> None:
        with self._changed:
            self._running.pop(job.id, None)
            self._changed.notify_all()
