"""Find the queries that a changed row concerns, among thousands.

The ranges of a table are grouped by the columns that they fix. In each group, a hash of the fixed values leads to the
ranges that a row can belong to. So the time for a row depends on the number of groups, and not on that of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import product
from operator import itemgetter
from typing import Any, Generic, TypeVar

from flask_convex_http.engines import Row
from flask_convex_http.sync.read_sets import ReadRange, ReadSet

W = TypeVar("W", bound=Hashable)


class _Ranges(Generic[W]):
    """The ranges with the same fixed values."""

    __slots__ = ("partial", "whole")

    def __init__(self) -> None:
        self.whole: set[W] = set()
        self.partial: dict[ReadRange, set[W]] = {}

    def collect(self, row: Row, found: set[W]) -> None:
        """Add the watchers of the ranges that have a row with the fixed values."""
        found |= self.whole
        for read, watchers in self.partial.items():
            if read.has(row):
                found |= watchers


class _Group(Generic[W]):
    """The ranges that fix the same columns, by the values of these columns.

    Args:
        places: The places of the columns in a row.
    """

    __slots__ = ("key", "values")

    def __init__(self, places: tuple[int, ...]) -> None:
        self.key: Callable[[Row], Any] = itemgetter(*places) if places else _none
        self.values: dict[Any, _Ranges[W]] = {}


class RangeIndex(Generic[W]):
    """The read sets of watchers. It is not thread-safe."""

    def __init__(self) -> None:
        self._documents: dict[str, set[W]] = {}
        self._tables: dict[str, dict[tuple[int, ...], _Group[W]]] = {}

    def add(self, watcher: W, reads: ReadSet) -> None:
        """Watch a read set."""
        for document_id in reads.documents:
            self._documents.setdefault(document_id, set()).add(watcher)
        for read in reads.ranges:
            groups = self._tables.setdefault(read.table, {})
            group = groups.get(read.places)
            if group is None:
                group = groups[read.places] = _Group(read.places)
            ranges = group.values.setdefault(_key_of(read), _Ranges())
            (ranges.whole if read.is_whole else ranges.partial.setdefault(read, set())).add(watcher)

    def remove(self, watcher: W, reads: ReadSet) -> None:
        """Stop to watch a read set, as it was added."""
        for document_id in reads.documents:
            _discard(self._documents, document_id, watcher)
        for read in reads.ranges:
            self._remove_range(watcher, read)

    def watches(self, table: str, document_id: str) -> bool:
        """Return whether a change of a document may concern a watcher."""
        return table in self._tables or document_id in self._documents

    def concerned(self, table: str, document_id: str, before: Row | None, after: Row | None) -> set[W]:
        """Return the watchers that have read a row, or would read it now.

        Args:
            table: The name of the table.
            document_id: The id of the document.
            before: The row before the change, None for a new one.
            after: The row after the change, None for a deleted one.
        """
        found = set(self._documents.get(document_id, ()))
        groups = self._tables.get(table, {}).values()
        rows = [row for row in (before, after) if row is not None]
        for row, group in product(rows, groups):
            ranges = group.values.get(group.key(row))
            if ranges is not None:
                ranges.collect(row, found)
        return found

    def _remove_range(self, watcher: W, read: ReadRange) -> None:
        groups = self._tables[read.table]
        values, key = groups[read.places].values, _key_of(read)
        ranges = values[key]
        if read.is_whole:
            ranges.whole.discard(watcher)
        else:
            _discard(ranges.partial, read, watcher)
        if ranges.whole or ranges.partial:
            return
        del values[key]
        if not values:
            del groups[read.places]
        if not groups:
            del self._tables[read.table]


def _key_of(read: ReadRange) -> Any:
    """Return the fixed values of a range as the key of its group returns them."""
    return read.values[0] if len(read.values) == 1 else read.values or None


def _none(row: Row) -> None:
    """Return the key of all rows, for ranges without fixed values."""


def _discard(sets: dict[Any, set[W]], key: Any, watcher: W) -> None:
    """Remove a watcher from the set of a key, and the key with its last watcher."""
    watchers = sets[key]
    watchers.discard(watcher)
    if not watchers:
        del sets[key]
