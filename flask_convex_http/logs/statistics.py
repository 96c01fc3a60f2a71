"""Statistics by the minute, made of the counters of all processes."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from flask_convex_http.logs.tallies import BOUNDS

_BUCKETS = len(BOUNDS) + 1


class Histogram(msgspec.Struct):
    """Durations by size.

    Attributes:
        buckets: The number of durations in each bucket, whose upper bounds are `BOUNDS`; the last has none.
        total: The sum of all durations, in seconds.
    """

    buckets: list[float] = msgspec.field(default_factory=lambda: [0.0] * _BUCKETS)
    total: float = 0.0

    @property
    def count(self) -> float:
        """The number of durations."""
        return sum(self.buckets)

    @property
    def mean(self) -> float | None:
        """The mean in seconds, or None without any."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """Return the bound of the bucket in which a share of all durations is reached, in seconds.

        Args:
            share: The share, such as 0.5 for the median.

        Returns:
            The bound, that of the last but one for durations without a bound; None without durations.
        """
        wanted, seen = share * self.count, 0.0
        for bound, count in zip(BOUNDS, self.buckets, strict=False):
            seen += count
            if seen and seen >= wanted:
                return bound
        return BOUNDS[-1] if self.count else None

    def note(self, label: str, value: float) -> None:
        """Add a counter."""
        if label == "sum":
            self.total += value
        elif label.isdecimal() and int(label) < _BUCKETS:  # a later release may have more
            self.buckets[int(label)] += value


class Minute(msgspec.Struct, kw_only=True):
    """What happened in one minute, or in several.

    Attributes:
        start: Its start, in milliseconds since the epoch.
        requests: The number of requests by the first digit of their status, such as "2xx".
        request_seconds: The durations of requests.
        functions: The number of calls by function.
        function_errors: The number of failed calls by function.
        function_seconds: The durations of calls.
        transactions: The number of transactions of functions, deliveries and batches of jobs.
        retries: How often transactions ran again after a conflict.
        write_wait: How long transactions waited until they ran.
        commits: The number of commits of the SQLite writer.
        commit_members: The number of writes in these commits.
        deliveries: The number of verified deliveries by state, attempts of workers included.
        rejections: The number of rejected deliveries by reason.
        jobs: The number of attempts of jobs by outcome.
        dropped: The number of records that were dropped since they came too fast to be written.
    """

    start: float
    requests: dict[str, float] = {}
    request_seconds: Histogram = msgspec.field(default_factory=Histogram)
    functions: dict[str, float] = {}
    function_errors: dict[str, float] = {}
    function_seconds: Histogram = msgspec.field(default_factory=Histogram)
    transactions: float = 0
    retries: float = 0
    write_wait: Histogram = msgspec.field(default_factory=Histogram)
    commits: float = 0
    commit_members: float = 0
    deliveries: dict[str, float] = {}
    rejections: dict[str, float] = {}
    jobs: dict[str, float] = {}
    dropped: float = 0

    @property
    def request_count(self) -> float:
        """The number of all requests."""
        return sum(self.requests.values())

    @property
    def error_count(self) -> float:
        """The number of requests whose status is 500 or more."""
        return self.requests.get("5xx", 0)

    @property
    def group_size(self) -> float | None:
        """The mean number of writes in one commit, or None without commits."""
        return self.commit_members / self.commits if self.commits else None


def minutes(counters: Iterable[tuple[int, str, str, float]], since: int, until: int, step: int) -> list[Minute]:
    """Return what happened, in steps of some minutes, without a gap.

    Args:
        counters: The counters: minute, name, label and value.
        since: The first minute.
        until: The minute after the last one.
        step: The number of minutes in each step.
    """
    made = [Minute(start=first * 60_000.0) for first in range(since, until, step)]
    for minute, name, label, value in counters:
        place = (minute - since) // step
        if 0 <= place < len(made):
            _note(made[place], name, label, value)
    return made


def _note(minute: Minute, name: str, label: str, value: float) -> None:
    known = getattr(minute, name, None)  # a later release may have more
    if isinstance(known, Histogram):
        known.note(label, value)
    elif isinstance(known, dict):
        known[label] = known.get(label, 0) + value
    elif isinstance(known, (int, float)):
        setattr(minute, name, known + value)
