"""Read sets: a query is found for every change of a row that changes its result."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import Document, between, gt, gte, lt, lte
from flask_convex_http.database.db import DatabaseReader, DatabaseWriter
from flask_convex_http.database.query import Order
from flask_convex_http.sync.range_index import RangeIndex
from flask_convex_http.sync.read_sets import ReadSet, RecordingSnapshot
from tests.databases import EACH_ENGINE
from tests.deployment import Deployment, deployed
from tests.lengths import SAMPLED, examples

pytestmark = EACH_ENGINE


class Point(Document, table="points", indexes={"by_a_b": ["a", "b"], "by_c": ["c"]}):
    a: int
    b: int | None = None
    c: str = ""


Read = Callable[[DatabaseReader], Any]

_small = st.integers(0, 3)
_texts = st.sampled_from(["", "a", "b", "é"])
_range = st.one_of(
    *(st.builds(make, _small) for make in (gt, gte, lt, lte)),
    st.builds(between, _small, _small),
    _small,
)


@st.composite
def queries(draw: st.DrawFn) -> Read:
    """Draw a query over an index that ends in one of the ways of `ctx.db`."""
    fields: dict[str, Any] = {}
    index = draw(st.sampled_from(["by_a_b", "by_c", "by_creation_time"]))
    if index == "by_a_b":
        fields["a"] = draw(_range)
        if isinstance(fields["a"], int) and draw(st.booleans()):
            fields["b"] = draw(_range | st.none())
    elif index == "by_c" and draw(st.booleans()):
        fields["c"] = draw(_texts)
    order: Order = draw(st.sampled_from(["asc", "desc"]))
    end = draw(st.sampled_from(["collect", "take", "first", "filter", "paginate"]))

    def read(db: DatabaseReader) -> Any:
        query = db.query(Point).with_index(index, **fields).order(order)
        if end == "collect":
            return query.collect()
        if end == "take":
            return query.take(2)
        if end == "first":
            return query.first()
        if end == "filter":
            return query.filter(lambda point: point.c != "a").take(2)
        return query.paginate(num_items=2).page

    return read


_points = st.builds(Point, a=_small, b=_small | st.none(), c=_texts)


@pytest.fixture(name="deployment", scope="module")
def _deployment(each_engine: str) -> Iterator[Deployment]:
    with deployed(Point) as deployment:
        yield deployment


def clear(deployment: Deployment) -> None:
    """Delete all documents."""

    def delete_all(db: DatabaseWriter) -> None:
        for point in db.query(Point).collect():
            db.delete(point.id)

    deployment.write(delete_all)


def recorded(deployment: Deployment, read: Read) -> tuple[Any, ReadSet]:
    """Run a query, and return its result and its read set."""
    runtime = deployment.backend.runtime
    with deployment.backend.engine.snapshot() as snapshot:
        recording = RecordingSnapshot(snapshot)
        result = read(DatabaseReader(recording, deployment.backend.schema, (runtime.cursors, "")))
        return result, recording.read_set()


def row(deployment: Deployment, document_id: Any) -> Any:
    """Return a row, or None."""
    table = deployment.backend.schema.table_for(Point)
    with deployment.backend.engine.snapshot() as snapshot:
        return snapshot.get(table, document_id)


@SAMPLED
@settings(max_examples=examples(400, sample=25), deadline=None)
@given(
    points=st.lists(_points, max_size=6),
    read=queries(),
    change=st.sampled_from(["insert", "update", "delete"]),
    new=_points,
    place=st.integers(0, 5),
)
def test_a_query_whose_result_changes_is_found(
    deployment: Deployment, points: list[Point], read: Read, change: str, new: Point, place: int
) -> None:
    """A query is found for a changed row if its result differs, and not if no range of it has the row."""
    clear(deployment)
    ids = deployment.add(*points)
    result, reads = recorded(deployment, read)
    index: RangeIndex[str] = RangeIndex()
    index.add("query", reads)
    if change == "insert" or not ids:
        changed = deployment.add(new)[0]
        before = None
    else:
        changed = ids[place % len(ids)]
        before = row(deployment, changed)
        if change == "update":
            deployment.write(lambda db: db.patch(changed, a=new.a, b=new.b, c=new.c))
        else:
            deployment.write(lambda db: db.delete(changed))
    after = row(deployment, changed)
    found = index.concerned("points", changed, before, after)
    if recorded(deployment, read)[0] != result:
        assert found == {"query"}
    index.remove("query", reads)
    assert not index.watches("points", changed)


def first_two(order: Order, db: DatabaseReader) -> list[Point]:
    """Read two documents."""
    return db.query(Point).with_index("by_a_b").order(order).take(2)


def all_with(a: int, db: DatabaseReader) -> list[Point]:
    """Read the documents with a value."""
    return db.query(Point).with_index("by_a_b", a=a).collect()


def test_a_limited_read_ends_with_its_last_row(deployment: Deployment) -> None:
    """A change behind the last row of a limited read does not concern the query, in both orders."""
    clear(deployment)
    first, middle, last = deployment.add(Point(a=1), Point(a=2), Point(a=3))
    orders: list[tuple[Order, Any, Any]] = [("asc", last, first), ("desc", first, last)]
    for order, behind, inside in orders:
        _, reads = recorded(deployment, partial(first_two, order))
        index: RangeIndex[str] = RangeIndex()
        index.add("query", reads)
        assert not index.concerned("points", behind, row(deployment, behind), None)
        assert index.concerned("points", inside, row(deployment, inside), None)
        assert index.concerned("points", middle, row(deployment, middle), None)


def test_an_equality_is_found_by_its_value(deployment: Deployment) -> None:
    """Of many equality queries, a row concerns those with its value, before and after the change."""
    clear(deployment)
    index: RangeIndex[int] = RangeIndex()
    for number in range(50):
        _, reads = recorded(deployment, partial(all_with, number))
        index.add(number, reads)
    [changed] = deployment.add(Point(a=7))
    before = row(deployment, changed)
    deployment.write(lambda db: db.patch(changed, a=9))
    assert index.concerned("points", changed, before, row(deployment, changed)) == {7, 9}


def test_a_lookup_of_a_missing_document_is_a_read(deployment: Deployment) -> None:
    """A query that has looked up a deleted document is found when one with that id appears."""
    [gone] = deployment.add(Point(a=1))
    deployment.write(lambda db: db.delete(gone))
    result, reads = recorded(deployment, lambda db: db.get(gone))
    assert result is None
    index: RangeIndex[str] = RangeIndex()
    index.add("query", reads)
    assert index.concerned("points", gone, None, [gone, 0.0, 1, None, ""]) == {"query"}
