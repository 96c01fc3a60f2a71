"""Ranges over an index as contiguous segments, compared with sorting and filtering a list."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import QueryError, between, gt, gte, lt, lte
from flask_convex_http.schema.index_ranges import Bound, Range, Segment, segments
from tests.lengths import SAMPLED, examples

ORDER = ("a", "b", "_creation_time", "_id")

values = st.none() | st.integers(0, 3)
bounds = st.none() | st.builds(Bound, values, st.booleans())
ranges = st.none() | st.builds(Range, bounds, bounds)
row_sets = st.lists(st.tuples(values, values, st.integers(0, 2)), max_size=12).map(
    lambda found: [(a, b, float(time), f"i{number:02}") for number, (a, b, time) in enumerate(found)]
)


def key(value: Any) -> Any:
    """Return a sort key of the total order: None first."""
    return (value is not None, value or 0)


def row_key(row: Any) -> Any:
    return [key(value) for value in row[:2]] + list(row[2:])


def within(value: Any, wanted: Range | None) -> bool:
    if wanted is None:
        return True
    lower, upper = wanted.lower, wanted.upper
    above = lower is None or key(value) > key(lower.value) or (lower.inclusive and value == lower.value)
    below = upper is None or key(value) < key(upper.value) or (upper.inclusive and value == upper.value)
    return above and below


def holds(segment: Segment, row: Any) -> bool:
    """Return whether a row is in a segment as SQL decides it: a comparison with NULL is never true."""
    named = dict(zip(ORDER, row, strict=True))
    if any(named[name] != value for name, value in segment.equal):
        return False
    value = named.get(segment.column or "")
    if segment.not_none and value is None:
        return False
    if (segment.lower or segment.upper) and value is None:
        return False
    return within(value, Range(segment.lower, segment.upper))


def read(parts: list[Segment], rows: list[Any], descending: bool) -> list[Any]:
    """Return the rows that an engine reads for segments, in order."""
    found = []
    for part in parts:
        found += sorted((row for row in rows if holds(part, row)), key=row_key, reverse=descending)
    return found


@SAMPLED
@settings(max_examples=examples(400), deadline=None)
@given(rows=row_sets, equal=st.lists(values, max_size=2), wanted=ranges, descending=st.booleans())
def test_segments_are_the_range_in_order(
    rows: list[Any], equal: list[Any], wanted: Range | None, descending: bool
) -> None:
    """Reading the segments in order returns exactly the rows of the range, sorted, each once."""
    wanted = wanted if len(equal) < 2 else None
    parts = segments(ORDER, equal, wanted, nullable=frozenset("ab"), descending=descending)
    expected = [
        row for row in rows if list(row[: len(equal)]) == equal and (wanted is None or within(row[len(equal)], wanted))
    ]
    assert read(parts, rows, descending) == sorted(expected, key=row_key, reverse=descending)


@SAMPLED
@settings(max_examples=examples(600), deadline=None)
@given(
    rows=row_sets,
    equal=st.lists(values, max_size=1),
    wanted=ranges,
    descending=st.booleans(),
    after=st.tuples(values, values, st.integers(0, 2).map(float), st.integers(0, 13).map(lambda n: f"i{n:02}")),
)
def test_segments_go_on_behind_any_row(
    rows: list[Any], equal: list[Any], wanted: Range | None, descending: bool, after: Any
) -> None:
    """After a row, present or not, inside the range or not, the segments hold exactly the rows that sort after it."""
    parts = segments(ORDER, equal, wanted, nullable=frozenset("ab"), descending=descending, after=after)
    everything = read(segments(ORDER, equal, wanted, nullable=frozenset("ab"), descending=descending), rows, descending)
    behind = [row for row in everything if (row_key(row) < row_key(after)) == descending and row != after]
    assert read(parts, rows, descending) == behind


@SAMPLED
@settings(max_examples=examples(100), deadline=None)
@given(wanted=ranges, descending=st.booleans(), after=st.none() | st.just((1, 1, 1.0, "i1")))
def test_bounds_are_never_none(wanted: Range | None, descending: bool, after: Any) -> None:
    """The bounds of a segment are never None, since NULL compares with nothing; None becomes a segment of its own."""
    for part in segments(ORDER, [], wanted, nullable=frozenset("ab"), descending=descending, after=after):
        assert part.lower is None or part.lower.value is not None
        assert part.upper is None or part.upper.value is not None


def test_a_field_without_none_is_one_segment() -> None:
    """A range over a field that cannot be None is one segment."""
    [part] = segments(ORDER, [5], lt(3), nullable=frozenset())
    assert (part.equal, part.column, part.upper, part.not_none) == ((("a", 5),), "b", Bound(3, False), False)


def test_none_is_read_before_and_after() -> None:
    """A range that includes None has two segments, with None first, or last in descending order."""
    up = segments(ORDER, [], lte(3), nullable=frozenset("a"))
    down = segments(ORDER, [], lte(3), nullable=frozenset("a"), descending=True)
    assert [part.equal for part in up] == [(("a", None),), ()]
    assert down == up[::-1]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (gt(1), [2, 3]),
        (gte(1), [1, 2, 3]),
        (lt(2), [None, 0, 1]),
        (lte(2), [None, 0, 1, 2]),
        (between(1, 2), [1, 2]),
        (between(2, 1), []),
        (gt(1) & lt(3), [2]),
        (lte(2) & gte(2), [2]),
        (gt(None), [0, 1, 2, 3]),
        (gte(None), [None, 0, 1, 2, 3]),
        (lt(None), []),
        (lte(None), [None]),
        (between(None, 1), [None, 0, 1]),
        (between(1, None), []),
        (between(None, None), [None]),
        (gt(None) & lte(1), [0, 1]),
    ],
)
def test_ranges_say_what_they_hold(wanted: Range, found: list[int | None]) -> None:
    """None is the lowest value: a range without a lower bound includes it, and it can be a bound itself."""
    rows = [(value, 0, 0.0, f"i{number}") for number, value in enumerate([None, 0, 1, 2, 3])]
    parts = segments(ORDER, [], wanted, nullable=frozenset("a"))
    assert [row[0] for row in read(parts, rows, False)] == found


@pytest.mark.parametrize(
    "combine",
    [
        lambda: gt(1) & gte(2),
        lambda: lt(1) & lte(2),
        lambda: between(1, 2) & gt(1),
        lambda: gt(1) & lt(3) & lt(2),
    ],
)
def test_a_range_has_one_bound_on_each_side(combine: Any) -> None:
    """Combining two lower or two upper bounds is an error."""
    with pytest.raises(QueryError, match="one lower and one upper bound"):
        combine()
