"""Helpers that take tokens from buckets at a chosen time, and read the buckets' rows."""

from flask_convex_http.backend import Backend
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.query import Query
from flask_convex_http.errors import RateLimitedError
from flask_convex_http.rate_limits import Limit
from flask_convex_http.schema.system_tables import RateLimitBucket

#: Milliseconds since the epoch.
NOW = 1.7e12


def take(backend: Backend, limit: Limit, key: str, now: float, count: float = 1) -> int:
    """Take tokens in a transaction, and return the seconds to wait, or 0 if there were enough."""
    try:
        backend.engine.write(
            lambda transaction: backend.rate_limits.take(transaction, CreationTimes(now), now, limit, key, count)
        )
    except RateLimitedError as error:
        assert error.retry_after is not None
        return error.retry_after
    return 0


def count_available(backend: Backend, limit: Limit, key: str, now: float) -> int:
    """Return how many single tokens a bucket gives at one moment."""
    count = 0
    while take(backend, limit, key, now) == 0:
        count += 1
    return count


def buckets(backend: Backend) -> dict[str, RateLimitBucket]:
    """Return the rows by their keys."""
    table = backend.schema.table_for(RateLimitBucket)
    with backend.engine.snapshot() as snapshot:
        rows = Query(snapshot, table, table.indexes["by_creation_time"]).collect()
    assert len({(row.name, row.key) for row in rows}) == len(rows)
    return {row.key: row for row in rows}


def purge(backend: Backend, now: float, limit: int = 100) -> int:
    """Delete the rows of full buckets, and return how many."""
    return backend.engine.write(lambda transaction: backend.rate_limits.purge(transaction, now, limit))
