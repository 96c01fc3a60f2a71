"""Rate limits: token buckets as rows, changed in the transaction of the limited call.

A bucket holds `capacity` tokens and gains `rate` tokens per `period`, continuously. A bucket without a row is full, and
a row whose bucket is full again is purged.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import timedelta

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.database.query import Query
from flask_convex_http.durations import CLOCK_TOLERANCE_MS, seconds_of
from flask_convex_http.engines import Snapshot, Transaction
from flask_convex_http.errors import ArgumentValidationError, RateLimitedError, RegistrationError
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.index_ranges import lte
from flask_convex_http.schema.system_tables import RateLimitBucket

#: Above this, floats no longer count by ones.
_MOST = 2**53
#: The shortest period in seconds, and the longest time to fill an empty bucket in milliseconds.
_SHORTEST_PERIOD = 0.001
_LONGEST_REFILL = timedelta(days=36525) / timedelta(milliseconds=1)
#: The fraction of the requested tokens that may be missing, since sums of floats do not meet a whole token exactly.
#: It is a debt, so it does not add up.
_SLACK = 1e-6
#: Longer keys, and keys that are not printable, are stored as a digest.
_LONGEST_KEY = 200
_DIGEST = "sha256:"


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate limit.

    Attributes:
        name: Its name.
        per_millisecond: The number of tokens added per millisecond.
        capacity: The number of tokens in a full bucket.
    """

    name: str
    per_millisecond: float
    capacity: float

    @classmethod
    def of(cls, name: str, rate: float, period: timedelta | float, capacity: float | None) -> Limit:
        """Return a checked limit.

        Args:
            name: The name of the limit.
            rate: The number of tokens added per period.
            period: A timedelta, or seconds.
            capacity: The number of tokens in a full bucket, by default the rate.

        Raises:
            RegistrationError: The limit cannot work.
        """
        if not isinstance(name, str) or not name or not name.isprintable():
            raise RegistrationError(f"A rate limit's name is printable text, such as 'send_email', not {name!r}")
        where = f"Rate limit {name}:"
        if not _is_number(rate) or not 0 < rate <= _MOST:
            raise RegistrationError(f"{where} rate={rate!r} must be a number of tokens above 0, at most 2**53")
        seconds = seconds_of(period)
        if not _SHORTEST_PERIOD <= seconds <= _MOST:
            raise RegistrationError(
                f"{where} period={period!r} must be a timedelta or a number of seconds, at least {_SHORTEST_PERIOD}"
            )
        holds = _checked_capacity(where, rate, capacity)
        milliseconds = seconds * 1000.0
        if holds * milliseconds > rate * _LONGEST_REFILL:
            raise RegistrationError(f"{where} a bucket would take more than 100 years to fill; shorten the period")
        return cls(name, rate / milliseconds, holds)

    def left(self, bucket: RateLimitBucket | None, now: float, count: float) -> float:
        """Return the number of tokens left in a bucket after taking some.

        Args:
            bucket: The row of the bucket, or None for a full one.
            now: Milliseconds since the epoch.
            count: The number of tokens to take.

        Raises:
            ArgumentValidationError: The count is not a number, or larger than the capacity.
            RateLimitedError: The bucket does not hold enough tokens now.
        """
        self._check_count(count)
        tokens = self._tokens(bucket, now)
        if tokens < count * (1 - _SLACK):
            # half of the slack, so that a call after the wait finds slightly more than enough
            missing = count * (1 - _SLACK / 2) - tokens
            ahead = max(bucket.time - now, 0.0) if bucket else 0.0
            seconds = max(1, math.ceil((missing / self.per_millisecond + ahead) / 1000))
            raise RateLimitedError(f"Rate limit {self.name} exceeded; retry after {seconds} s", seconds)
        return tokens - count

    def full_at(self, now: float, tokens: float) -> float:
        """Return the time at which a bucket with some tokens now is full, in milliseconds since the epoch."""
        full = now + (self.capacity - tokens) / self.per_millisecond
        return full if full > now or tokens >= self.capacity else math.nextafter(now, math.inf)

    def seconds_until_full(self, tokens: float) -> int:
        """Return the number of seconds until a bucket with some tokens now is full, rounded up."""
        return math.ceil((self.capacity - tokens) / self.per_millisecond / 1000)

    def _tokens(self, bucket: RateLimitBucket | None, now: float) -> float:
        # A time far ahead means that the clock was set back by an unknown amount. A bucket that is full too early is
        # better than a caller who is locked out until the clock catches up. A time slightly ahead is another machine's.
        if bucket is None or bucket.time > now + CLOCK_TOLERANCE_MS:
            return self.capacity
        return min(self.capacity, bucket.tokens + max(now - bucket.time, 0.0) * self.per_millisecond)

    def _check_count(self, count: float) -> None:
        if not _is_number(count) or not count > 0:
            raise ArgumentValidationError(f"Rate limit {self.name}: the count must be a number above 0")
        if count > self.capacity:
            raise ArgumentValidationError(
                f"Rate limit {self.name} count {_shown(count)} exceeds {_shown(self.capacity)}."
            )


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The token buckets of an application."""

    schema: Schema

    def take(
        self, transaction: Transaction, times: CreationTimes, now: float, limit: Limit, key: str, count: float
    ) -> float:
        """Take tokens from a bucket, and return the number of tokens left in it.

        Args:
            transaction: The transaction of the limited call.
            times: The creation times of inserted rows.
            now: Milliseconds since the epoch.
            limit: The limit.
            key: The key of the bucket, any text.
            count: The number of tokens.

        Raises:
            ArgumentValidationError: The key is not a text, or the count is larger than the capacity.
            RateLimitedError: The bucket does not hold enough tokens. Nothing is taken.
        """
        key = _stored_key(limit.name, key)
        bucket = self._bucket(transaction, limit.name, key)
        tokens = limit.left(bucket, now, count)
        if bucket is not None and bucket.time <= now + CLOCK_TOLERANCE_MS:
            now = max(now, bucket.time)  # a clock that is behind must not add the same tokens twice
        table, full_at = self._table(), limit.full_at(now, tokens)
        if bucket is None:
            made = RateLimitBucket(name=limit.name, key=key, tokens=tokens, time=now, full_at=full_at)
            insert(transaction, table, made, times)
            return tokens
        fields = {"tokens": tokens, "time": now, "full_at": full_at}
        transaction.update(table, bucket.id, {field: table.store(field, value) for field, value in fields.items()})
        return tokens

    def check(self, snapshot: Snapshot, now: float, limit: Limit, key: str, count: float) -> None:
        """Raise the error that `take` would raise now, and take nothing."""
        limit.left(self._bucket(snapshot, limit.name, _stored_key(limit.name, key)), now, count)

    def purge(self, transaction: Transaction, now: float, limit: int) -> int:
        """Delete rows of full buckets, at most `limit`, and return their number."""
        full = self._query(transaction).with_index("by_full_at", full_at=lte(now)).take(limit)
        for bucket in full:
            transaction.delete(self._table(), bucket.id)
        return len(full)

    def _bucket(self, snapshot: Snapshot, name: str, key: str) -> RateLimitBucket | None:
        return self._query(snapshot).with_index("by_name", name=name, key=key).unique()

    def _query(self, snapshot: Snapshot) -> Query[RateLimitBucket]:
        table = self._table()
        return Query(snapshot, table, table.indexes["by_creation_time"])

    def _table(self) -> Table[RateLimitBucket]:
        return self.schema.table_for(RateLimitBucket)


# --- arguments -------------------------------------------------------------------------------------------------------


def _checked_capacity(where: str, rate: float, capacity: float | None) -> float:
    if capacity is None and rate < 1:
        raise RegistrationError(
            f"{where} rate={rate!r} makes a bucket of less than one token; pass capacity=1, or the rate of a longer "
            "period"
        )
    holds = rate if capacity is None else capacity
    if not _is_number(holds) or not 1 <= holds <= _MOST:
        raise RegistrationError(f"{where} capacity={capacity!r} must be a number of tokens from 1 to 2**53")
    return float(holds)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(number: float) -> str:
    return f"{min(number, 1e300):.15g}"  # an integer may be too long to print


def _stored_key(name: str, key: str) -> str:
    """Return the key as it is stored. Keys come from clients: they may have any length and lone surrogates."""
    if not isinstance(key, str):
        raise ArgumentValidationError(f"Rate limit {name}: the key must be text, not {type(key).__name__}")
    if len(key) <= _LONGEST_KEY and key.isprintable() and not key.startswith(_DIGEST):
        return key
    return _DIGEST + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
