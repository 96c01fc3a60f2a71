"""Run scheduled mutations: a batch of them in one transaction, each with its own outcome.

A mutation's writes, its outcome and the jobs it schedules are one commit, shared with the rest of the batch. A
mutation that fails is rolled back alone, to its savepoint. If the database rejects the whole transaction, all jobs of
the batch stay pending; `RejectedJobs` then finds the one that causes it. A mutation that is over its time limit fails
in a transaction of its own, and the others of its batch run again. `LostMutations` finds those whose process died, and
they run alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask_convex_http.backend import Backend
from flask_convex_http.engines import Transaction
from flask_convex_http.error_texts import text_of
from flask_convex_http.errors import MutationTimeoutError, is_of_transaction
from flask_convex_http.functions.function import Function, MutationFunction
from flask_convex_http.runtime import AppContext, MutationCalls
from flask_convex_http.runtime.caller import RunningJob
from flask_convex_http.scheduling import JobControl
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.worker.lost_mutations import LostMutations, is_open
from flask_convex_http.worker.observed import observed, publish
from flask_convex_http.worker.rejected_jobs import RejectedJobs
from flask_convex_http.worker.resolve import record, resolve
from flask_convex_http.worker.results import AttemptResult, log_failure, log_successes

#: The maximum number of mutations in one batch.
_BATCH_SIZE = 100
#: Seconds after which a batch starts no further mutation, since other writers wait.
_BATCH_SECONDS = 0.01


@dataclass(slots=True)
class _Batch:
    """The mutations of one transaction.

    Attributes:
        running: The job that runs at the moment, or None.
        results: The results of the jobs that were handled.
        suspect: A job that was started and must run alone, after the commit.
        honored: The requests of operators that were honored, to be removed after the commit.
    """

    running: ScheduledFunction | None = None
    results: list[AttemptResult] = field(default_factory=list)
    suspect: ScheduledFunction | None = None
    honored: list[str] = field(default_factory=list)

    def restart(self) -> None:
        """Drop all results, because the engine retries the transaction."""
        self.running, self.results, self.suspect, self.honored = None, [], None, []


class MutationRunner:
    """Runs due mutations.

    Args:
        backend: The deployment.
        app_context: Returns the context that each function runs in, such as Flask's application context.
        control: Honors the requests of operators before jobs start. None to ignore them, as tests do.
    """

    def __init__(self, backend: Backend, app_context: AppContext, control: JobControl | None = None) -> None:
        self._backend = backend
        self._control = control
        self._app_context = app_context
        self._rejected = RejectedJobs()
        self._lost = LostMutations(backend)

    def suspect(self, before: float) -> None:
        """Run jobs alone that were due before this time, since one of them may have killed its process."""
        self._lost.suspect(before)

    def end_lost(self) -> None:
        """End the mutation that ran when its process died, if there is a mark. Nothing is written without one."""
        if self._lost.is_marked:
            self.run()

    def run(self, limit: int = _BATCH_SIZE) -> list[AttemptResult]:
        """Run one batch of due mutations, in the order of their time.

        Args:
            limit: The maximum number of mutations to run.

        Returns:
            The results of the jobs, including those that could not run in this process.

        Raises:
            ConvexHTTPError: The database rejected the transaction. All of its jobs are still pending.
        """
        batch, limit = _Batch(), self._rejected.limit(limit)
        self._write(batch, lambda calls: self._run_due(calls, batch, limit))
        if batch.honored and self._control is not None:
            self._control.requests.remove(batch.honored)
            return self.run(limit)
        return batch.results if batch.suspect is None else self._run_alone(batch.suspect)

    def _run_alone(self, job: ScheduledFunction) -> list[AttemptResult]:
        """Run a job whose start is committed, in a transaction of its own."""
        batch = _Batch()
        try:
            self._write(batch, lambda calls: self._run_started(calls, batch, job))
        except Exception:
            self._lost.undo_start(job)
            raise
        return batch.results

    def _write(self, batch: _Batch, body: Callable[[MutationCalls], None]) -> None:
        """Run a batch, and commit it."""
        try:
            self._backend.runtime.write(body, self._backend.caller(), label="batch of jobs")
        except MutationTimeoutError as error:
            if batch.running is None:
                raise
            self._fail_late(batch, batch.running, error)
        except Exception:
            running = None if batch.running is None else str(batch.running.id)
            self._rejected.add([result.job.id for result in batch.results], running)
            raise
        self._rejected.remove([result.job.id for result in batch.results])
        log_successes([result.job for result in batch.results if result.was_run and result.error is None])
        publish(self._backend.telemetry, batch.results)

    def _fail_late(self, batch: _Batch, job: ScheduledFunction, error: MutationTimeoutError) -> None:
        """Fail a job that ran for too long. The transaction it ran in is rolled back."""
        log_failure(job, error)
        batch.restart()

        def body(calls: MutationCalls) -> None:
            current = self._backend.jobs.get(calls.transaction, job.id)
            if current is not None and current.completed_time is None and current.attempts == job.attempts:
                self._fail(job, self._backend.functions.get(job.name), calls, text_of(error))

        self._backend.runtime.write(body, self._backend.caller())
        batch.results = [AttemptResult(job, error=error)]

    def _run_due(self, calls: MutationCalls, batch: _Batch, limit: int) -> None:
        batch.restart()
        if self._honor_requests(calls, batch):
            return
        lost = self._lost.find(calls.transaction)
        if lost is not None:
            self._end_lost(calls, batch, lost)
            self._lost.unmark()  # not after an error: the mark is the only trace of the death
            return
        try:
            self._run_batch(calls, batch, limit)
        finally:
            self._lost.unmark()

    def _honor_requests(self, calls: MutationCalls, batch: _Batch) -> bool:
        """Honor requests that came while this worker waited for the database. If there are any, nothing else runs."""
        requests = {} if self._control is None else self._control.requests.read_files()
        if self._control is not None and requests:
            batch.honored = self._control.honor(calls.transaction, requests)
        return bool(requests)

    def _run_batch(self, calls: MutationCalls, batch: _Batch, limit: int) -> None:
        end = time.monotonic() + _BATCH_SECONDS
        size = 1  # doubled each time, so that few rows are read that there is no time left to run
        while jobs := self._claim(calls.transaction, min(size, limit - len(batch.results))):
            for job in jobs:
                if time.monotonic() > end and batch.results:
                    return
                if self._lost.is_suspect(job):
                    self._start_suspect(calls, batch, job)
                    return
                self._run_one(job, calls, batch)
            size *= 2

    def _start_suspect(self, calls: MutationCalls, batch: _Batch, job: ScheduledFunction) -> None:
        """Commit the start of a job that must run alone. If its last start had no end, record that instead."""
        if batch.results:  # it is the first of the next batch
            return
        if is_open(job):
            self._end_lost(calls, batch, job)
        else:
            batch.suspect = self._lost.start(calls.transaction, job)

    def _end_lost(self, calls: MutationCalls, batch: _Batch, job: ScheduledFunction) -> None:
        """Record that a job's process died. Nothing runs in the same transaction, so that this is committed."""
        self._lost.end(calls, job)
        batch.results.append(AttemptResult(job, was_run=False))

    def _run_started(self, calls: MutationCalls, batch: _Batch, job: ScheduledFunction) -> None:
        batch.restart()
        if not self._lost.hold(calls.transaction, job):  # it was canceled since
            return
        try:
            self._run_one(job, calls, batch)
        finally:
            self._lost.unmark()

    def _claim(self, transaction: Transaction, limit: int) -> list[ScheduledFunction]:
        if not limit:
            return []
        due = self._backend.jobs.claim_due(transaction, "mutation", self._backend.clock(), limit + len(self._rejected))
        return [job for job in due if not self._rejected.is_paused(job.id)][:limit]

    def _run_one(self, job: ScheduledFunction, calls: MutationCalls, batch: _Batch) -> None:
        if batch.results and self._backend.jobs.is_canceled(calls.transaction, job.id):  # by an earlier job
            return
        batch.running = job
        self._lost.mark(job)
        batch.results.append(self._run(job, calls))
        batch.running = None

    def _run(self, job: ScheduledFunction, calls: MutationCalls) -> AttemptResult:
        jobs, clock = self._backend.jobs, self._backend.clock
        function = resolve(job, self._backend.functions, clock())
        if not isinstance(function, Function):
            return record(function, job, self._backend, calls.transaction)
        result = self._call(job, function, calls)
        if result.error is None:
            jobs.succeed(calls.transaction, job, clock())
        else:
            self._fail(job, function, calls, text_of(result.error))
        return result

    def _fail(
        self, job: ScheduledFunction, function: Function[Any, Any] | None, calls: MutationCalls, error: str
    ) -> None:
        self._backend.jobs.fail(calls.transaction, job, self._backend.clock(), error)
        if isinstance(function, MutationFunction) and function.on_failure is not None:
            function.on_failure(calls.ctx(), job.args, error)

    def _call(self, job: ScheduledFunction, function: Function[Any, Any], calls: MutationCalls) -> AttemptResult:
        if self._backend.telemetry.is_on:
            return observed(self._backend, job, lambda: self._attempt(job, function, calls))
        return self._attempt(job, function, calls)

    def _attempt(self, job: ScheduledFunction, function: Function[Any, Any], calls: MutationCalls) -> AttemptResult:
        try:
            arguments = function.check_arguments((), job.args, json=True)
            cron = None if calls.log is None else self._backend.crons.ticks.cron_of(calls.transaction, job)
            running = RunningJob(job.id, job.id, cron=cron)
            return AttemptResult(job, calls.run_job(function, arguments, running, self._app_context))
        except BaseException as error:
            if is_of_transaction(error):
                raise  # not a failure of the function: the whole batch is retried
            log_failure(job, error)
            return AttemptResult(job, error=error)
