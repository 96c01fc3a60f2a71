"""Operations on jobs for operators: list, cancel, pause, resume and retry.

While another write holds the database for longer than a few seconds, such as a job that loops, operations other than
`retry` become requests to the workers (`job_requests`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal, NamedTuple

import msgspec

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.listings import Listing, list_documents
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, Snapshot, Transaction
from flask_convex_http.errors import OverloadedError
from flask_convex_http.ids import table_of
from flask_convex_http.log import logger_of
from flask_convex_http.scheduling.job_requests import JobRequest, JobRequests, RequestKind, is_paused
from flask_convex_http.scheduling.jobs import KINDS, Jobs
from flask_convex_http.scheduling.submission import Submission
from flask_convex_http.schema.system_tables import ScheduledFunction

JobState = Literal["pending", "inProgress", "success", "failed", "canceled", "paused"]
JobOutcome = Literal["canceled", "running", "ended", "pending", "paused", "requested", "refused", "unknown"]

#: Seconds for which an operation waits for other writes before it becomes a request.
_TIMEOUT = 3.0

logger = logger_of("jobs")

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
            was not canceled, or that has not ended. After `run_now`: "pending", or "refused" for a job in another
            state. After `pause`: "paused", or "refused" for a job that is not pending. After `resume`: "pending", or
            "refused" for a job that is not paused. After all: "unknown" if there is no such job, and, except after
            `retry` and `run_now`, "requested" if a worker will do it, because the database is busy.
        job: The job before it was canceled or paused, or after it was made pending. None if there is no such job.
    """

    job_id: str
    outcome: JobOutcome
    job: ScheduledFunction | None


class CancelResult(NamedTuple):
    """The result of canceling all pending jobs.

    Attributes:
        canceled: The number of canceled jobs.
        pending: The number of jobs that are still pending.
        is_requested: Whether a worker will cancel them, because the database is busy.
    """

    canceled: int
    pending: int
    is_requested: bool


Change = Callable[[Transaction, str], JobResult]


