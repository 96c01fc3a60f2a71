"""The ticks of crons, as rows: when each cron fires next, and which of its ticks have fired.

Any number of processes may fire the crons of one database. Each step is a part of a transaction of the caller's and
looks at the rows first, so that a tick fires once; what it fires is a scheduled function like any other. A process
fires only what it knows: a cron with another schedule, or of a function it does not have, belongs to a newer or older
version of the application and is left to that. Nothing here runs a function.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from flask_convex_http.database.db import CreationTimes, insert
from flask_convex_http.database.query import Query
from flask_convex_http.durations import SAME_CLOCK
from flask_convex_http.engines.base import Snapshot, Transaction
from flask_convex_http.errors import (
    ArgumentValidationError,
    FunctionCallError,
    FunctionNotFoundError,
    RegistrationError,
)
from flask_convex_http.functions.function import Function
from flask_convex_http.functions.registry import Registry
from flask_convex_http.scheduling.cron_expressions import MOST_COUNTED, Schedule
from flask_convex_http.scheduling.crons import Cron
from flask_convex_http.scheduling.jobs import Jobs, Kind
from flask_convex_http.scheduling.submission import Submission
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.index_ranges import lt
from flask_convex_http.schema.system_tables import CronJob, CronRun

logger = logging.getLogger("flask_convex_http")


@dataclass(frozen=True, slots=True)
class _Known:
    """A row that this process can fire."""

    row: CronJob
    schedule: Schedule
    kind: Kind


class Ticks:
    """The ticks of an application's crons.

    Args:
        crons: The crons.
        schema: The application's schema.
        jobs: What is scheduled.
        functions: The application's functions.
    """

    def __init__(self, crons: Iterable[Cron], schema: Schema, jobs: Jobs, functions: Registry) -> None:
        self._crons = {cron.name: cron for cron in crons}
        self._schema = schema
        self._jobs = jobs
        self._functions = functions
        self._rows = schema.table_for(CronJob)
        self._runs = schema.table_for(CronRun)
        self._near: dict[str, tuple[float, float]] = {}
        self._told: dict[str, str] = {}

    # --- what the application says -----------------------------------------------------------------------------------

    def check(self) -> dict[str, Submission]:
        """What each cron runs, by its name.

        Raises:
            RegistrationError: A function is not there, or its arguments do not match.
        """
        return {name: self._submission(cron) for name, cron in self._crons.items()}

    def is_registered(self, snapshot: Snapshot) -> bool:
        """Whether the rows are as the crons are, so that `register` would write nothing."""
        rows = self._all(snapshot)
        return {row.name for row in rows} == self._crons.keys() and all(map(self.is_current, rows))

    def is_current(self, row: CronJob) -> bool:
        """Whether a row is as its cron is."""
        cron = self._crons.get(row.name)
        return cron is not None and not self._changes(cron, self._submission(cron), row, 0.0)

    def register(self, transaction: Transaction, times: CreationTimes, now: float) -> None:
        """Bring the rows to the crons; those that have not changed keep their next tick.

        Raises:
            RegistrationError: See `check`.
        """
        submissions = self.check()
        rows = {row.name: row for row in self._all(transaction)}
        for name, row in rows.items():
            if name not in submissions:
                transaction.delete(self._rows, row.id)
        for name, submission in submissions.items():
            self._register(transaction, times, now, self._crons[name], submission, rows.get(name))

    def _submission(self, cron: Cron) -> Submission:
        try:
            return Submission.of(self._function(cron.function), self._schema, 0.0, cron.args, cron.kwargs)
        except (FunctionNotFoundError, FunctionCallError, ArgumentValidationError, RegistrationError) as error:
            raise RegistrationError(f"Cron {cron.name!r}: {error}") from None

    def _function(self, function: Function[Any, Any] | str) -> Function[Any, Any]:
        """The function as workers will find it: by its name."""
        found = self._functions.find(function if isinstance(function, str) else function.name)
        if found is not function and not isinstance(function, str):
            raise RegistrationError(f"{function.name} is another function; add {function.__module__} to functions=")
        return found

    def _register(
        self,
        transaction: Transaction,
        times: CreationTimes,
        now: float,
        cron: Cron,
        submission: Submission,
        row: CronJob | None,
    ) -> None:
        if row is not None:
            changes = self._changes(cron, submission, row, now)
            if changes:
                self._change(transaction, row, **changes)
            return
        schedule, args = str(cron.schedule), msgspec.json.decode(submission.arguments)
        first = cron.schedule.first(now)
        added = CronJob(name=cron.name, schedule=schedule, function=submission.name, args=args, next_tick=first)
        insert(transaction, self._rows, added, times)

    def _changes(self, cron: Cron, submission: Submission, row: CronJob, now: float) -> dict[str, Any]:
        schedule, args = str(cron.schedule), msgspec.json.decode(submission.arguments)
        changes: dict[str, Any] = {}
        if row.schedule != schedule:
            changes = {"schedule": schedule, "next_tick": cron.schedule.first(now)}
        if row.function != submission.name or _as_json(row.args) != _as_json(args):
            changes |= {"function": submission.name, "args": args}
        return changes

    # --- firing ------------------------------------------------------------------------------------------------------

    def next_tick(self, snapshot: Snapshot, now: float) -> float | None:
        """When `fire` is to be called next; now, if a tick is further away than its schedule could have put it."""
        if not self._crons:
            return None
        known = self._known(snapshot)
        return min((now if self._is_too_far(one, now) else one.row.next_tick for one in known), default=None)

    def fire(self, transaction: Transaction, times: CreationTimes, now: float) -> int:
        """Schedule what the crons that are due run; answers how many did.

        A cron that is late fires once, and the ticks it missed are skipped. One whose last run has not ended skips
        them all.
        """
        return sum(self._step(transaction, times, now, one) for one in self._known(transaction))

    def sweep(self, transaction: Transaction, before: float, limit: int) -> int:
        """Forget the ticks that were due before a time, at most `limit`; answers how many it was."""
        start = Query(transaction, self._runs, self._runs.indexes["by_creation_time"])
        old = start.with_index("by_time", tick=lt(before)).take(limit)
        for run in old:
            transaction.delete(self._runs, run.id)
        return len(old)

    def _step(self, transaction: Transaction, times: CreationTimes, now: float, known: _Known) -> bool:
        """Fire a cron if it is due, and say when it is to fire next."""
        row = known.row
        if row.next_tick > now:
            self._bring_near(transaction, known, now)
            return False
        following, late = known.schedule.skip(row.next_tick, now)
        if self._is_running(transaction, row, now):
            self._tell_once(row.name, row.last_job or "", "it skips its ticks until its last run (%s) has ended")
            self._change(transaction, row, next_tick=following)
            return False
        if self._has_fired(transaction, row):  # the clock was set back
            self._change(transaction, row, next_tick=following)
            return False
        if late:
            logger.warning("Cron %r skipped %s after that of %s: too late", row.name, _ticks(late), _day(row.next_tick))
        submission = Submission(row.function, known.kind, msgspec.json.encode(row.args), row.next_tick)
        job_id = self._jobs.add(transaction, times, now, submission)
        run = CronRun(name=row.name, tick=row.next_tick, job=job_id, skipped=late)
        insert(transaction, self._runs, run, times)
        self._change(transaction, row, next_tick=following, last_job=job_id)
        return True

    def _bring_near(self, transaction: Transaction, known: _Known, now: float) -> None:
        """Find the next tick anew if it is out of reach: else the cron would wait for what a wrong clock said."""
        if not self._is_too_far(known, now):
            return
        row, following = known.row, known.schedule.next(now)
        logger.warning(
            "Cron %r was to fire at %s, further away than its schedule says: was the clock set back? It fires at %s",
            row.name,
            _day(row.next_tick),
            _day(following),
        )
        self._change(transaction, row, next_tick=following)

    def _is_too_far(self, known: _Known, now: float) -> bool:
        """Whether a tick is not the next one by any clock that is about right."""
        row = known.row
        tick, since = self._near.get(row.name, (None, 0.0))
        if tick == row.next_tick and now >= since:  # what was near once is no further now
            return False
        if row.next_tick > known.schedule.next(now + SAME_CLOCK):
            return True
        self._near[row.name] = (row.next_tick, now)
        return False

    def _is_running(self, transaction: Transaction, row: CronJob, now: float) -> bool:
        """Whether its last run has not ended. One that waits for a time from before the clock was set back never does
        so soon, and is canceled for the one that is due."""
        job = None if row.last_job is None else self._jobs.get(transaction, row.last_job)
        if job is None or job.completed_time is not None:
            return False
        if job.state == "pending" and job.scheduled_time > now + SAME_CLOCK:
            return not self._jobs.cancel(transaction, job.id, now)
        return True

    def _has_fired(self, snapshot: Snapshot, row: CronJob) -> bool:
        start = Query(snapshot, self._runs, self._runs.indexes["by_creation_time"])
        return start.with_index("by_tick", name=row.name, tick=row.next_tick).first() is not None

    # --- rows --------------------------------------------------------------------------------------------------------

    def _all(self, snapshot: Snapshot) -> list[CronJob]:
        return Query(snapshot, self._rows, self._rows.indexes["by_creation_time"]).collect()

    def _known(self, snapshot: Snapshot) -> Iterator[_Known]:
        """The rows that this process can fire."""
        for row in self._all(snapshot):
            cron = self._crons.get(row.name)
            if cron is None or str(cron.schedule) != row.schedule:
                continue
            kind = self._kind(row)
            if kind is not None:
                yield _Known(row, cron.schedule, kind)

    def _kind(self, row: CronJob) -> Kind | None:
        """What kind of function a row runs, if there is such a function here."""
        function = self._functions.get(row.function)
        if function is not None and function.kind != "query":
            return function.kind
        what = "%s is not a mutation or action here, and is left to a process that has it"
        self._tell_once(row.name, row.function, what)
        return None

    def _tell_once(self, name: str, about: str, what: str) -> None:
        """Log something about a cron, unless it was said last."""
        if self._told.get(name) != about:
            self._told[name] = about
            logger.warning(f"Cron %r: {what}", name, about)

    def _change(self, transaction: Transaction, row: CronJob, **fields: Any) -> None:
        changes = {name: self._rows.store(name, value) for name, value in fields.items()}
        transaction.update(self._rows, row.id, changes)


def _as_json(args: dict[str, Any]) -> bytes:
    """Tells 1 from 1.0 and True, which are equal in Python."""
    return msgspec.json.encode(args, order="deterministic")


def _ticks(count: int) -> str:
    if count == 1:
        return "1 tick"
    return f"{count} ticks" if count < MOST_COUNTED else f"{MOST_COUNTED} ticks or more"


def _day(time: float) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(sep=" ", timespec="seconds")
