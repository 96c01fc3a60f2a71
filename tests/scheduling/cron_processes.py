"""Processes with crons on one database, without the worker that would fire them, and a settable clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time
from typing import Any, TypeVar

from flask_convex_http import (
    ActionCtx,
    Document,
    MutationCtx,
    QueryCtx,
    Schema,
    internal_action,
    internal_mutation,
    internal_query,
)
from flask_convex_http.backend import Backend
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Transaction
from flask_convex_http.functions.registry import Registry
from flask_convex_http.scheduling import Crons
from flask_convex_http.scheduling.cron_registration import CronRegistration
from flask_convex_http.scheduling.cron_ticks import CronTicks
from flask_convex_http.schema.system_tables import CronJob, CronRun, ScheduledFunction
from flask_convex_http.testing import Clock
from tests.databases import memory_backend

D = TypeVar("D", bound=Document)

SCHEMA = Schema()
MINUTE = 60_000.0
DAY = 24 * 60 * MINUTE


@internal_mutation
def sweep(ctx: MutationCtx, *, limit: Any = 10) -> None: ...


@internal_mutation
def count(ctx: MutationCtx) -> None: ...


@internal_action
def send(ctx: ActionCtx, *, to: str) -> None: ...


@internal_query
def look(ctx: QueryCtx) -> int:
    return 0


FUNCTIONS = (sweep, count, send, look)


class Process:
    """The crons of one process, on a database that other processes may use too.

    Args:
        backend: The database, and a clock.
        crons: The crons in the code of this process.
        functions: The functions in the code of this process.
    """

    def __init__(self, backend: Backend, crons: Crons, functions: tuple[Any, ...] = FUNCTIONS) -> None:
        self.backend = backend
        registry = Registry(functions)
        self.registration = CronRegistration(crons, backend.schema, registry)
        self.ticks = CronTicks(crons, backend.schema, backend.jobs, registry)

    def register(self) -> None:
        """Register the crons, like a worker that starts."""
        now = self.backend.clock()
        self.backend.engine.write(lambda transaction: self.registration.register(transaction, CreationTimes(now), now))

    def fire(self) -> int:
        """Fire the due crons."""
        now = self.backend.clock()
        return self.backend.engine.write(lambda transaction: self.ticks.fire(transaction, CreationTimes(now), now))

    def next_tick(self) -> float | None:
        """Return the time of the next tick."""
        with self.backend.engine.snapshot() as snapshot:
            return self.ticks.next_tick(snapshot, self.backend.clock())

    def end_jobs(self) -> None:
        """End all jobs of the ticks."""

        def work(transaction: Transaction) -> None:
            for job in self.all(ScheduledFunction):
                if job.state in ("pending", "inProgress"):
                    self.backend.jobs.succeed(transaction, job, self.backend.clock())

        self.backend.engine.write(work)

    def all(self, document: type[D]) -> list[D]:
        """Return all rows of a system table."""
        table = self.backend.schema.table_for(document)
        with self.backend.engine.snapshot() as snapshot:
            return Query(snapshot, table, table.indexes["by_creation_time"]).collect()

    def row(self, name: str = "sweep") -> CronJob:
        """Return the row of a cron."""
        return next(row for row in self.all(CronJob) if row.name == name)

    def fired(self) -> list[float]:
        """Return the ticks that have fired, in the order in which they did."""
        return [run.tick for run in self.all(CronRun)]


class SettableClock(Clock):
    """A clock that can be set."""

    def set(self, text: str) -> float:
        """Set the clock to a time in UTC."""
        self._now = at(text)
        return self._now


def at(text: str) -> float:
    """Return a time in UTC, in milliseconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000


@contextmanager
def process(crons: Crons, start: str = "2026-01-01 08:00") -> Iterator[tuple[Process, SettableClock]]:
    """Start a process, with a clock."""
    clock = SettableClock()
    clock.set(start)
    with memory_backend(SCHEMA, FUNCTIONS, clock=clock) as backend:
        started = Process(backend, crons)
        started.register()
        yield started, clock


def every(seconds: float) -> Crons:
    """Return a cron with an interval."""
    crons = Crons()
    crons.interval("sweep", seconds, sweep, limit=3)
    return crons


def daily(hour: int = 9) -> Crons:
    """Return a daily cron."""
    crons = Crons()
    crons.daily("sweep", time(hour), sweep, limit=3)
    return crons
