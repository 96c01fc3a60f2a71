"""The rows of `_scheduled_functions`: their states, and every step from one to the next.

    pending -> success | failed | canceled              a mutation, in the transaction that runs it
    pending -> inProgress -> success | failed           an action; canceled if somebody asks for that meanwhile
    inProgress -> pending                               an action that is tried again

Each step is a part of a transaction of the caller's and looks at the row first, so that of two who want to take it one
does. A row's `due` says when it needs looking at next, whatever for, so that one index finds what is to be run and
what may be forgotten. Nothing here runs a function.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import msgspec

from flask_convex_http.database.db import CreationTimes
from flask_convex_http.database.query import Query
from flask_convex_http.engines.base import Snapshot, Transaction
from flask_convex_http.errors import ArgumentValidationError, EngineError
from flask_convex_http.ids import Id, new_id, table_of
from flask_convex_http.scheduling.submission import Submission
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.index_ranges import Range, Segment, gte, lte, segments
from flask_convex_http.schema.system_tables import Attempt, ScheduledFunction

logger = logging.getLogger("flask_convex_http")

Kind = Literal["mutation", "action"]
Outcome = Literal["success", "failed", "lost", "stopped"]

#: Seconds after which a worker looks at the database uncalled; it need not be called for what is due later.
LOOK_AFTER = 5.0

KINDS: tuple[Kind, ...] = ("mutation", "action")
_ENDED = ("success", "failed", "canceled")
#: When what was canceled while it ran is due: it is not to be forgotten, but its worker may die.
_RUNS_ON = 8.64e15


@dataclass(slots=True)
class Jobs:
    """What is scheduled in an application.

    Attributes:
        schema: The application's schema.
        announce: Tells the workers that something was scheduled, and for when.
    """

    schema: Schema
    announce: Callable[[float], None]
    table: Table[ScheduledFunction] = field(init=False)

    def __post_init__(self) -> None:
        self.table = self.schema.table_for(ScheduledFunction)

    # --- reading -----------------------------------------------------------------------------------------------------

    def get(self, snapshot: Snapshot, job_id: str) -> ScheduledFunction | None:
        """The row of an id, if it is there."""
        row = snapshot.get(self.table, job_id)
        return None if row is None else self.table.read(row)

    def due(self, transaction: Transaction, kind: Kind, now: float, limit: int) -> list[ScheduledFunction]:
        """What is to be run now and no other worker runs, in the order of its time. A row that cannot be read, because
        somebody has written to the database by hand, has failed, or it would hold up all others."""
        found = []
        for row in transaction.claim(self.table, self._segment(kind, lte(now)), limit=limit):
            try:
                found.append(self.table.read(row))
            except EngineError as error:
                self._set_aside(transaction, row[0], now, str(error))
        return found

    def next_due(self, snapshot: Snapshot, kind: Kind) -> float | None:
        """When the next of a kind is to be run."""
        rows = snapshot.select(self.table, self._segment(kind, None), descending=False, limit=1)
        return rows[0][2 + list(self.table.columns).index("due")] if rows else None

    def of_state(
        self, snapshot: Snapshot, state: str, kind: Kind, due: Range | None = None
    ) -> Query[ScheduledFunction]:
        """Those of a state and a kind, in the order in which they need looking at."""
        start = Query(snapshot, self.table, self.table.indexes["by_creation_time"])
        bounds = {} if due is None else {"due": due}
        return start.with_index("by_state", state=state, kind=kind, **bounds)

    def running(self, snapshot: Snapshot) -> list[ScheduledFunction]:
        """The actions that run, in whatever process; those that were canceled meanwhile run on."""
        going_on = self.of_state(snapshot, "canceled", "action", gte(_RUNS_ON))
        return [*self.of_state(snapshot, "inProgress", "action"), *going_on]

    def is_canceled(self, snapshot: Snapshot, job_id: str) -> bool:
        """Whether somebody has canceled it."""
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
        """Schedule something, or write down that it was canceled before it began."""
        time = times.take()
        job_id = new_id(self.table.name, time)
        row = (  # as the columns come
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
        )
        transaction.insert(self.table, row)
        return Id(job_id)

    def start(
        self, transaction: Transaction, job: ScheduledFunction, now: float, worker: str, lease_ends: float
    ) -> ScheduledFunction:
        """A worker takes an action, and holds it until `lease_ends` if it does not say otherwise."""
        attempts = [*job.attempts, Attempt(started=now)]
        changes = {"state": "inProgress", "worker": worker, "due": lease_ends, "attempts": attempts}
        self._change(transaction, job.id, **changes)
        return msgspec.structs.replace(job, **changes)  # type: ignore[type-var]  # a struct, as type checkers do not know

    def is_held(self, snapshot: Snapshot, job: ScheduledFunction) -> bool:
        """Whether the worker that took an action still has it; somebody may have taken it for dead."""
        found = self.get(snapshot, job.id)
        if found is None or found.completed_time is not None:
            return False
        return found.worker == job.worker and len(found.attempts) == len(job.attempts)

    def renew(self, transaction: Transaction, job_ids: list[str], worker: str, lease_ends: float) -> None:
        """A worker says that it still runs actions. What the row says changes each time, even if the clock stands."""
        for job_id in job_ids:
            job = self.get(transaction, job_id)
            if job is not None and job.completed_time is None and job.worker == worker:
                self._change(transaction, job_id, due=max(lease_ends, job.due + 1))

    def succeed(self, transaction: Transaction, job: ScheduledFunction, now: float) -> None:
        """It has done what it was to do."""
        self._end(transaction, job, now, "success", None)

    def fail(
        self, transaction: Transaction, job: ScheduledFunction, now: float, error: str, outcome: Outcome = "failed"
    ) -> None:
        """It has failed for good."""
        self._end(transaction, job, now, "failed", error, outcome)

    def postpone(
        self,
        transaction: Transaction,
        job: ScheduledFunction,
        now: float,
        due: float,
        error: str,
        outcome: Outcome = "failed",
    ) -> None:
        """An attempt was not the last: it is tried again."""
        if self.is_canceled(transaction, job.id):
            self._end(transaction, job, now, "canceled", error, outcome)
        else:
            log = _closed(job.attempts, now, outcome, error)
            self._change(transaction, job.id, state="pending", worker=None, due=due, attempts=log)

    def put_back(self, transaction: Transaction, job: ScheduledFunction, due: float) -> None:
        """An action that was taken, and could not be begun: it is as it was before."""
        if not self.is_canceled(transaction, job.id):
            self._change(transaction, job.id, state="pending", worker=None, due=due, attempts=job.attempts[:-1])

    def delay(self, transaction: Transaction, job: ScheduledFunction, due: float) -> None:
        """Look at what is pending again later."""
        self._change(transaction, job.id, due=due)

    def change_kind(self, transaction: Transaction, job: ScheduledFunction, kind: Kind) -> None:
        """A newer version of the application made another kind of function of it."""
        self._change(transaction, job.id, kind=kind)

    def cancel(self, transaction: Transaction, job_id: str, now: float) -> bool:
        """Keep it from running; whether that was possible.

        Raises:
            ArgumentValidationError: The value is not the id of a scheduled function.
        """
        if table_of(job_id) != self.table.name:
            raise ArgumentValidationError("Expected the id of a scheduled function, as run_after() answers it")
        job = self.get(transaction, job_id)
        if job is None or job.state in _ENDED:
            return False
        if job.state == "pending":
            self._change(transaction, job_id, state="canceled", due=now, completed_time=now)
        else:
            self._change(transaction, job_id, state="canceled", due=_RUNS_ON)
        return True

    def retry(self, transaction: Transaction, job: ScheduledFunction, now: float) -> float:
        """Run again what has ended, with the same id and token, and all its attempts before it; answers when: what was
        canceled before its time has that still."""
        due = max(now, job.scheduled_time) if job.state == "canceled" else now
        self._change(transaction, job.id, state="pending", due=due, completed_time=None, error=None, worker=None)
        return due

    def sweep(self, transaction: Transaction, before: float, limit: int) -> int:
        """Forget what has ended before a time, at most `limit`; answers how many it was."""
        found = list(islice(self._ended(transaction, before, limit), limit))
        for job in found:
            transaction.delete(self.table, job.id)
        return len(found)

    # --- rows --------------------------------------------------------------------------------------------------------

    def _segment(self, kind: Kind, due: Range | None) -> Segment:
        """What is pending, as rows that are stored: arguments may be large, and need not be readable."""
        columns = self.table.indexes["by_state"].columns
        [segment] = segments(columns, ("pending", kind), due, nullable=self.table.nullable)
        return segment

    def _set_aside(self, transaction: Transaction, job_id: str, now: float, error: str) -> None:
        logger.error("The scheduled function %s cannot be read, and has failed: %s", job_id, error)
        self._change(
            transaction, job_id, state="failed", error=error, completed_time=now, due=now, args={}, attempts=[]
        )

    def _ended(self, snapshot: Snapshot, before: float, limit: int) -> Iterator[ScheduledFunction]:
        for state in _ENDED:
            for kind in KINDS:
                yield from self.of_state(snapshot, state, kind, lte(before)).take(limit)

    def _end(
        self,
        transaction: Transaction,
        job: ScheduledFunction,
        now: float,
        state: str,
        error: str | None,
        outcome: Outcome = "success",
    ) -> None:
        changes: dict[str, Any] = {"completed_time": now, "due": now}
        if job.attempts:
            changes["attempts"] = _closed(job.attempts, now, outcome, error)
        if not self.is_canceled(transaction, job.id):  # by itself, say; it stays so
            changes |= {"state": state, "error": error}
        self._change(transaction, job.id, **changes)

    def _change(self, transaction: Transaction, job_id: str, **fields: Any) -> None:
        changes = {name: self.table.store(name, value) for name, value in fields.items()}
        transaction.update(self.table, job_id, changes)


def tried(job: ScheduledFunction) -> int:
    """How many attempts of an action count: not those that a stopped worker did not let end."""
    return sum(attempt.outcome != "stopped" for attempt in job.attempts)


def _closed(attempts: Sequence[Attempt], now: float, outcome: Outcome, error: str | None) -> list[Attempt]:
    """The attempts, of which the last one has ended."""
    *before, last = attempts
    return [*before, msgspec.structs.replace(last, ended=now, outcome=outcome, error=error)]
