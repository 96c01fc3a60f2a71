"""Segments of an index in memory: which rows belong to one, and in which order.

Both are as in every engine: None comes first, and text compares by code point, as Python's does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask_convex_http.engines import Row
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, Table
from flask_convex_http.schema.index_ranges import Segment


def row_matcher(table: Table[Any], segment: Segment) -> Callable[[Row], bool]:
    """Return a function that tells whether a row of a table belongs to a segment."""
    places = _places(table)
    equal = [(places[name], value) for name, value in segment.equal]
    column = None if segment.column is None else places[segment.column]
    lower, upper, not_none = segment.lower, segment.upper, segment.not_none

    def matches(row: Row) -> bool:
        if any(row[place] != value for place, value in equal):
            return False
        if column is None:
            return True
        value = row[column]
        if value is None:
            return not not_none and lower is None and upper is None
        if lower is not None and not (value >= lower.value if lower.inclusive else value > lower.value):
            return False
        return upper is None or (value <= upper.value if upper.inclusive else value < upper.value)

    return matches


def order_key(table: Table[Any], segment: Segment) -> Callable[[Row], Any]:
    """Return a function whose value sorts the rows of a table in the order of a segment."""
    places = _places(table)
    order = [places[name] for name in segment.order[len(segment.equal) :]]

    def key(row: Row) -> Any:
        return [(row[place] is not None, row[place]) for place in order]

    return key


def _places(table: Table[Any]) -> dict[str, int]:
    return {name: place for place, name in enumerate((ID_COLUMN, TIME_COLUMN, *table.columns))}
