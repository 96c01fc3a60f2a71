"""Index ranges such as `gt(3)`, and the contiguous segments that a range consists of.

The order is total and the same on every database: None comes first, and text compares by code point. A segment is one
run of an index that an engine reads with one statement: equal values in the leading columns, then at most one column
between two bounds. A range that is not contiguous, such as None and values below 5, or all rows after a cursor, becomes
several segments.

The classes are structs of msgspec, since a query makes some of each, and a frozen dataclass takes five times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from flask_convex_http.errors import QueryError


class Bound(msgspec.Struct, frozen=True):
    """One end of a range. None is the lowest value."""

    value: Any
    inclusive: bool


class Range(msgspec.Struct, frozen=True):
    """The values between two bounds. Combine two ranges with `&`."""

    lower: Bound | None = None
    upper: Bound | None = None

    def __and__(self, other: Range) -> Range:
        if (self.lower and other.lower) or (self.upper and other.upper):
            raise QueryError("A range has one lower and one upper bound: combine gt or gte with lt or lte")
        return Range(self.lower or other.lower, self.upper or other.upper)


def gt(value: Any) -> Range:
    """Return the range of values greater than a value."""
    return Range(lower=Bound(value, False))


def gte(value: Any) -> Range:
    """Return the range of values greater than or equal to a value."""
    return Range(lower=Bound(value, True))


def lt(value: Any) -> Range:
    """Return the range of values less than a value. None is less than every other value."""
    return Range(upper=Bound(value, False))


def lte(value: Any) -> Range:
    """Return the range of values less than or equal to a value. None is less than every other value."""
    return Range(upper=Bound(value, True))


def between(lower: Any, upper: Any) -> Range:
    """Return the range from one value to another, both ends included."""
    return Range(Bound(lower, True), Bound(upper, True))


class Segment(msgspec.Struct, frozen=True):
    """One contiguous run of an index.

    Attributes:
        order: All columns that rows are ordered by.
        equal: The leading columns with their values, which may be None, in the order of the index.
        column: The column after them, if it is bounded.
        lower: The lower bound of that column, never with the value None.
        upper: The upper bound of that column, never with the value None.
        not_none: Whether rows with None in that column are excluded.
    """

    order: tuple[str, ...]
    equal: tuple[tuple[str, Any], ...] = ()
    column: str | None = None
    lower: Bound | None = None
    upper: Bound | None = None
    not_none: bool = False


def segments(
    order: tuple[str, ...],
    equal: Sequence[Any],
    bounds: Range | None,
    *,
    nullable: frozenset[str],
    descending: bool = False,
    after: Sequence[Any] | None = None,
) -> list[Segment]:
    """Return the segments of a range, in reading order.

    Args:
        order: The columns of the index, ending with the creation time and the id.
        equal: The values of the leading columns.
        bounds: The range of the next column.
        nullable: The columns that can hold None.
        descending: Whether to read backwards.
        after: A row's values of all columns in `order`, to read only the rows after it in reading order.
    """
    base = Segment(order, tuple(zip(order, equal, strict=False)))
    runs = _bounded(base, bounds, nullable)
    if after is not None:
        runs = [rest for run in runs for rest in _behind(run, after, nullable, descending)]
    return runs[::-1] if descending else runs


def _bounded(base: Segment, bounds: Range | None, nullable: frozenset[str]) -> list[Segment]:
    """Return ascending segments for a range over the column after the equal ones."""
    if bounds is None:
        return [base]
    column = base.order[len(base.equal)]
    lower, upper = bounds.lower, bounds.upper
    runs: list[Segment] = []
    if column in nullable and _holds_none(lower, upper):
        runs.append(replace(base, equal=(*base.equal, (column, None))))
    if upper is None or upper.value is not None:
        above = lower if lower is not None and lower.value is not None else None
        runs.append(replace(base, column=column, lower=above, upper=upper, not_none=column in nullable))
    return runs


def _holds_none(lower: Bound | None, upper: Bound | None) -> bool:
    """Return whether None, the lowest value, is within the bounds."""
    above = lower is None or (lower.value is None and lower.inclusive)
    return above and (upper is None or upper.value is not None or upper.inclusive)


def _behind(run: Segment, after: Sequence[Any], nullable: frozenset[str], descending: bool) -> Iterator[Segment]:
    """Yield the part of an ascending segment after a row in reading order, as ascending segments.

    The order is lexicographic. After (a, b, c) come the rows equal in a and b and beyond in c, then those equal in a
    and beyond in b, then those beyond in a.
    """
    prefix = len(run.equal)
    place = _compare([value for _, value in run.equal], after[:prefix])
    if place != 0:
        if (place > 0) != descending:
            yield run
        return
    positions = range(prefix, len(run.order))
    for position in positions if descending else reversed(positions):
        yield from _beyond(run, after, position, nullable, descending)


def _beyond(
    run: Segment, after: Sequence[Any], position: int, nullable: frozenset[str], descending: bool
) -> Iterator[Segment]:
    """Yield segments of the rows that equal a row in the columns before a position and lie beyond it there."""
    prefix = len(run.equal)
    if position > prefix and run.column is not None and not _within(run, after[prefix]):
        return
    base = Segment(run.order, tuple(zip(run.order, after[:position], strict=False)))
    edge = Bound(after[position], False)
    bounds = Range(upper=edge) if descending else Range(lower=edge)
    if position == prefix and run.column is not None:
        bounds = _intersect(bounds, run)
    none_is_out = position == prefix and run.not_none
    for piece in _bounded(base, bounds, nullable):
        if not (none_is_out and len(piece.equal) > position):
            yield piece


def _intersect(edge: Range, run: Segment) -> Range:
    return Range(
        _tighter(edge.lower, run.lower, 1) if edge.lower else run.lower,
        _tighter(edge.upper, run.upper, -1) if edge.upper else run.upper,
    )


def _tighter(one: Bound | None, other: Bound | None, sign: int) -> Bound | None:
    if one is None or other is None:
        return one or other
    order = _compare([one.value], [other.value]) * sign
    if order == 0:
        return one if not one.inclusive else other
    return one if order > 0 else other


def _within(run: Segment, value: Any) -> bool:
    if value is None:
        return not run.not_none and run.lower is None
    if run.lower is not None and _compare([value], [run.lower.value]) < (0 if run.lower.inclusive else 1):
        return False
    return run.upper is None or _compare([value], [run.upper.value]) <= (0 if run.upper.inclusive else -1)


def _compare(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return -1, 0 or 1 by the total order: None first, then by value."""
    for left, right in zip(one, other, strict=False):
        if left == right and (left is None) == (right is None):
            continue
        if left is None or right is None:
            return -1 if left is None else 1
        return -1 if left < right else 1
    return 0
