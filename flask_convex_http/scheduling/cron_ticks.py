"""The ticks of crons: when each cron fires next, and which of its ticks have fired.

Any number of processes may fire the crons of one database. Each step is a part of the caller's transaction and reads
the rows first, so that a tick fires once. To fire a tick is to add a job. This module runs no function.

A process fires only the crons that it knows. A row with another schedule, or with a function that the process does not
have, belongs to a newer or older version of the application, whose workers fire it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.database.query import Query
from flask_convex_http.durations import CLOCK_TOLERANCE_MS
from flask_convex_http.engines import Snapshot, Transaction
from flask_convex_http.functions.registry import Registry
from flask_convex_http.ids import Id
from flask_convex_http.log import logger_of
from flask_convex_http.scheduling.cron_expressions import MAX_COUNTED_TICKS, Schedule
from flask_convex_http.scheduling.crons import Cron
from flask_convex_http.scheduling.jobs import Jobs, Kind
from flask_convex_http.scheduling.submission import Submission
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.index_ranges import lt
from flask_convex_http.schema.system_tables import CronJob, CronRun, ScheduledFunction

logger = logger_of("jobs")


@dataclass(frozen=True, slots=True)
class _KnownCron:
    """A cron that this process can fire.

    Attributes:
        row: The cron's row.
        schedule: The parsed schedule.
        kind: The kind of the row's function.
    """

    row: CronJob
    schedule: Schedule
    kind: Kind


class CronTicks:
    """Fires the crons of an application.

    Args:
        crons: The application's crons.
        schema: The application's schema.
        jobs: The jobs that the ticks schedule.
        functions: The application's functions.
    """

    def __init__(self, crons: Iterable[Cron], schema: Schema, jobs: Jobs, functions: Registry) -> None:
        self._crons = {cron.name: cron for cron in crons}
        self._jobs = jobs
        self._functions = functions
        self._rows = schema.table_for(CronJob)
        self._runs = schema.table_for(CronRun)
        #: The last tick of each cron that `_is_out_of_reach` found to be in reach, and the time of that check.
        self._ticks_in_reach: dict[str, tuple[float, float]] = {}
        #: The subject of the last warning about each cron.
        self._warned_of: dict[str, str] = {}

    def next_tick(self, snapshot: Snapshot, now: float) -> float | None:
        """Return the time at which `fire` must be called next, or None without crons.

        It is `now` if a stored tick is further away than its schedule allows, since `fire` corrects it.
        """
        if not self._crons:
            return None
        known = self._known(snapshot)
        return min((now if self._is_out_of_reach(cron, now) else cron.row.next_tick for cron in known), default=None)

    def fire(self, transaction: Transaction, times: CreationTimes, now: float) -> int:
        """Schedule the jobs of all due crons, and return their number.

        A cron that has missed several ticks fires once, for the first of them, and skips the rest. A cron whose last
        job has not ended does not fire, and skips them all.
        """
        return sum(self._step(transaction, times, now, cron) for cron in self._known(transaction))

    def cron_of(self, snapshot: Snapshot, job: ScheduledFunction) -> str | None:
        """Return the name of the cron whose tick has scheduled a job, or None."""
        start = Query(snapshot, self._runs, self._runs.indexes["by_creation_time"])
        for cron in self._crons.values():
            function = cron.function if isinstance(cron.function, str) else cron.function.name
            if function != job.name:
                continue
            run = start.with_index("by_tick", name=cron.name, tick=job.scheduled_time).first()
            if run is not None and run.job == job.id:
                return cron.name
        return None

    def purge(self, transaction: Transaction, before: float, limit: int) -> int:
        """Delete at most `limit` records of ticks before a time, and return their number."""
        start = Query(transaction, self._runs, self._runs.indexes["by_creation_time"])
        expired = start.with_index("by_time", tick=lt(before)).take(limit)
        for run in expired:
            transaction.delete(self._runs, run.id)
        return len(expired)

    # --- one cron ----------------------------------------------------------------------------------------------------

    def _step(self, transaction: Transaction, times: CreationTimes, now: float, cron: _KnownCron) -> bool:
        """Fire a cron if it is due, store its next tick, and return whether it fired."""
        row = cron.row
        if row.next_tick > now:
            self._bring_into_reach(transaction, cron, now)
            return False
        next_tick, skipped = cron.schedule.skip(row.next_tick, now)
        if self._is_running(transaction, row, now):
            self._warn_once(row.name, row.last_job or "", "it skips its ticks until its last run (%s) has ended")
            self._change(transaction, row, next_tick=next_tick)
            return False
        if self._has_fired(transaction, row):  # the clock was set back
            self._change(transaction, row, next_tick=next_tick)
            return False
        if skipped:
            logger.warning(
                "Cron %r skipped %s after that of %s: too late", row.name, _ticks(skipped), _utc(row.next_tick)
            )
        job_id = self._schedule(transaction, times, now, cron, skipped)
        self._change(transaction, row, next_tick=next_tick, last_job=job_id)
        return True

    def _schedule(
        self, transaction: Transaction, times: CreationTimes, now: float, cron: _KnownCron, skipped: int
    ) -> Id[ScheduledFunction]:
        row = cron.row
        submission = Submission(row.function, cron.kind, msgspec.json.encode(row.args), row.next_tick)
        job_id = self._jobs.add(transaction, times, now, submission)
        insert(transaction, self._runs, CronRun(name=row.name, tick=row.next_tick, job=job_id, skipped=skipped), times)
        return job_id

    def _bring_into_reach(self, transaction: Transaction, cron: _KnownCron, now: float) -> None:
        """Compute the next tick again if it is out of reach, since it was computed while the clock was wrong."""
        if not self._is_out_of_reach(cron, now):
            return
        row, next_tick = cron.row, cron.schedule.next(now)
        logger.warning(
            "Cron %r was to fire at %s, further away than its schedule says: was the clock set back? It fires at %s",
            row.name,
            _utc(row.next_tick),
            _utc(next_tick),
        )
        self._change(transaction, row, next_tick=next_tick)

    def _is_out_of_reach(self, cron: _KnownCron, now: float) -> bool:
        """Return whether the next tick is later than the schedule allows, with a tolerance for the clock."""
        row = cron.row
        tick, since = self._ticks_in_reach.get(row.name, (None, 0.0))
        if tick == row.next_tick and now >= since:  # it was in reach at an earlier time, so it still is
            return False
        if row.next_tick > cron.schedule.next(now + CLOCK_TOLERANCE_MS):
            return True
        self._ticks_in_reach[row.name] = (row.next_tick, now)
        return False

    def _is_running(self, transaction: Transaction, row: CronJob, now: float) -> bool:
        """Return whether the last job of a cron has not ended.

        A pending job whose time is in the future was added before the clock was set back. It is canceled, so that the
        cron does not wait for it.
        """
        job = None if row.last_job is None else self._jobs.get(transaction, row.last_job)
        if job is None or job.completed_time is not None:
            return False
        if job.state == "pending" and job.scheduled_time > now + CLOCK_TOLERANCE_MS:
            return not self._jobs.cancel(transaction, job.id, now)
        return True

    def _has_fired(self, snapshot: Snapshot, row: CronJob) -> bool:
        start = Query(snapshot, self._runs, self._runs.indexes["by_creation_time"])
        return start.with_index("by_tick", name=row.name, tick=row.next_tick).first() is not None

    # --- rows --------------------------------------------------------------------------------------------------------

    def _known(self, snapshot: Snapshot) -> Iterator[_KnownCron]:
        """Yield the crons that this process can fire."""
        for row in Query(snapshot, self._rows, self._rows.indexes["by_creation_time"]).collect():
            cron = self._crons.get(row.name)
            if cron is None or str(cron.schedule) != row.schedule:
                continue
            kind = self._kind(row)
            if kind is not None:
                yield _KnownCron(row, cron.schedule, kind)

    def _kind(self, row: CronJob) -> Kind | None:
        function = self._functions.get(row.function)
        if function is not None and function.kind != "query":
            return function.kind
        reason = "%s is not a mutation or action here, and is left to a process that has it"
        self._warn_once(row.name, row.function, reason)
        return None

    def _warn_once(self, name: str, subject: str, message: str) -> None:
        """Log a warning about a cron, unless its last warning had the same subject."""
        if self._warned_of.get(name) != subject:
            self._warned_of[name] = subject
            logger.warning(f"Cron %r: {message}", name, subject)

    def _change(self, transaction: Transaction, row: CronJob, **fields: Any) -> None:
        changes = {name: self._rows.store(name, value) for name, value in fields.items()}
        transaction.update(self._rows, row.id, changes)


def _ticks(count: int) -> str:
    if count == 1:
        return "1 tick"
    return f"{count} ticks" if count < MAX_COUNTED_TICKS else f"{MAX_COUNTED_TICKS} ticks or more"


def _utc(time: float) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(sep=" ", timespec="seconds")
