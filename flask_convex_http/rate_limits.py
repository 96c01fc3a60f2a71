"""Rate limits: token buckets as rows, in the same transaction as what they limit.

A bucket holds `capacity` tokens and gets `rate` of them back each `period`, continuously. Who has no row has a full
bucket, and a row whose bucket is full again is swept away. What lives here knows no HTTP.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import timedelta

from flask_convex_http.database.db import CreationTimes, insert
from flask_convex_http.database.query import Query
from flask_convex_http.durations import SAME_CLOCK, seconds_of
from flask_convex_http.engines.base import Snapshot, Transaction
from flask_convex_http.errors import ArgumentValidationError, RateLimitedError, RegistrationError
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.index_ranges import lte
from flask_convex_http.schema.system_tables import RateLimitBucket

#: Beyond this a float no longer counts by ones.
_MOST = 2**53
#: The shortest period, in seconds, and the longest time until an empty bucket is full, in milliseconds.
_SHORTEST_PERIOD = 0.001
_LONGEST_REFILL = timedelta(days=36525) / timedelta(milliseconds=1)
#: What part of the tokens asked for may be missing: sums of floats do not meet a whole token at the very moment. It is
#: a debt, so it does not add up.
_SLACK = 1e-6
#: Keys that are longer, or not for people to read, are kept as a digest.
_LONGEST_KEY = 200
_DIGEST = "sha256:"


@dataclass(frozen=True, slots=True)
class Limit:
    """What a rate limit gives.

    Attributes:
        name: Its name.
        per_millisecond: How many tokens come back in a millisecond.
        capacity: How many tokens a bucket holds.
    """

    name: str
    per_millisecond: float
    capacity: float

    @classmethod
    def of(cls, name: str, rate: float, period: timedelta | float, capacity: float | None) -> Limit:
        """Check what a caller gave, and work it out.

        Args:
            name: The limit's name.
            rate: How many tokens come back each period.
            period: A timedelta, or seconds.
            capacity: How many tokens a bucket holds; the rate if not given.

        Raises:
            RegistrationError: It is no limit that could work.
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
        """How many tokens are left in a bucket when some are taken.

        Args:
            bucket: The bucket's row; None is a full one.
            now: In milliseconds since the epoch.
            count: How many are taken.

        Raises:
            ArgumentValidationError: The bucket never holds as many, or it is no number.
            RateLimitedError: There are not as many at the moment.
        """
        self._check_count(count)
        tokens = self._tokens(bucket, now)
        if tokens < count * (1 - _SLACK):
            # half of the slack: who comes back then is to find a bit more than just enough
            missing = count * (1 - _SLACK / 2) - tokens
            ahead = max(bucket.time - now, 0.0) if bucket else 0.0
            seconds = max(1, math.ceil((missing / self.per_millisecond + ahead) / 1000))
            raise RateLimitedError(f"Rate limit {self.name} exceeded; retry after {seconds} s", seconds)
        return tokens - count

    def full_at(self, now: float, tokens: float) -> float:
        """When a bucket that holds some tokens now is full, in milliseconds since the epoch."""
        full = now + (self.capacity - tokens) / self.per_millisecond
        return full if full > now or tokens >= self.capacity else math.nextafter(now, math.inf)

    def _tokens(self, bucket: RateLimitBucket | None, now: float) -> float:
        # A time far ahead says nothing: the clock was set back, by nobody knows how much. Better a full bucket too many
        # than somebody who is locked out until the clock has caught up. One a bit ahead is another machine's.
        if bucket is None or bucket.time > now + SAME_CLOCK:
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
    """The buckets of an application."""

    schema: Schema

    def take(
        self, transaction: Transaction, times: CreationTimes, now: float, limit: Limit, key: str, count: float
    ) -> None:
        """Take tokens.

        Args:
            transaction: What they are a part of.
            times: The creation times of what it inserts.
            now: In milliseconds since the epoch.
            limit: The limit.
            key: Whose bucket it is; any text.
            count: How many tokens.

        Raises:
            ArgumentValidationError: The key is no text, or the bucket never holds as many.
            RateLimitedError: There are not enough; nothing was taken.
        """
        key = _stored_key(limit.name, key)
        bucket = self._bucket(transaction, limit.name, key)
        tokens = limit.left(bucket, now, count)
        if bucket is not None and bucket.time <= now + SAME_CLOCK:
            now = max(now, bucket.time)  # a clock that is behind must not give back the same tokens twice
        table, full_at = self._table(), limit.full_at(now, tokens)
        if bucket is None:
            made = RateLimitBucket(name=limit.name, key=key, tokens=tokens, time=now, full_at=full_at)
            insert(transaction, table, made, times)
            return
        fields = {"tokens": tokens, "time": now, "full_at": full_at}
        transaction.update(table, bucket.id, {field: table.store(field, value) for field, value in fields.items()})

    def check(self, snapshot: Snapshot, now: float, limit: Limit, key: str, count: float) -> None:
        """Raise what `take` would raise now, without taking."""
        limit.left(self._bucket(snapshot, limit.name, _stored_key(limit.name, key)), now, count)

    def sweep(self, transaction: Transaction, now: float, limit: int) -> int:
        """Remove rows of buckets that are full again, at most `limit`; answers how many it was."""
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


# --- what was given --------------------------------------------------------------------------------------------------


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
    return f"{min(number, 1e300):.15g}"  # an integer may be too long to be printed


def _stored_key(name: str, key: str) -> str:
    """The key as it is stored. Keys come from outside: they may be of any length, and no text a database takes."""
    if not isinstance(key, str):
        raise ArgumentValidationError(f"Rate limit {name}: the key must be text, not {type(key).__name__}")
    if len(key) <= _LONGEST_KEY and key.isprintable() and not key.startswith(_DIGEST):
        return key
    return _DIGEST + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
