"""Index ranges: `gt(3)`, `between(a, b)`, and how a range over an index becomes contiguous segments.

The order is total and the same on every database: None comes before everything else, text compares by code
point. A segment is one run of an index that any engine can read in one go: some columns equal, then at most one
column between two bounds. What is not one run (None and below 5, or everything after a cursor) becomes several,
read one after another. What lives here knows no SQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flask_convex_http.errors import QueryError


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range; None as the value is the lowest of all values."""

    value: Any
    inclusive: bool


@dataclass(frozen=True, slots=True)
class Range:
    """Values between two bounds; combine two with `&`."""

    lower: Bound | None = None
    upper: Bound | None = None

    def __and__(self, other: Range) -> Range:
        if (self.lower and other.lower) or (self.upper and other.upper):
            raise QueryError("A range has one lower and one upper bound: combine gt or gte with lt or lte")
        return Range(self.lower or other.lower, self.upper or other.upper)


def gt(value: Any) -> Range:
    """Greater than a value."""
    return Range(lower=Bound(value, False))


def gte(value: Any) -> Range:
    """Greater than a value or equal to it."""
    return Range(lower=Bound(value, True))


def lt(value: Any) -> Range:
    """Less than a value; None is less than everything else."""
    return Range(upper=Bound(value, False))


def lte(value: Any) -> Range:
    """Less than a value or equal to it; None is less than everything else."""
    return Range(upper=Bound(value, True))


def between(lower: Any, upper: Any) -> Range:
    """From one value to another, both ends included."""
    return Range(Bound(lower, True), Bound(upper, True))


@dataclass(frozen=True, slots=True)
class Segment:
    """One contiguous run of an index.

    Attributes:
        equal: The leading columns that have one value (None included), in index order.
        column: The column after those, if it is bounded.
        lower: Its lower bound, never None-valued.
        upper: Its upper bound, never None-valued.
        not_none: Whether None is left out of that column.
        order: All columns rows are ordered by.
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
    """The runs of an index that make up a range, in the order they are to be read.

    Args:
        order: The index's columns, ending with the creation time and the id.
        equal: Values of the leading columns.
        bounds: The range of the next column.
        nullable: The columns that can hold None.
        descending: Read backwards.
        after: A row's values of all columns in `order`; only rows behind it in reading order are wanted.
    """
    base = Segment(order, tuple(zip(order, equal, strict=False)))
    runs = _bounded(base, bounds, nullable)
    if after is not None:
        runs = [rest for run in runs for rest in _behind(run, after, nullable, descending)]
    return runs[::-1] if descending else runs


def _bounded(base: Segment, bounds: Range | None, nullable: frozenset[str]) -> list[Segment]:
    """Ascending runs for a range over the column behind the equal ones."""
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
    """Whether None, the lowest value, is within the bounds."""
    above = lower is None or (lower.value is None and lower.inclusive)
    return above and (upper is None or upper.value is not None or upper.inclusive)


def _behind(run: Segment, after: Sequence[Any], nullable: frozenset[str], descending: bool) -> Iterator[Segment]:
    """What of an ascending run lies behind a row in reading order, as ascending runs.

    The order is lexicographic: behind (a, b, c) come the rows equal in a and b and beyond in c, then those equal
    in a and beyond in b, then those beyond in a. Read backwards, those beyond in a are the lowest.
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
    """The rows that equal a row in the columns before a position and lie beyond it there."""
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
    """-1, 0 or 1 in the total order: None first, then by value."""
    for left, right in zip(one, other, strict=False):
        if left == right and (left is None) == (right is None):
            continue
        if left is None or right is None:
            return -1 if left is None else 1
        return -1 if left < right else 1
    return 0
