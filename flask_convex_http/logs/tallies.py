"""The increments of an event to the counters of its minute.

A counter has a name and a label. Those of all processes add up, so a histogram is one counter for each of its buckets.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from flask_convex_http.telemetry import (
    DeliveryFinished,
    DeliveryRejected,
    Event,
    FunctionFinished,
    GroupCommitted,
    JobFinished,
    RequestFinished,
    RequestGroup,
    TransactionFinished,
)
from flask_convex_http.telemetry.records import CounterKey

#: The upper bounds of the buckets of all histograms, in seconds. One more bucket has no bound.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LABELS = tuple(map(str, range(len(BOUNDS) + 1)))

_place_of = partial(bisect_left, BOUNDS)

Counts = tuple[tuple[str, str, float], ...]


class Tally(NamedTuple):
    """The counts of one event: each a name, a label and a number."""

    minute: int
    counts: Counts


def add(counters: Counter[CounterKey], tally: Tally) -> None:
    """Add the counts of an event to counters."""
    minute, counts = tally
    for name, label, value in counts:
        counters[minute, name, label] += value  # type: ignore[assignment]  # a sum of seconds is no whole number


def add_requests(counters: Counter[CounterKey], group: RequestGroup) -> None:
    """Add the counts of requests to counters."""
    if group.is_of_operators:
        return
    by_minute: dict[int, list[float]] = {}
    for started, seconds, _ in group.timings:
        by_minute.setdefault(int((started + seconds) // 60), []).append(seconds)
    for minute, durations in by_minute.items():
        add(counters, Tally(minute, _of_requests(group.status, durations)))


def minute_of(event: Event) -> int:
    """Return the minute in which an event has happened, in minutes since the epoch."""
    if isinstance(event, GroupCommitted | DeliveryRejected):
        return int(time.time() // 60)
    return int((event.scope.started + event.seconds) // 60)


def counts_of(event: Any) -> Counts:
    """Return the counts of an event."""
    return _COUNTS[type(event)](event)


def _of_request(event: RequestFinished) -> Counts:
    return () if event.is_of_operators else _of_requests(event.status, [event.seconds])


def _of_requests(status: int, durations: list[float]) -> Counts:
    """Return the counts of requests with one status, by their seconds."""
    return (("requests", f"{status // 100}xx", len(durations)), *_histogram("request_seconds", durations))


def _of_function(event: FunctionFinished) -> Counts:
    counts = (("functions", event.name, 1.0), *_histogram("function_seconds", [event.seconds]))
    return counts if event.error is None else (*counts, ("function_errors", event.name, 1))


def _of_transaction(event: TransactionFinished) -> Counts:
    counts = (("transactions", "", 1.0), *_histogram("write_wait", [event.wait]))
    return counts if event.attempts == 1 else (*counts, ("retries", "", event.attempts - 1))


def _of_commit(event: GroupCommitted) -> Counts:
    return ("commits", "", 1), ("commit_members", "", event.size)


def _of_delivery(event: DeliveryFinished) -> Counts:
    return (("deliveries", event.state, 1),)


def _of_rejection(event: DeliveryRejected) -> Counts:
    return (("rejections", event.reason, 1),)


def _of_job(event: JobFinished) -> Counts:
    return (("jobs", event.outcome, 1),)


def _histogram(name: str, durations: list[float]) -> Counts:
    if len(durations) == 1:  # a counter takes longer than all else that counts the call of a function
        return (name, _LABELS[_place_of(durations[0])], 1), (name, "sum", durations[0])
    places = Counter(map(_place_of, durations))
    return ((name, "sum", sum(durations)), *((name, _LABELS[place], number) for place, number in places.items()))


_COUNTS: dict[type, Callable[[Any], Counts]] = {
    RequestFinished: _of_request,
    FunctionFinished: _of_function,
    TransactionFinished: _of_transaction,
    GroupCommitted: _of_commit,
    DeliveryFinished: _of_delivery,
    DeliveryRejected: _of_rejection,
    JobFinished: _of_job,
}
