"""Gauges, which a scrape reads: jobs and deliveries that wait, sizes, connections.

Jobs and deliveries are counted in their indexes, up to a limit. A database that does not respond leaves its gauges out,
and everything else is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from flask_convex_http.backend import Backend
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.log import logger_of
from flask_convex_http.metrics.totals import Labels
from flask_convex_http.scheduling import KINDS
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.index_ranges import Range, gt, lte, segments

logger = logger_of()

#: The number of rows at which counting stops.
MOST = 100_000
#: Seconds that the database has for each count.
_TIMEOUT = 2.0


class Gauge(NamedTuple):
    """A value that goes up and down.

    Attributes:
        name: The name.
        help: Its meaning, in one sentence.
        labels: The names of its labels.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()


Reading = tuple[Gauge, Mapping[Labels, float]]

JOBS = Gauge("convex_jobs", f"Scheduled functions by state, at most {MOST} of each.", ("state",))
LAG = Gauge("convex_worker_lag_seconds", "Time since the due time of the oldest job that is due and does not run.")
INBOX = Gauge("convex_inbox_deliveries", f"Webhook deliveries by state, at most {MOST} of each.", ("state",))
DATABASE_UP = Gauge("convex_database_up", "Whether the database responds: 1 or 0.")
DATABASE_BYTES = Gauge("convex_database_bytes", "Size of the database.")
LOG_BYTES = Gauge("convex_database_wal_bytes", "Size of the write-ahead log of SQLite.")
CONNECTIONS = Gauge("convex_live_connections", "Connections of live queries.")
QUERIES = Gauge("convex_live_queries", "Queries that clients are subscribed to, each counted once in a process.")
WORKERS = Gauge("convex_workers", "Processes whose worker runs jobs.")
PROCESSES = Gauge("convex_processes", "Processes that take part in these metrics.")

#: Those that each process has its own value of, which add up.
OF_PROCESSES = (CONNECTIONS, QUERIES, WORKERS)
GAUGES = (JOBS, LAG, INBOX, DATABASE_UP, DATABASE_BYTES, LOG_BYTES, *OF_PROCESSES, PROCESSES)

_WAITING = ("pending", "failed", "dead")


def readings(backend: Backend) -> Iterator[Reading]:
    """Yield the gauges that the database has."""
    try:
        found = list(_of_database(backend))
    except ConvexHTTPError as error:
        logger.warning("The metrics of the database cannot be read: %s", error)
        yield DATABASE_UP, {(): 0.0}
        return
    yield from found
    yield DATABASE_UP, {(): 1.0}


def _of_database(backend: Backend) -> Iterator[Reading]:
    now = backend.clock()
    jobs, deliveries = backend.jobs.table, backend.inbox.deliveries.table
    count = partial(_count, backend, jobs)
    yield (
        JOBS,
        {
            ("due",): sum(count("pending", kind, due=lte(now)) for kind in KINDS),
            ("scheduled",): sum(count("pending", kind, due=gt(now)) for kind in KINDS),
            ("running",): sum(count("inProgress", kind) for kind in KINDS),
            ("paused",): sum(count("paused", kind) for kind in KINDS),
            ("failed",): sum(count("failed", kind) for kind in KINDS),
        },
    )
    yield LAG, {(): _lag(backend, now)}
    yield INBOX, {(state,): _count(backend, deliveries, state) for state in _WAITING}
    size = backend.engine.size(timeout=_TIMEOUT)
    yield DATABASE_BYTES, {(): size.data}
    if size.log is not None:
        yield LOG_BYTES, {(): size.log}


def _count(backend: Backend, table: Table[Any], *state: str, due: Range | None = None) -> int:
    """Count the rows of a table in a state, or in a state and of a kind."""
    [segment] = segments(table.indexes["by_state"].columns, state, due, nullable=table.nullable)
    return backend.engine.count(table, segment, MOST, timeout=_TIMEOUT)


def _lag(backend: Backend, now: float) -> float:
    with backend.engine.snapshot() as snapshot:
        times = [backend.jobs.next_due(snapshot, kind) for kind in KINDS]
    return max((now - time) / 1000 for time in (*times, now) if time is not None and time <= now)
