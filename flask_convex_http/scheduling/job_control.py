"""List, cancel and retry jobs: what an operator does with them."""

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

#: Jobs that one transaction cancels. Other writers wait that long.
_BATCH = 500
#: How often `cancel_pending` looks for jobs that were scheduled while it ran.
_MAX_PASSES = 20


class JobResult(NamedTuple):
    """The result of an operation on one job.

    Attributes:
        job_id: The id that was given.
        outcome: "canceled"; "running" for an action that was canceled while it runs; "ended" for a job that had ended
            before; "pending" for a job that will run again; "refused" for one that cannot; "unknown" for no job.
        job: The job afterwards, or None if there is no such job.
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
            state: Only jobs in this state. Pending and running jobs come in the order of their time, ended ones last
                first. Without it, all jobs come, the newest first.
            limit: The largest number of jobs.
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
        """Return a job, or None if the value is no id of one."""
        with self.engine.snapshot() as snapshot:
            return self._find(snapshot, job_id)

    def cancel(self, job_ids: Iterable[str]) -> list[JobResult]:
        """Cancel jobs in one transaction. An action that runs goes on, and is not retried."""
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
        """Cancel all pending jobs, and those that are scheduled until all are canceled.

        Args:
            function: Only jobs of this function.

        Returns:
            How many were canceled, and how many are pending because they were scheduled faster than canceled.
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
        """Run failed and canceled jobs again, under their old ids. A job canceled before its time runs at its time."""
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
        # Text that is no id may hold characters that a database does not even take in a query.
        return self.jobs.get(snapshot, job_id) if table_of(job_id) == self.jobs.table.name else None
