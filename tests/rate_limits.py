"""How the tests of rate limits take from buckets at a time of their choice, and look at their rows."""

from flask_convex_http.backend import Backend
from flask_convex_http.database.db import CreationTimes
from flask_convex_http.database.query import Query
from flask_convex_http.errors import RateLimitedError
from flask_convex_http.rate_limits import Limit
from flask_convex_http.schema.system_tables import RateLimitBucket

#: Milliseconds since the epoch.
NOW = 1.7e12


def take(backend: Backend, limit: Limit, key: str, now: float, count: float = 1) -> int:
    """Take tokens in a transaction; 0 if there were enough, or else the seconds to wait."""
    try:
        backend.engine.write(
            lambda transaction: backend.rate_limits.take(transaction, CreationTimes(now), now, limit, key, count)
        )
    except RateLimitedError as error:
        assert error.retry_after is not None
        return error.retry_after
    return 0


def taken_at_once(backend: Backend, limit: Limit, key: str, now: float) -> int:
    """How many tokens a bucket gives, one by one, while the time stands still."""
    count = 0
    while take(backend, limit, key, now) == 0:
        count += 1
    return count


def buckets(backend: Backend) -> dict[str, RateLimitBucket]:
    """The rows by their keys."""
    table = backend.schema.table_for(RateLimitBucket)
    with backend.engine.snapshot() as snapshot:
        rows = Query(snapshot, table, table.indexes["by_creation_time"]).collect()
    assert len({(row.name, row.key) for row in rows}) == len(rows)
    return {row.key: row for row in rows}


def sweep(backend: Backend, now: float, limit: int = 100) -> int:
    """Remove rows of full buckets."""
    return backend.engine.write(lambda transaction: backend.rate_limits.purge(transaction, now, limit))