@dataclass(frozen=True, slots=True)
class JobControl:
    """Lists, cancels, pauses and retries the jobs of a deployment.

    Attributes:
        jobs: The jobs.
        engine: The database.
        clock: Returns the current time in milliseconds since the epoch.
        requests: The requests to the workers.
    """

    jobs: Jobs
    engine: Engine
    clock: Callable[[], float]
    requests: JobRequests

    def list_jobs(self, state: JobState | None = None, *, limit: int) -> list[ScheduledFunction]:
        """Return jobs.

        Args:
            state: Only jobs in this state. Pending and running jobs come in the order of their time, and of ended jobs
                the last one comes first. By default all jobs, the newest first.
            limit: The maximum number of jobs.
        """
        return self.page(state, limit=limit).documents

    def page(
        self, state: JobState | None = None, *, limit: int, after: Sequence[Any] | None = None
    ) -> Listing[ScheduledFunction]:
        """Return a page of the jobs that `list_jobs` returns.

        Args:
            state: Only jobs in this state.
            limit: The maximum number of jobs.
            after: The place at which the previous page of this list ended; None for the first page.
        """
        with self.engine.snapshot() as snapshot:
            if state is None:
                table = self.jobs.table
                newest = Query(snapshot, table, table.indexes["by_creation_time"]).order("desc")
                return list_documents(newest, limit, after)
            return self._page_in(snapshot, state, limit, after)

    def get(self, job_id: str) -> ScheduledFunction | None:
        """Return the job with this id, or None. The value may be any text."""
        with self.engine.snapshot() as snapshot:
            return self._find(snapshot, job_id)

    def cancel(self, job_ids: Iterable[str]) -> list[JobResult]:
        """Cancel jobs in one transaction. A running action runs to its end, but is not retried."""
        results = self._change("cancel", self._cancel, job_ids)
        if any(result.outcome == "canceled" for result in results):
            self.jobs.announce(self.clock())  # the next delivery of a lane may be due
        return results

    def pause(self, job_ids: Iterable[str]) -> list[JobResult]:
        """Pause pending jobs in one transaction. They do not start until they are resumed."""
        return self._change("pause", self._pause, job_ids)

    def resume(self, job_ids: Iterable[str]) -> list[JobResult]:
        """Make paused jobs pending again, in one transaction. A job whose time has passed is due at once."""
        results = self._change("resume", self._resume, job_ids)
        if any(result.outcome == "pending" for result in results):
            self.jobs.announce(self.clock())
        return results

    def pause_all(self) -> int:
        """Keep all workers from starting jobs and crons, and return the number of actions that run and continue."""
        if not self.is_paused():
            self.requests.add([JobRequest(kind="pause_all", time=self.clock())])
        with self.engine.snapshot() as snapshot:
            return len(self.jobs.running_actions(snapshot))

    def resume_all(self) -> bool:
        """Let workers start jobs again, and return whether they were paused. Jobs that were paused by id stay so."""
        with self.engine.snapshot() as snapshot:
            found = self.requests.read(snapshot)
        names = [name for name, request in found.items() if request.kind == "pause_all"]
        self.requests.remove(names)
        self.engine.notifications.notify()
        return bool(names)

    def is_paused(self) -> bool:
        """Return whether workers start no jobs."""
        with self.engine.snapshot() as snapshot:
            return is_paused(self.requests.read(snapshot))

    def honor(self, transaction: Transaction, requests: dict[str, JobRequest]) -> list[str]:
        """Do what requests ask for, as a part of a transaction.

        Returns:
            The names of the requests to remove after the commit.
        """
        return [name for name, request in requests.items() if self._honor(transaction, request)]

    def pending(self, function: str | None = None) -> list[str]:
        """Return the ids of all pending jobs.

        Args:
            function: Only jobs of this function.
        """
        with self.engine.snapshot() as snapshot:
            jobs = [job for kind in KINDS for job in self.jobs.in_state(snapshot, "pending", kind)]
        return [job.id for job in jobs if function is None or job.name == function]

    def cancel_pending(self, function: str | None = None) -> CancelResult:
        """Cancel all pending jobs, and repeat that for jobs that were scheduled in between.

        Args:
            function: Only jobs of this function.

        Returns:
            The number of canceled jobs, the number of jobs that are still pending, and whether a worker will cancel
            these, because the database is busy. Otherwise they were scheduled faster than canceled.
        """
        count, passes = 0, 0
        while (pending := self.pending(function)) and passes < _MAX_PASSES:
            passes += 1
            canceled, is_overloaded = self._cancel_batches(pending)
            count += canceled
            if is_overloaded:
                self.requests.add([JobRequest(kind="cancel_all", time=self.clock(), function=function)])
                return CancelResult(count, len(self.pending(function)), is_requested=True)
        if count:
            self.jobs.announce(self.clock())
        return CancelResult(count, len(pending), is_requested=False)

    def _cancel_batches(self, job_ids: list[str]) -> tuple[int, bool]:
        """Cancel pending jobs, and return their number and whether the database was too busy for the rest."""
        count = 0
        for start in range(0, len(job_ids), _BATCH):
            batch = job_ids[start : start + _BATCH]
            try:
                count += self.engine.write(partial(self._cancel_batch, batch), timeout=_TIMEOUT)
            except OverloadedError:
                return count, True
        return count, False

    def retry(self, job_ids: Iterable[str]) -> list[JobResult]:
        """Make failed and canceled jobs pending again, in one transaction. They keep their ids.

        A job is due at once, unless it was canceled before its scheduled time. It keeps that time.
        """
        unique = list(dict.fromkeys(job_ids))
        results = self.engine.write(lambda transaction: [self._retry(transaction, job_id) for job_id in unique])
        if any(result.outcome == "pending" for result in results):
            self.jobs.announce(self.clock())
        return results

    def run_now(self, job_ids: Iterable[str]) -> list[JobResult]:
        """Make pending jobs due at once, in one transaction."""
        unique = list(dict.fromkeys(job_ids))
        results = self.engine.write(lambda transaction: [self._run_now(transaction, job_id) for job_id in unique])
        self.jobs.announce(self.clock())
        return results

    def add_now(self, submission: Submission) -> str:
        """Add a job that is due at once, such as one more run of a cron, and return its id."""
        now = self.clock()
        due = msgspec.structs.replace(submission, when=now)
        job_id = self.engine.write(lambda transaction: self.jobs.add(transaction, CreationTimes(now), now, due))
        self.jobs.announce(now)
        return job_id

    def _page_in(
        self, snapshot: Snapshot, state: JobState, limit: int, after: Sequence[Any] | None
    ) -> Listing[ScheduledFunction]:
        """Return a page of the jobs in a state. The index has those of each kind side by side."""
        is_ended = state not in ("pending", "inProgress", "paused")
        found: list[ScheduledFunction] = []
        for kind in KINDS:
            query = self.jobs.in_state(snapshot, state, kind).order("desc" if is_ended else "asc")
            found += list_documents(query, limit + 1, None if after is None else [state, kind, *after]).documents
        found.sort(key=_place, reverse=is_ended)
        return Listing(found[:limit], list(_place(found[limit - 1])) if len(found) > limit else None)

    def _change(self, kind: RequestKind, change: Change, job_ids: Iterable[str]) -> list[JobResult]:
        """Change jobs in one transaction. If the database is busy, ask the workers to do it."""
        unique = list(dict.fromkeys(job_ids))
        try:
            return self.engine.write(
                lambda transaction: [change(transaction, job_id) for job_id in unique], timeout=_TIMEOUT
            )
        except OverloadedError:
            with self.engine.snapshot() as snapshot:
                jobs = {job_id: self._find(snapshot, job_id) for job_id in unique}
        open_jobs = [job.id for job in jobs.values() if job is not None and job.completed_time is None]
        now = self.clock()
        self.requests.add([JobRequest(kind=kind, time=now, job=job_id) for job_id in open_jobs])
        return [_requested(job_id, job) for job_id, job in jobs.items()]

    def _honor(self, transaction: Transaction, request: JobRequest) -> bool:
        """Do what a request asks for, and return whether it is done."""
        changes: dict[str, Change] = {"cancel": self._cancel, "pause": self._pause, "resume": self._resume}
        if request.kind in changes:
            result = changes[request.kind](transaction, request.job)
            if request.kind == "cancel" and result.outcome == "ended" and result.job is not None:
                self.jobs.cancel_next(transaction, result.job, self.clock())
            logger.info("The job %s was requested to %s: %s", request.job, request.kind, result.outcome)
            return True
        if request.kind != "cancel_all":
            return False
        queries = [self.jobs.in_state(transaction, "pending", kind) for kind in KINDS]
        found = (job for query in queries for job in query if job.creation_time <= request.time)
        ids = list(islice((job.id for job in found if request.function in (None, job.name)), _BATCH))
        logger.info("%d jobs were requested to cancel", self._cancel_batch(ids, transaction))
        return len(ids) < _BATCH

    def _pause(self, transaction: Transaction, job_id: str) -> JobResult:
        job = self._find(transaction, job_id)
        if job is None:
            return JobResult(job_id, "unknown", None)
        return JobResult(job_id, "paused" if self.jobs.pause(transaction, job) else "refused", job)

    def _resume(self, transaction: Transaction, job_id: str) -> JobResult:
        job = self._find(transaction, job_id)
        if job is None:
            return JobResult(job_id, "unknown", None)
        return JobResult(job_id, "pending" if self.jobs.resume(transaction, job) else "refused", job)

    def _cancel(self, transaction: Transaction, job_id: str) -> JobResult:
        job = self._find(transaction, job_id)
        if job is None:
            return JobResult(job_id, "unknown", None)
        if not self.jobs.cancel(transaction, job_id, self.clock()):
            return JobResult(job_id, "ended", job)
        return JobResult(job_id, "running" if job.state == "inProgress" else "canceled", job)

    def _cancel_batch(self, job_ids: Sequence[str], transaction: Transaction) -> int:
        jobs = [self._find(transaction, job_id) for job_id in job_ids]
        pending = [job.id for job in jobs if job is not None and job.state == "pending"]
        return sum(self.jobs.cancel(transaction, job_id, self.clock()) for job_id in pending)

    def _retry(self, transaction: Transaction, job_id: str) -> JobResult:
        job = self._find(transaction, job_id)
        if job is None:
            return JobResult(job_id, "unknown", None)
        is_delivery = job.name in self.jobs.on_cancel and job.state == "canceled"
        if job.state not in ("failed", "canceled") or job.completed_time is None or is_delivery:
            return JobResult(job_id, "refused", job)
        self.jobs.rerun(transaction, job, self.clock())
        return JobResult(job_id, "pending", self._find(transaction, job_id))

    def _run_now(self, transaction: Transaction, job_id: str) -> JobResult:
        job = self._find(transaction, job_id)
        if job is None or job.state != "pending":
            return JobResult(job_id, "unknown" if job is None else "refused", job)
        self.jobs.reschedule(transaction, job, min(job.due, self.clock()))
        return JobResult(job_id, "pending", self._find(transaction, job_id))

    def _find(self, snapshot: Snapshot, job_id: str) -> ScheduledFunction | None:
        # Other text may hold characters that a database rejects even in a query.
        return self.jobs.get(snapshot, job_id) if table_of(job_id) == self.jobs.table.name else None


def _place(job: ScheduledFunction) -> tuple[float, float, str]:
    return job.due, job.creation_time, job.id


def _requested(job_id: str, job: ScheduledFunction | None) -> JobResult:
    if job is None:
        return JobResult(job_id, "unknown", None)
    return JobResult(job_id, "requested" if job.completed_time is None else "ended", job)
