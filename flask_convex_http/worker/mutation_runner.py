"""Run scheduled mutations: a batch of them in one transaction, each with its own outcome.

A mutation's writes, its outcome and the jobs it schedules are one commit, shared with the rest of the batch. A
mutation that fails is rolled back alone, to its savepoint. If the database rejects the whole transaction, all jobs of
the batch stay pending; `RejectedJobs` then finds the one that causes it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from flask_convex_http.backend import Backend
from flask_convex_http.engines import Transaction
from flask_convex_http.errors import is_of_transaction, text_of
from flask_convex_http.functions.function import Function, MutationFunction
from flask_convex_http.runtime import AppContext, MutationCalls
from flask_convex_http.runtime.caller import RunningJob
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.worker.rejected_jobs import RejectedJobs
from flask_convex_http.worker.resolve import record, resolve
from flask_convex_http.worker.results import AttemptResult, log_failure, log_success

#: The maximum number of mutations in one batch.
_BATCH_SIZE = 100
#: Seconds after which a batch starts no further mutation, since other writers wait.
_BATCH_SECONDS = 0.01


@dataclass(slots=True)
class _Batch:
    """The mutations of one transaction.

    Attributes:
        running: The id of the job that runs at the moment, or None.
        results: The results of the jobs that were handled.
    """

    running: str | None = None
    results: list[AttemptResult] = field(default_factory=list)

    def restart(self) -> None:
        """Drop all results, because the engine retries the transaction."""
        self.running, self.results = None, []


class MutationRunner:
    """Runs due mutations.

    Args:
        backend: The deployment.
        app_context: Returns the context that each function runs in, such as Flask's application context.
    """

    def __init__(self, backend: Backend, app_context: AppContext) -> None:
        self._backend = backend
        self._app_context = app_context
        self._rejected = RejectedJobs()

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
        try:
            self._backend.runtime.write(lambda calls: self._run_due(calls, batch, limit), self._backend.caller())
        except Exception:
            self._rejected.add([result.job.id for result in batch.results], batch.running)
            raise
        self._rejected.remove([result.job.id for result in batch.results])
        for result in batch.results:
            if result.was_run and result.error is None:
                log_success(result.job)
        return batch.results

    def _run_due(self, calls: MutationCalls, batch: _Batch, limit: int) -> None:
        batch.restart()
        end = time.monotonic() + _BATCH_SECONDS
        size = 1  # doubled each time, so that few rows are read that there is no time left to run
        while jobs := self._claim(calls.transaction, min(size, limit - len(batch.results))):
            for job in jobs:
                if time.monotonic() > end and batch.results:
                    return
                self._run_one(job, calls, batch)
            size *= 2

    def _claim(self, transaction: Transaction, limit: int) -> list[ScheduledFunction]:
        if not limit:
            return []
        due = self._backend.jobs.claim_due(transaction, "mutation", self._backend.clock(), limit + len(self._rejected))
        return [job for job in due if not self._rejected.is_paused(job.id)][:limit]

    def _run_one(self, job: ScheduledFunction, calls: MutationCalls, batch: _Batch) -> None:
        if batch.results and self._backend.jobs.is_canceled(calls.transaction, job.id):  # by an earlier job
            return
        batch.running = job.id
        batch.results.append(self._run(job, calls))
        batch.running = None

    def _run(self, job: ScheduledFunction, calls: MutationCalls) -> AttemptResult:
        jobs, clock = self._backend.jobs, self._backend.clock
        function = resolve(job, self._backend.functions, clock())
        if not isinstance(function, Function):
            record(function, job, jobs, calls.transaction, clock())
            return AttemptResult(job, was_run=False)
        result = self._call(job, function, calls)
        if result.error is None:
            jobs.succeed(calls.transaction, job, clock())
        else:
            self._fail(job, function, calls, text_of(result.error))
        return result

    def _fail(self, job: ScheduledFunction, function: Function[Any, Any], calls: MutationCalls, error: str) -> None:
        self._backend.jobs.fail(calls.transaction, job, self._backend.clock(), error)
        if isinstance(function, MutationFunction) and function.on_failure is not None:
            function.on_failure(calls.ctx(), job.args, error)

    def _call(self, job: ScheduledFunction, function: Function[Any, Any], calls: MutationCalls) -> AttemptResult:
        try:
            arguments = function.check_arguments((), job.args, json=True)
            return AttemptResult(job, calls.run_job(function, arguments, RunningJob(job.id, job.id), self._app_context))
        except BaseException as error:
            if is_of_transaction(error):
                raise  # not a failure of the function: the whole batch is retried
            log_failure(job, error)
            return AttemptResult(job, error=error)
