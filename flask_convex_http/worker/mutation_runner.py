"""Running scheduled mutations: many of them in one transaction, each with its own completion.

A mutation's effects, its completion and what it schedules next are one commit, and the commit is shared with others
that were due. Each is undone alone if it fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from flask_convex_http.backend import Backend
from flask_convex_http.engines.base import Transaction
from flask_convex_http.errors import is_of_transaction
from flask_convex_http.functions.function import Function
from flask_convex_http.inbox.queue import PROCESS
from flask_convex_http.runtime.runtime import MutationCalls
from flask_convex_http.scheduling.scheduler import Job
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.worker.resolve import failure, function_of

#: How many mutations one transaction runs at most, and seconds after which it takes in no more: others want to write.
_MOST = 100
_SECONDS = 0.01
#: Seconds until something is tried again whose transaction the database has refused.
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 7200.0


class Batches:
    """Runs the mutations that are due.

    Args:
        backend: Where they are.
        around: What each is run in, such as an application context.

    Attributes:
        escaped: What a function raised last that is no Exception, such as Ctrl-C.
    """

    def __init__(self, backend: Backend, around: Callable[[], AbstractContextManager[Any]]) -> None:
        self._backend = backend
        self._around = around
        self.escaped: BaseException | None = None
        self._running: str | None = None
        self._ran: list[str] = []
        self._one_by_one = 0
        self._pauses: dict[str, tuple[int, float]] = {}

    def run(self, most: int = _MOST) -> list[str]:
        """Run what is due, as much as one transaction should; answers the ids of what has been dealt with.

        Args:
            most: How many at most.

        Raises:
            ConvexHTTPError: The database has refused the transaction; all that was in it is pending still.
        """
        self._running, self._ran = None, []
        most = 1 if self._one_by_one else most
        try:
            self._backend.runtime.write(lambda calls: self._run_due(calls, most), self._backend.caller())
        except Exception:
            self._find_culprit()
            raise
        self._one_by_one = max(self._one_by_one - len(self._ran), 0)
        for job_id in self._ran:
            self._pauses.pop(job_id, None)
        return self._ran

    def _run_due(self, calls: MutationCalls, most: int) -> None:
        end = time.monotonic() + _SECONDS
        self._ran, wanted = [], 1  # more each time: what is read and not run, with all its arguments, was read in vain
        while found := self._due(calls.transaction, min(wanted, most - len(self._ran))):
            for job in found:
                if time.monotonic() > end and self._ran:
                    return
                self._run_one(job, calls)
            wanted *= 2

    def _run_one(self, job: ScheduledFunction, calls: MutationCalls) -> None:
        if self._ran and self._backend.jobs.is_canceled(calls.transaction, job.id):  # by one of those before
            return
        self._running = job.id
        self._run(job, calls)
        self._running = None
        self._ran.append(job.id)

    def _due(self, transaction: Transaction, most: int) -> list[ScheduledFunction]:
        jobs, now = self._backend.jobs, self._backend.clock()
        found = jobs.due(transaction, "mutation", now, most + len(self._pauses)) if most else []
        return [job for job in found if not self._is_paused(job.id)][:most]

    def _run(self, job: ScheduledFunction, calls: MutationCalls) -> None:
        jobs, clock = self._backend.jobs, self._backend.clock
        function = function_of(job, self._backend.functions, jobs, calls.transaction, clock())
        if function is None:
            return
        error = self._call(job, function, calls)
        if error is None:
            jobs.succeed(calls.transaction, job, clock())
        else:
            jobs.fail(calls.transaction, job, clock(), error)
            if job.name == PROCESS:
                self._backend.inbox.queue.take_back(calls, job.args, error)

    def _call(self, job: ScheduledFunction, function: Function[Any, Any], calls: MutationCalls) -> str | None:
        """Run it, and answer what it failed with."""
        try:
            arguments = function.check_arguments((), job.args, json=True)
            calls.run_job(function, arguments, Job(job.id, job.id), self._around)
        except BaseException as error:
            if is_of_transaction(error):
                raise  # not the function's doing: all of the batch is tried again
            self.escaped = None if isinstance(error, Exception) else error
            return failure(job, error)
        return None

    # --- what the database has refused -------------------------------------------------------------------------------

    def _find_culprit(self) -> None:
        """Who fills the disk should not keep the others from running: if it may be several, each is tried alone."""
        suspects = self._ran if self._running is None else [self._running]
        if len(suspects) == 1:
            self._pause(suspects[0])
        else:
            self._one_by_one = len(suspects)

    def _pause(self, job_id: str) -> None:
        """Leave it alone for a while, longer each time, so that others come to their turn."""
        times, _ = self._pauses.get(job_id, (0, 0.0))
        pause = min(_FIRST_PAUSE * 2.0 ** min(times, 20), _LONGEST_PAUSE)
        now = time.monotonic()
        self._pauses[job_id] = (times + 1, now + pause)
        self._pauses = {paused: until for paused, until in self._pauses.items() if until[1] > now - _LONGEST_PAUSE}

    def _is_paused(self, job_id: str) -> bool:
        return job_id in self._pauses and time.monotonic() < self._pauses[job_id][1]
