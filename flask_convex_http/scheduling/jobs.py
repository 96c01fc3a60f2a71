"""Jobs as rows of `_scheduled_functions`: their states, and every step from one state to the next.

    pending <-> paused                             an operator pauses and resumes a job
    pending -> success | failed | canceled         a mutation, in the transaction that runs it
    pending -> pending                             a mutation whose process died, and that runs again later
    pending -> inProgress -> success | failed      an action; it is canceled if that is asked for while it runs
    inProgress -> pending                          an action that is retried

Each step is a part of the caller's transaction and looks at the row first, so that one of two workers gets a job. `due`
is the time of the next step of a row: a run, the end of a lease, or the purge. So one index finds all of them.
Times are milliseconds since the epoch. This module runs no function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import msgspec

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Snapshot, Transaction
from flask_convex_http.errors import ArgumentRangeError, EngineError
from flask_convex_http.ids import Id, table_of
from flask_convex_http.log import logger_of
from flask_convex_http.scheduling.submission import Submission
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.index_ranges import Range, Segment, gte, lte, segments
from flask_convex_http.schema.system_tables import Attempt, ScheduledFunction

logger = logger_of("jobs")

Kind = Literal["mutation", "action"]
CancelHook = Callable[[Transaction, ScheduledFunction, float], None]
AttemptOutcome = Literal["success", "failed", "lost", "stopped"]

#: Seconds after which a worker looks at the database without a wake-up. A job that is due later needs none.
POLL_SECONDS = 5.0

KINDS: tuple[Kind, ...] = ("mutation", "action")
_ENDED = ("success", "failed", "canceled")
_WAITING = ("pending", "paused")
#: `due` of an action that was canceled while it runs: it must not be purged, and its worker may die. The last time that
#: JavaScript can represent.
_STILL_RUNNING = 8.64e15


@dataclass(slots=True)
class Jobs:
    """The jobs of an application.

    Attributes:
        schema: The application's schema.
        announce: Wakes the workers for a job that is due at the time it gets.
        trace: Returns the `traceparent` of what schedules a job, or None. None without tracing.
        on_cancel: By the name of a function of the package: called after its job was canceled, in the same transaction.
        table: The table of the rows.
    """

    schema: Schema
    announce: Callable[[float], None]
    trace: Callable[[], str | None] | None = None
    on_cancel: dict[str, CancelHook] = field(default_factory=dict)
    table: Table[ScheduledFunction] = field(init=False)

    def __post_init__(self) -> None:
        self.table = self.schema.table_for(ScheduledFunction)

    # --- reading -----------------------------------------------------------------------------------------------------

    def get(self, snapshot: Snapshot, job_id: str) -> ScheduledFunction | None:
        """Return the job with this id, or None."""
        row = snapshot.get(self.table, job_id)
        return None if row is None else self.table.read(row)

    def claim_due(self, transaction: Transaction, kind: Kind, now: float, limit: int) -> list[ScheduledFunction]:
        """Claim due jobs that no other transaction has claimed, in the order of their time.

        A row that cannot be read, such as one that was edited by hand, fails here. It would block all jobs behind it.
        """
        jobs = []
        for row in transaction.claim(self.table, self._pending(kind, lte(now)), limit=limit):
            try:
                jobs.append(self.table.read(row))
            except EngineError as error:
                self._fail_unreadable(transaction, row[0], now, str(error))
        return jobs

    def next_due(self, snapshot: Snapshot, kind: Kind) -> float | None:
        """Return the time of the first pending job of a kind, or None if there is none."""
        rows = snapshot.select(self.table, self._pending(kind, None), descending=False, limit=1)
        return rows[0][2 + list(self.table.columns).index("due")] if rows else None

    def in_state(
        self, snapshot: Snapshot, state: str, kind: Kind, due: Range | None = None
    ) -> Query[ScheduledFunction]:
        """Return a query of the jobs in a state and of a kind, in the order of `due`."""
        start = Query(snapshot, self.table, self.table.indexes["by_creation_time"])
        bounds = {} if due is None else {"due": due}
        return start.with_index("by_state", state=state, kind=kind, **bounds)

    def running_actions(self, snapshot: Snapshot) -> list[ScheduledFunction]:
        """Return the actions that run in any process, those that were canceled while they run included."""
        canceled = self.in_state(snapshot, "canceled", "action", gte(_STILL_RUNNING))
        return [*self.in_state(snapshot, "inProgress", "action"), *canceled]

    def is_canceled(self, snapshot: Snapshot, job_id: str) -> bool:
        """Return whether a job is canceled."""
        job = self.get(snapshot, job_id)
        return job is not None and job.state == "canceled"

    # --- steps -------------------------------------------------------------------------------------------------------

    def add(
        self,
        transaction: Transaction,
        times: CreationTimes,
        now: float,
        submission: Submission,
        *,
        is_canceled: bool = False,
    ) -> Id[ScheduledFunction]:
        """Add a pending job, or one that was canceled before it began, and return its id."""
        time = times.take()
        job_id = times.new_id("_scheduled_functions", time)
        row = (  # in the order of the columns
            job_id,
            time,
            submission.name,
            submission.arguments.decode(),
            submission.kind,
            "canceled" if is_canceled else "pending",
            submission.when,
            now if is_canceled else submission.when,
            now if is_canceled else None,
            None,
            None,
            "[]",
            None if self.trace is None else self.trace(),
        )
        transaction.insert(self.table, row)
        return Id(job_id)

    def start(
        self, transaction: Transaction, job: ScheduledFunction, now: float, worker: str, lease_end: float
    ) -> ScheduledFunction:
        """Start an attempt of an action, and return the new row. The worker holds the job until the lease ends."""
        attempts = [*job.attempts, Attempt(started=now)]
        changes = {"state": "inProgress", "worker": worker, "due": lease_end, "attempts": attempts}
        self._change(transaction, job.id, **changes)
        return msgspec.structs.replace(job, **changes)  # type: ignore[type-var]  # a struct, as type checkers do not know

    def start_alone(
        self, transaction: Transaction, job: ScheduledFunction, now: float, worker: str, lease_end: float
    ) -> ScheduledFunction:
        """Start an attempt of a mutation that may kill its process, and return the new row.

        The job stays pending, and is due again when the lease ends.
        """
        changes = {"worker": worker, "due": lease_end, "attempts": [*job.attempts, Attempt(started=now)]}
        self._change(transaction, job.id, **changes)
        return msgspec.structs.replace(job, **changes)  # type: ignore[type-var]  # a struct, as type checkers do not know

    def is_held(self, snapshot: Snapshot, job: ScheduledFunction) -> bool:
        """Return whether the worker that started this attempt still holds the job. Its lease may have expired."""
        current = self.get(snapshot, job.id)
        if current is None or current.completed_time is not None:
            return False
        return current.worker == job.worker and len(current.attempts) == len(job.attempts)

    def renew_leases(self, transaction: Transaction, job_ids: list[str], worker: str, lease_end: float) -> None:
        """Renew the leases of a worker. Each renewal changes the row, even if the clock stands still."""
        for job_id in job_ids:
            job = self.get(transaction, job_id)
            if job is not None and job.completed_time is None and job.worker == worker:
                self._change(transaction, job_id, due=max(lease_end, job.due + 1))

    def succeed(self, transaction: Transaction, job: ScheduledFunction, now: float) -> None:
        """End a job as successful."""
        self._end(transaction, job, now, "success", None)

    def fail(
        self,
        transaction: Transaction,
        job: ScheduledFunction,
        now: float,
        error: str,
        outcome: AttemptOutcome = "failed",
    ) -> None:
        """End a job as failed, without another attempt."""
        self._end(transaction, job, now, "failed", error, outcome)

    def schedule_retry(
        self,
        transaction: Transaction,
        job: ScheduledFunction,
        now: float,
        due: float,
        error: str,
        outcome: AttemptOutcome = "failed",
    ) -> None:
        """End an attempt and make the job pending until `due`, unless it was canceled."""
        current = self.get(transaction, job.id)
        if current is not None and current.state == "canceled":
            self._end(transaction, job, now, "canceled", error, outcome)
            return
        state = "paused" if current is not None and current.state == "paused" else "pending"
        attempts = _end_last(job.attempts, now, outcome, error)
        self._change(transaction, job.id, state=state, worker=None, due=due, attempts=attempts)

    def undo_start(self, transaction: Transaction, job: ScheduledFunction, due: float) -> None:
        """Make an action pending again whose attempt was started and could not begin."""
        if not self.is_canceled(transaction, job.id):
            self._change(transaction, job.id, state="pending", worker=None, due=due, attempts=job.attempts[:-1])

    def reschedule(self, transaction: Transaction, job: ScheduledFunction, due: float) -> None:
        """Change the time at which a pending job is looked at."""
        self._change(transaction, job.id, due=due)

    def change_kind(self, transaction: Transaction, job: ScheduledFunction, kind: Kind) -> None:
        """Change the kind of a pending job, after a newer version of the application has changed its function."""
        self._change(transaction, job.id, kind=kind)

    def pause(self, transaction: Transaction, job: ScheduledFunction) -> bool:
        """Pause a pending job, and return whether it was pending."""
        if job.state == "pending":
            self._change(transaction, job.id, state="paused")
        return job.state == "pending"

    def resume(self, transaction: Transaction, job: ScheduledFunction) -> bool:
        """Make a paused job pending again, due at the time it had, and return whether it was paused."""
        if job.state == "paused":
            self._change(transaction, job.id, state="pending")
        return job.state == "paused"

    def cancel(self, transaction: Transaction, job_id: str, now: float, *, running: str | None = None) -> bool:
        """Cancel a job, and return whether it had not ended.

        Args:
            transaction: The transaction.
            job_id: The job.
            now: The time of the transaction.
            running: The job that runs in this transaction, or None. It ends by itself.

        Raises:
            ArgumentRangeError: The value is not the id of a job.
        """
        if table_of(job_id) != self.table.name:
            raise ArgumentRangeError(
                "Expected the id of a scheduled function, as run_after() returns it", "Expected a valid id"
            )
        job = self.get(transaction, job_id)
        if job is None or job.state in _ENDED:
            return False
        if job.state not in _WAITING:
            self._change(transaction, job_id, state="canceled", due=_STILL_RUNNING)
            return True
        self._change(transaction, job_id, state="canceled", due=now, completed_time=now)
        hook = None if job_id == running else self.on_cancel.get(job.name)
        if hook is not None:
            hook(transaction, job, now)
        return True

    def cancel_next(self, transaction: Transaction, job: ScheduledFunction, now: float) -> None:
        """Cancel the job that took the place of one that ended before it could be canceled, if there is one."""
        hook = self.on_cancel.get(job.name)
        if hook is not None:
            hook(transaction, job, now)

    def rerun(self, transaction: Transaction, job: ScheduledFunction, now: float) -> None:
        """Make a job pending again that has ended, with the same id, token and attempts.

        It is due now. A job that was canceled before its scheduled time is due at that time.
        """
        due = max(now, job.scheduled_time) if job.state == "canceled" else now
        self._change(transaction, job.id, state="pending", due=due, completed_time=None, error=None, worker=None)

    def purge(self, transaction: Transaction, before: float, limit: int) -> int:
        """Delete at most `limit` jobs that ended before a time, and return their number."""
        expired = list(islice(self._ended(transaction, before, limit), limit))
        for job in expired:
            transaction.delete(self.table, job.id)
        return len(expired)

    # --- rows --------------------------------------------------------------------------------------------------------

    def _pending(self, kind: Kind, due: Range | None) -> Segment:
        """Return the index segment of pending jobs. Its rows are read as stored, since arguments may be large."""
        columns = self.table.indexes["by_state"].columns
        [segment] = segments(columns, ("pending", kind), due, nullable=self.table.nullable)
        return segment

    def _fail_unreadable(self, transaction: Transaction, job_id: str, now: float, error: str) -> None:
        logger.error("The row of the scheduled function %s cannot be read, so the job has failed: %s", job_id, error)
        self._change(
            transaction, job_id, state="failed", error=error, completed_time=now, due=now, args={}, attempts=[]
        )

    def _ended(self, snapshot: Snapshot, before: float, limit: int) -> Iterator[ScheduledFunction]:
        for state in _ENDED:
            for kind in KINDS:
                yield from self.in_state(snapshot, state, kind, lte(before)).take(limit)

    def _end(
        self,
        transaction: Transaction,
        job: ScheduledFunction,
        now: float,
        state: str,
        error: str | None,
        outcome: AttemptOutcome = "success",
    ) -> None:
        changes: dict[str, Any] = {"completed_time": now, "due": now}
        if job.attempts:
            changes["attempts"] = _end_last(job.attempts, now, outcome, error)
        if not self.is_canceled(transaction, job.id):  # a job may cancel itself, and then stays canceled
            changes |= {"state": state, "error": error}
        self._change(transaction, job.id, **changes)

    def _change(self, transaction: Transaction, job_id: str, **fields: Any) -> None:
        changes = {name: self.table.store(name, value) for name, value in fields.items()}
        transaction.update(self.table, job_id, changes)


def count_attempts(job: ScheduledFunction) -> int:
    """Return how many attempts count towards `max_attempts`: all but those that were stopped with their worker."""
    return sum(attempt.outcome != "stopped" for attempt in job.attempts)


def _end_last(attempts: Sequence[Attempt], now: float, outcome: AttemptOutcome, error: str | None) -> list[Attempt]:
    *earlier, last = attempts
    return [*earlier, msgspec.structs.replace(last, ended=now, outcome=outcome, error=error)]
