"""The port of a log store: where the last log records and the counters of each minute are.

Records are stored in segments: the records that a process has had at one time, encoded as one value. A row for each
record would cost a busy process far more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from flask_convex_http.telemetry.records import CounterKey


class LogSegment(NamedTuple):
    """Some records, encoded.

    Attributes:
        last: The number of its last record, by which readers continue. 0 until it is stored.
        size: The number of its records, whose numbers follow each other.
        level: The highest level of them, as a number.
        content: The records; see `logs.segments`.
    """

    last: int
    size: int
    level: int
    content: bytes


class LogSegmentFilter(NamedTuple):
    """Which segments to read.

    Attributes:
        after: Only those with a record of a larger number: the first ones. None for the last ones.
        before: Only those with a record of a smaller number; None for all.
        level: Only those with a record of this level or a higher one, as a number.
        texts: Only those whose content has all of these texts.
        limit: The largest number of segments.
    """

    after: int | None
    before: int | None
    level: int
    texts: tuple[str, ...]
    limit: int


class LogStore(Protocol):
    """A bounded store that all processes of a deployment share. To lose it harms nothing."""

    def create(self) -> None:
        """Create the store unless it exists."""

    def append(
        self, segment: LogSegment | None, counters: Mapping[CounterKey, float], *, keep: int, since: int
    ) -> None:
        """Add records and counts, and delete old ones.

        Args:
            segment: The records.
            counters: What to add to the counters of each minute.
            keep: How many of the last records stay at least.
            since: The first minute whose counters stay.
        """

    def read(self, wanted: LogSegmentFilter) -> list[LogSegment]:
        """Return segments: in the order of their numbers if `after` is given, or else the last one first."""

    def newest(self) -> int:
        """Return the number of the last record, 0 without one."""

    def counters(self, since: int, until: int) -> list[tuple[int, str, str, float]]:
        """Return the counters from one minute on until before another: minute, name, label and value."""

    def close(self) -> None:
        """Close what is open."""


def select(table: str, wanted: LogSegmentFilter, mark: str, contains: str) -> tuple[str, list[object]]:
    """Return the SQL that reads segments, and its values.

    Args:
        table: The table.
        wanted: Which segments to read.
        mark: The mark of a value.
        contains: The expression that is true if the content has some bytes, with one mark.
    """
    given: list[tuple[str, object]] = [(contains, text.encode()) for text in wanted.texts]
    if wanted.after is not None:
        given.append((f"last > {mark}", wanted.after))
    if wanted.before is not None:
        given.append((f"last - size + 1 < {mark}", wanted.before))
    if wanted.level:
        given.append((f"level >= {mark}", wanted.level))
    where = f" WHERE {' AND '.join(condition for condition, _ in given)}" if given else ""
    order = "DESC" if wanted.after is None else "ASC"
    sql = f"SELECT last, size, level, content FROM {table}{where} ORDER BY last {order} LIMIT {mark}"
    return sql, [*(value for _, value in given), wanted.limit]
