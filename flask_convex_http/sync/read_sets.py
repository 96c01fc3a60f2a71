"""Read sets: the ranges of indexes that decide the result of a query, recorded while it runs.

A read that stops early, as at a limit, has read the range only up to its last row. Of a table without a commit log,
only the name is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from flask_convex_http.database.pages import PagePin
from flask_convex_http.engines import ReadBudget, Row, Snapshot
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, Table
from flask_convex_http.schema.index_ranges import Bound, Segment


class ReadRange(msgspec.Struct, frozen=True):
    """A range of an index that was read.

    Attributes:
        table: The name of the table.
        places: The places in a row of the columns with fixed values.
        values: Those values.
        column: The place of the column with bounds; None without bounds.
        lower: Its lower bound.
        upper: Its upper bound.
        not_none: Whether None is out of the bounds.
        order: The places of the columns that rows are ordered by.
        edge: The last row's values of these columns, if the read stopped there.
        descending: Whether it was read backwards.
    """

    table: str
    places: tuple[int, ...]
    values: tuple[Any, ...]
    column: int | None = None
    lower: Bound | None = None
    upper: Bound | None = None
    not_none: bool = False
    order: tuple[int, ...] = ()
    edge: tuple[Any, ...] | None = None
    descending: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the fixed values alone say which rows belong to the range."""
        return self.column is None and self.edge is None

    def has(self, row: Row) -> bool:
        """Return whether a row with the fixed values belongs to the range."""
        return self._is_within_bounds(row) and self._is_before_edge(row)

    def _is_within_bounds(self, row: Row) -> bool:
        if self.column is None:
            return True
        value, lower, upper = row[self.column], self.lower, self.upper
        if value is None:
            return not self.not_none and lower is None
        if lower is not None and not (value >= lower.value if lower.inclusive else value > lower.value):
            return False
        return upper is None or bool(value <= upper.value if upper.inclusive else value < upper.value)

    def _is_before_edge(self, row: Row) -> bool:
        if self.edge is None:
            return True
        for place, edge in zip(self.order, self.edge, strict=True):
            value = row[place]
            if value != edge:
                is_lower = value is None or (edge is not None and value < edge)
                return bool(is_lower) != self.descending
        return True


class ReadSet(msgspec.Struct):
    """The reads of a query.

    Attributes:
        documents: The ids that it looked up.
        ranges: The ranges that it read.
        unlogged: The names of the tables without a commit log that it read.
    """

    documents: frozenset[str] = frozenset()
    ranges: frozenset[ReadRange] = frozenset()
    unlogged: frozenset[str] = frozenset()


class RecordingSnapshot:
    """A snapshot that passes every read on, and records it.

    The methods are those of `engines.transaction.Snapshot`.

    Args:
        snapshot: The snapshot of the engine.
        journal: Where a page has ended in the last run of the query, or None.

    Attributes:
        page_pin: Keeps the end of the page of a paginated query.
    """

    def __init__(self, snapshot: Snapshot, journal: str | None = None) -> None:
        self.page_pin = PagePin(journal)
        self._snapshot = snapshot
        self._documents: set[str] = set()
        self._ranges: set[ReadRange] = set()
        self._unlogged: set[str] = set()
        self._streams: list[_RecordedStream] = []

    def read_set(self) -> ReadSet:
        """Return the reads so far."""
        streamed = [stream.range() for stream in self._streams]
        ranges = self._ranges.union(read for read in streamed if read is not None)
        return ReadSet(frozenset(self._documents), frozenset(ranges), frozenset(self._unlogged))

    def get(self, table: Table[Any], document_id: str) -> Row | None:
        """See `Snapshot`."""
        if self._is_logged(table):
            self._documents.add(document_id)
        return self._snapshot.get(table, document_id)

    def select(
        self,
        table: Table[Any],
        segment: Segment,
        *,
        descending: bool,
        limit: int | None,
        budget: ReadBudget | None = None,
    ) -> list[Row]:
        """See `Snapshot`."""
        rows = self._snapshot.select(table, segment, descending=descending, limit=limit, budget=budget)
        if self._is_logged(table):
            stopped = limit is not None and len(rows) >= limit
            if not stopped or rows:
                self._ranges.add(range_of(table, segment, rows[-1] if stopped else None, descending=descending))
        return rows

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        """See `Snapshot`."""
        rows = self._snapshot.stream(table, segment, descending=descending)
        if not self._is_logged(table):
            return rows
        stream = _RecordedStream(rows, table, segment, descending)
        self._streams.append(stream)
        return stream

    def count(self, table: Table[Any]) -> int:
        """See `Snapshot`."""
        if self._is_logged(table):
            self._ranges.add(ReadRange(table.name, (), ()))
        return self._snapshot.count(table)

    def is_ordered_by_time(self, table: Table[Any]) -> bool:
        """See `Snapshot`."""
        return self._snapshot.is_ordered_by_time(table)

    def _is_logged(self, table: Table[Any]) -> bool:
        if not table.system and table.has_history:
            return True
        self._unlogged.add(table.name)
        return False


class _RecordedStream:
    """The rows of a stream, which remembers the last one that was taken from it."""

    __slots__ = ("_descending", "_is_over", "_last", "_rows", "_segment", "_table")

    def __init__(self, rows: Iterator[Row], table: Table[Any], segment: Segment, descending: bool) -> None:
        self._rows = rows
        self._table = table
        self._segment = segment
        self._descending = descending
        self._last: Row | None = None
        self._is_over = False

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        try:
            self._last = next(self._rows)
        except StopIteration:
            self._is_over = True
            raise
        return self._last

    def range(self) -> ReadRange | None:
        """Return the range that was read, or None if nothing was."""
        if self._is_over:
            return range_of(self._table, self._segment, None, descending=self._descending)
        if self._last is None:
            return None
        return range_of(self._table, self._segment, self._last, descending=self._descending)


def range_of(table: Table[Any], segment: Segment, last: Row | None, *, descending: bool) -> ReadRange:
    """Return the range of a segment, up to the last row if the read stopped there."""
    places = places_of(table)
    order = tuple(places[name] for name in segment.order[len(segment.equal) :])
    has_bounds = segment.column is not None and (
        segment.lower is not None or segment.upper is not None or segment.not_none
    )
    return ReadRange(
        table=table.name,
        places=tuple(places[name] for name, _ in segment.equal),
        values=tuple(value for _, value in segment.equal),
        column=places[segment.column] if has_bounds and segment.column is not None else None,
        lower=segment.lower if has_bounds else None,
        upper=segment.upper if has_bounds else None,
        not_none=segment.not_none if has_bounds else False,
        order=order if last is not None else (),
        edge=None if last is None else tuple(last[place] for place in order),
        descending=descending if last is not None else False,
    )


def places_of(table: Table[Any]) -> dict[str, int]:
    """Return the place of each column in a row."""
    return {name: place for place, name in enumerate((ID_COLUMN, TIME_COLUMN, *table.columns))}
