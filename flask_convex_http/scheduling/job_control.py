"""Operations on jobs for operators: list, cancel and retry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, Snapshot, Transaction
from flask_convex_http.ids import table_of
from flask_convex_http.scheduling.jobs import KINDS, Jobs
from flask_convex_http.schema.system_tables import ScheduledFunction

JobState = Literal["pending", "inProgress", "success", "failed", "canceled"]
JobOutcome = Literal["canceled", "running", "ended", "pending", "refused", "unknown"]

#: The maximum number of jobs that one transaction cancels, since other writers wait for it.
_BATCH = 500
#: The maximum number of times that `cancel_pending` lists the jobs that were scheduled while it ran.
_MAX_PASSES = 20


class JobResult(NamedTuple):
    """The result of an operation on one job.

    Attributes:
        job_id: The id that was given.
        outcome: After `cancel`: "canceled", "running" for an action that was canceled but runs to its end, or "ended"
            for a job that had ended before. After `retry`: "pending", or "refused" for a job that has not failed and
            was not canceled, or that has not ended. After both: "unknown" if there is no such job.
        job: The job before it was canceled, or after it was made pending. None if there is no such job.
    """

    job_id: str
    outcome: JobOutcome
    job: ScheduledFunction | None


@dataclass(frozen=True, slots=True)
class JobControl:
    """Lists, cancels and retries the jobs of a deployment.

    Attributes:
        jobs: The jobs.
        engine: The database.
        clock: Returns the current time in milliseconds since the epoch.
    """

    jobs: Jobs
    engine: Engine
    clock: Callable[[], float]

    def list_jobs(self, state: JobState | None = None, *, limit: int) -> list[ScheduledFunction]:
        """Return jobs.

        Args:
            state: Only jobs in this state. Pending and running jobs come in the order of their time, and of ended jobs
                the last one comes first. By default all jobs, the newest first.
            limit: The maximum number of jobs.
        """
        with self.engine.snapshot() as snapshot:
            if state is None:
                table = self.jobs.table
                return Query(snapshot, table, table.indexes["by_creation_time"]).order("desc").take(limit)
            newest_first = state not in ("pending", "inProgress")
            order: Literal["asc", "desc"] = "desc" if newest_first else "asc"
            queries = [self.jobs.in_state(snapshot, state, kind).order(order) for kind in KINDS]
            found = [job for query in queries for job in query.take(limit)]
        return sorted(found, key=lambda job: (job.due, job.creation_time), reverse=newest_first)[:limit]

    def get(self, job_id: str) -> ScheduledFunction | None:
        """Return the job with this id, or None. The value may be any text."""
        with self.engine.snapshot() as snapshot:
            return self._find(snapshot, job_id)

    def cancel(self, job_ids: Iterable[str]) -> list[JobResult]:
        """Cancel jobs in one transaction. A running action runs to its end, but is not retried."""
        unique = list(dict.fromkeys(job_ids))
        return self.engine.write(lambda transaction: [self._cancel(transaction, job_id) for job_id in unique])

    def pending(self, function: str | None = None) -> list[str]:
        """Return the ids of all pending jobs.

        Args:
            function: Only jobs of this function.
        """
        with self.engine.snapshot() as snapshot:
            jobs = [job for kind in KINDS for job in self.jobs.in_state(snapshot, "pending", kind)]
        return [job.id for job in jobs if function is None or job.name == function]

    def cancel_pending(self, function: str | None = None) -> tuple[int, int]:
        """Cancel all pending jobs, and repeat that for jobs that were scheduled in between.

        Args:
            function: Only jobs of this function.

        Returns:
            The number of canceled jobs, and the number of jobs that are still pending because they were scheduled
            faster than canceled.
        """
        count, pending = 0, self.pending(function)
        for _ in range(_MAX_PASSES):
            for start in range(0, len(pending), _BATCH):
                count += self.engine.write(partial(self._cancel_batch, pending[start : start + _BATCH]))
            pending = self.pending(function)
            if not pending:
                break
        return count, len(pending)

    def retry(self, job_ids: Iterable[str]) -> list[JobResult]:
        """Make failed and canceled jobs pending again, in one transaction. They keep their ids.

        A job is due at once, unless it was canceled before its scheduled time. It keeps that time.
        """
        unique = list(dict.fromkeys(job_ids))
        results = self.engine.write(lambda transaction: [self._retry(transaction, job_id) for job_id in unique])
        if any(result.outcome == "pending" for result in results):
            self.jobs.announce(self.clock())
        return results

    def _cancel(self, transaction: Transaction, job_id: str) -> JobResult:
        job = self._find(transaction, job_id)
        if job is None:
            return JobResult(job_id, "unknown", None)
        if not self.jobs.cancel(transaction, job_id, self.clock()):
            return JobResult(job_id, "ended", job)
        return JobResult(job_id, "running" if job.state == "inProgress" else "canceled", job)

    def _cancel_batch(self, job_ids: list[str], transaction: Transaction) -> int:
        jobs = [self._find(transaction, job_id) for job_id in job_ids]
        pending = [job.id for job in jobs if job is not None and job.state == "pending"]
        return sum(self.jobs.cancel(transaction, job_id, self.clock()) for job_id in pending)

    def _retry(self, transaction: Transaction, job_id: str) -> JobResult:
        job = self._find(transaction, job_id)
        if job is None:
            return JobResult(job_id, "unknown", None)
        if job.state not in ("failed", "canceled") or job.completed_time is None:
            return JobResult(job_id, "refused", job)
        self.jobs.rerun(transaction, job, self.clock())
        return JobResult(job_id, "pending", self._find(transaction, job_id))

    def _find(self, snapshot: Snapshot, job_id: str) -> ScheduledFunction | None:
        # Other text may hold characters that a database rejects even in a query.
        return self.jobs.get(snapshot, job_id) if table_of(job_id) == self.jobs.table.name else None
