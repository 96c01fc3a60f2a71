"""Counting in one process.

A thread that serves a request only appends a number to a list, which takes less than a microsecond. prometheus-client's
own metrics take ten times as long, and thirty times in its mode for several processes. Once a second, and before each
scrape, the lists are added to the totals.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator

import msgspec

from flask_convex_http.metrics.definitions import Metric

Labels = tuple[str, ...]
#: The values of labels as they were noted, such as a status that is a number.
Key = tuple[object, ...]


class Total(msgspec.Struct, array_like=True):
    """The value of one metric with one set of labels.

    Attributes:
        sum: The value of a counter, or the sum of the observed values of a histogram.
        buckets: The number of values in each bucket of a histogram, the last of which has no upper bound.
    """

    sum: float = 0.0
    buckets: list[int] = []

    def add(self, other: Total) -> None:
        """Add another value of the same metric."""
        self.sum += other.sum
        if self.buckets:
            self.buckets = [own + more for own, more in zip(self.buckets, other.buckets, strict=True)]
        else:
            self.buckets = other.buckets[:]


class Totals:
    """The values of metrics by name and labels."""

    def __init__(self) -> None:
        self._values: dict[str, dict[Labels, Total]] = {}

    def of(self, metric: Metric) -> dict[Labels, Total]:
        """Return the values of a metric by labels."""
        return self._values.get(metric.name, {})

    def __iter__(self) -> Iterator[tuple[str, Labels, Total]]:
        for name, values in self._values.items():
            for labels, total in values.items():
                yield name, labels, total

    def count(self, metric: Metric, labels: Labels, number: float) -> None:
        """Add to a counter."""
        self.add(metric.name, labels, Total(number))

    def observe(self, metric: Metric, labels: Labels, values: Iterable[float]) -> None:
        """Add values to a histogram."""
        ordered = sorted(values)
        below = [bisect_right(ordered, bound) for bound in metric.buckets]
        buckets = [end - start for start, end in zip([0, *below], [*below, len(ordered)], strict=True)]
        self.add(metric.name, labels, Total(sum(ordered), buckets))

    def add(self, name: str, labels: Labels, total: Total) -> None:
        """Add a value to that of the same metric and labels."""
        values = self._values.setdefault(name, {})
        if labels in values:
            values[labels].add(total)
        else:
            values[labels] = Total(total.sum, total.buckets[:])

    def clear(self) -> None:
        """Forget all values."""
        self._values.clear()


class Samples:
    """Numbers that were noted since the last look, by labels. Thread-safe.

    Args:
        on_new: Called when labels are noted for the first time.
    """

    def __init__(self, on_new: Callable[[], None]) -> None:
        self._noted: dict[Key, list[float]] = {}
        self._on_new = on_new

    def note(self, key: Key, value: float) -> None:
        """Note a number."""
        try:
            self._noted[key].append(value)
        except KeyError:
            self._noted.setdefault(key, []).append(value)
            self._on_new()

    def note_all(self, key: Key, values: list[float]) -> None:
        """Note several numbers."""
        self.note(key, values[0])
        self._noted[key].extend(values[1:])

    def take(self) -> Iterator[tuple[Labels, list[float]]]:
        """Yield the labels with the numbers that were noted since the last call."""
        for key, noted in list(self._noted.items()):
            number = len(noted)
            if number:
                values = noted[:number]
                del noted[:number]  # others may have been appended behind them
                yield tuple(map(str, key)), values

    def clear(self) -> None:
        """Forget what was noted."""
        self._noted = {}
