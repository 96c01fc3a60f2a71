"""Queries: index order, ranges, terminal methods and errors, against a list in memory."""

import datetime
import enum
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flask_convex_http import (
    Document,
    Id,
    NotUniqueError,
    QueryError,
    QueryRangeError,
    between,
    gt,
    gte,
    lt,
    lte,
    unique,
)
from flask_convex_http.database.db import DatabaseWriter
from flask_convex_http.ids import new_id
from flask_convex_http.schema.index_ranges import Range
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.deployment import Deployment, deployed
from tests.lengths import SAMPLED, examples

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Value(
    Document,
    table="values",
    indexes={f"by_{kind}": [kind] for kind in ("text", "raw", "flag", "number", "real", "at", "key", "level")},
):
    text: str | None = None
    raw: bytes | None = None
    flag: bool | None = None
    number: int | None = None
    real: float | None = None
    at: datetime.datetime | None = None
    key: Id["Value"] | None = None
    level: Level | None = None


class Pair(Document, table="pairs", indexes={"by_a_b": ["a", "b"]}):
    a: int
    b: int | None = None
    done: bool = False


class Named(Document, table="named", indexes={"by_name": unique("name"), "by_self": ["self", "index"]}):
    name: str
    self: int = 0
    index: Annotated[int, msgspec.Meta(ge=1)] = 1
    size: Literal["s", "m"] = "s"


@pytest.fixture(name="app", scope="module")
def _app(each_engine: str) -> Iterator[Deployment]:
    with deployed(Value, Pair, Named) as app:
        yield app


zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(max_size=4) | st.sampled_from(["a", "A", "é", "\uffff", "\U0001f600", "\ud7ff", "a\0b", "a"]),
    "raw": st.binary(max_size=3),
    "flag": st.booleans(),
    "number": st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1),
    "real": st.integers(-2, 2).map(float) | st.floats(allow_nan=False),
    "at": st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9998, 1, 1), timezones=zones)
    | st.integers(0, 3).map(lambda number: NOON + datetime.timedelta(microseconds=number)),
    "key": st.integers(0, 5).map(lambda number: new_id("values", number)[:19] + "0" * 20),
    "level": st.sampled_from(Level),
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, list[Any], Any, Any]:
    """Return a field, its values in the order of insertion, and two ends of a range."""
    field = draw(st.sampled_from(sorted(FIELDS)))
    value = st.none() | FIELDS[field]
    values = draw(st.lists(value, max_size=8))
    end = value | (st.sampled_from(values) if values else st.none())
    return field, values, draw(end), draw(end)


def rank(value: Any) -> Any:
    """Return a sort key of the total order: None first."""
    return (False,) if value is None else (True, value)


HOLDS: list[tuple[Callable[[Any, Any], Range], Callable[[Any, Any, Any], bool]]] = [
    (lambda low, high: gt(low), lambda value, low, high: value > low),
    (lambda low, high: gte(low), lambda value, low, high: value >= low),
    (lambda low, high: lt(high), lambda value, low, high: value < high),
    (lambda low, high: lte(high), lambda value, low, high: value <= high),
    (lambda low, high: between(low, high), lambda value, low, high: low <= value <= high),
    (lambda low, high: gt(low) & lte(high), lambda value, low, high: low < value <= high),
    (lambda low, high: lt(high) & gte(low), lambda value, low, high: low <= value < high),
]


@SAMPLED
@settings(max_examples=examples(150), deadline=None)
@given(case=cases(), descending=st.booleans(), kind=st.sampled_from(HOLDS))
@example(("text", ["\U0001f600", "\uffff", None], "\uffff", "\uffff"), False, HOLDS[0])
@example(("real", [float("inf"), float("-inf"), -0.0, 0.0, None], 0.0, float("inf")), True, HOLDS[4])
@example(("number", [2**63 - 1, -(2**63), None], -(2**63), 2**63 - 1), False, HOLDS[4])
def test_an_index_orders_and_bounds_like_a_list(app: Deployment, case: Any, descending: bool, kind: Any) -> None:
    """Every plain kind of value is sorted and compared as Python does, None first, ties in order of creation."""
    field, values, low, high = case
    make, holds = kind

    def look(db: DatabaseWriter) -> None:
        ids = [db.insert(Value(**{field: value})) for value in values]
        order = sorted(range(len(values)), key=lambda place: rank(values[place]))
        in_order = [(ids[place], values[place]) for place in (order[::-1] if descending else order)]
        query = db.query(Value).order("desc" if descending else "asc")
        everything = [(value.id, getattr(value, field)) for value in query.with_index(f"by_{field}")]
        assert everything == in_order
        found = query.with_index(f"by_{field}", **{field: make(low, high)})
        expected = [pair for pair in in_order if holds(rank(pair[1]), rank(low), rank(high))]
        assert [(value.id, getattr(value, field)) for value in found.collect()] == expected
        assert [value.id for value in found] == [key for key, _ in expected]
        assert [value.id for value in found.take(2)] == [key for key, _ in expected[:2]]
        equal = query.with_index(f"by_{field}", **{field: low}).collect()
        assert [value.id for value in equal] == [key for key, value in in_order if rank(value) == rank(low)]

    app.undone(look)


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 30),
        ({"a": 1}, 6),
        ({"a": 1, "b": 2}, 1),
        ({"a": 1, "b": None}, 1),
        ({"a": gt(2) & lt(4)}, 6),
        ({"a": between(2, 4)}, 18),
        ({"a": 1, "b": gt(2) & lt(4)}, 1),
        ({"a": 1, "b": between(2, 4)}, 3),
        ({"a": gt(None)}, 30),
        ({"a": lte(None)}, 0),
        ({"a": None}, 0),
        ({"a": 1, "b": gt(None)}, 5),
        ({"a": 1, "b": lt(2)}, 2),
        ({"a": 1, "b": 2, "creation_time": gt(0)}, 1),
        ({"a": 1, "b": 2, "creation_time": lt(0)}, 0),
        ({"a": 1, "b": 2, "creation_time": lte(10**400)}, 1),
        ({"a": 9}, 0),
    ],
)
def test_ranges_over_two_fields(app: Deployment, fields: dict[str, Any], count: int) -> None:
    """Equalities fix the first fields and a range bounds the next; without a lower bound it includes None."""

    def look(db: DatabaseWriter) -> None:
        for a in range(1, 6):
            for b in (None, 1, 2, 3, 4, 5):
                db.insert(Pair(a=a, b=b))
        for order in ("asc", "desc"):
            assert len(db.query(Pair).with_index("by_a_b", **fields).order(order).collect()) == count

    app.undone(look)


def test_without_an_index_the_order_is_that_of_creation(app: Deployment) -> None:
    """A query without an index, and by_creation_time, read documents in the order of insertion."""

    def look(db: DatabaseWriter) -> None:
        ids = [db.insert(Pair(a=number)) for number in (3, 1, 2)]
        times = [pair.creation_time for pair in db.query(Pair)]
        assert [pair.id for pair in db.query(Pair)] == ids
        assert [pair.id for pair in db.query(Pair).order("desc").collect()] == ids[::-1]
        later = db.query(Pair).with_index("by_creation_time", creation_time=gt(times[0]))
        assert [pair.id for pair in later] == ids[1:]
        assert [pair.id for pair in db.query(Pair).with_index("by_creation_time", creation_time=times[1])] == ids[1:2]

    app.undone(look)


def test_terminal_methods(app: Deployment) -> None:
    """collect, take, first, unique and iteration return documents, with and without a filter."""

    def look(db: DatabaseWriter) -> None:
        query = db.query(Pair).with_index("by_a_b", a=1)
        assert (query.collect(), query.take(3), query.first(), query.unique(), list(query)) == ([], [], None, None, [])
        one, two, _ = [db.insert(Pair(a=1, b=number, done=number == 2)) for number in (1, 2, 3)]
        assert [pair.b for pair in query.collect()] == [1, 2, 3]
        assert [pair.b for pair in query.take(2)] == [1, 2]
        assert query.take(0) == []
        assert len(query.take(2**63 - 1)) == 3
        assert query.first() == db.get(one)
        done = query.filter(lambda pair: pair.done)
        assert done.collect() == done.take(5) == done.take(2**63 - 1) == list(done) == [db.get(two)]
        assert done.first() == done.unique() == db.get(two)
        assert done.take(0) == []
        assert done.filter(lambda pair: pair.b == 3).unique() is None

    app.undone(look)


def test_unique_refuses_two(app: Deployment) -> None:
    """unique() raises when more than one document matches, and names two."""

    def look(db: DatabaseWriter) -> None:
        one, two, _ = [db.insert(Pair(a=1)) for _ in range(3)]
        with pytest.raises(NotUniqueError, match=f"more than one document in pairs.*{one} and {two}"):
            db.query(Pair).with_index("by_a_b", a=1).unique()

    app.undone(look)


def test_queries_are_values(app: Deployment) -> None:
    """Each method returns a new query, and the query it was called on can be run and refined again."""

    def look(db: DatabaseWriter) -> None:
        db.insert(Pair(a=1))
        query = db.query(Pair)
        query.order("desc").filter(lambda pair: False)
        assert len(query.collect()) == len(query.collect()) == len(query.order("asc").collect()) == 1

    app.undone(look)


def test_fields_may_have_any_name(app: Deployment) -> None:
    """Index fields may be called name, self and index."""

    def look(db: DatabaseWriter) -> None:
        named = db.insert(Named(name="Lamp", self=5, index=7))
        assert db.query(Named).with_index("by_name", name="Lamp").unique() == db.get(named)
        assert db.query(Named).with_index("by_self", self=5, index=7).unique() == db.get(named)

    app.undone(look)


def test_a_range_may_end_where_no_value_can_be(app: Deployment) -> None:
    """The ends of a range need only be comparable: gt(0) is a valid range of a field of 1 and more."""

    def look(db: DatabaseWriter) -> None:
        db.insert(Named(name="Lamp"))
        assert db.query(Named).with_index("by_self", self=0, index=between(-5, 5)).unique()
        db.insert(Value(level=Level.HIGH))
        for bound in (gte(2), gt(Level.LOW), gt(1) & lte(Level.HIGH)):
            found = db.query(Value).with_index("by_level", level=bound).unique()
            assert found and found.level is Level.HIGH

    app.undone(look)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda db: db.query(Pair).with_index("by_c"),
            "Index pairs.by_c not found; there are by_creation_time, by_a_b",
        ),
        (lambda db: db.query(Pair).with_index("by_a_b", c=1), "pairs.by_a_b does not have the field 'c'"),
        (lambda db: db.query(Pair).with_index("by_a_b", b=1), "used in order: after 0 fields comes 'a', not 'b'"),
        (lambda db: db.query(Pair).with_index("by_a_b", a=1, creation_time=1), "after 1 fields comes 'b'"),
        (lambda db: db.query(Pair).with_index("by_a_b", a=gt(1), b=2), "the range of 'a' must be the last"),
        (lambda db: db.query(Pair).with_index("by_a_b", a="1"), r"at `\$.a`"),
        (lambda db: db.query(Pair).with_index("by_a_b", a=True), r"at `\$.a`"),
        (lambda db: db.query(Pair).with_index("by_a_b", a=gt(1.5)), r"at `\$.a`"),
        (lambda db: db.query(Pair).with_index("by_a_b", a=2**63), r"at `\$.a`"),
        (lambda db: db.query(Pair).with_index("by_a_b", a=between(0, 2**63)), r"at `\$.a`"),
        (lambda db: db.query(Value).with_index("by_real", real=lt(float("nan"))), "NaN"),
        (lambda db: db.query(Value).with_index("by_at", at=gt(datetime.datetime(2024, 1, 1))), r"at `\$.at`"),
        (lambda db: db.query(Value).with_index("by_text", text="\ud800"), "surrogates"),
        (lambda db: db.query(Value).with_index("by_key", key="nonsense"), "Expected an id of table values"),
        (
            lambda db: db.query(Pair).with_index("by_creation_time", creation_time="now"),
            r"milliseconds.*`\$.creation_time`",
        ),
        (lambda db: db.query(Pair).with_index("by_creation_time", creation_time=None), "milliseconds"),
        (lambda db: db.query(Pair).with_index("by_creation_time", creation_time=gt(float("nan"))), "milliseconds"),
        (lambda db: db.query(Pair).with_index("by_a_b").with_index("by_a_b"), "has an index already"),
        (lambda db: db.query(Pair).order("up"), r'order\("asc"\) or order\("desc"\)'),
        (lambda db: db.query(Pair).order("asc").order("desc"), "order.. was called twice"),
        (lambda db: db.query(Pair).take(-1), r"take\(-1\)"),
        (lambda db: db.query(Pair).take(1.0), r"take\(1.0\)"),
        (lambda db: db.query(Pair).take(True), r"take\(True\)"),
        (lambda db: db.query(Pair).paginate(num_items=0), r"num_items=0"),
        (lambda db: db.query(Pair).paginate(num_items="5"), r"num_items='5'"),
    ],
)
def test_a_query_that_cannot_be_answered(app: Deployment, ask: Callable[[Any], Any], message: str) -> None:
    """A query that is built wrongly raises QueryError with the mistake and the fix."""
    with pytest.raises(QueryError, match=message):
        app.read(ask)


@pytest.mark.parametrize(
    "ask",
    [
        lambda db: db.query(Pair).take(-1),
        lambda db: db.query(Pair).take(2**63),
        lambda db: db.query(Pair).take(-(10**5000)),
        lambda db: db.query(Pair).take(1.0),
        lambda db: db.query(Pair).take(float("nan")),
        lambda db: db.query(Pair).paginate(num_items=0),
        lambda db: db.query(Pair).paginate(num_items=-5),
        lambda db: db.query(Pair).paginate(num_items=10**5000),
        lambda db: db.query(Pair).paginate(num_items=float("inf")),
        lambda db: db.query(Pair).with_index("by_a_b", a=2**63),
        lambda db: db.query(Value).with_index("by_real", real=lt(float("nan"))),
        lambda db: db.query(Value).with_index("by_text", text="\ud800"),
        lambda db: db.query(Value).with_index("by_key", key="nonsense"),
        lambda db: db.query(Pair).with_index("by_creation_time", creation_time=gt(float("nan"))),
    ],
)
def test_a_value_out_of_range_is_the_clients(app: Deployment, ask: Callable[[Any], Any]) -> None:
    """A number of documents or a value of an index of the right type that is not accepted is a QueryRangeError."""
    with pytest.raises(QueryRangeError) as raised:
        app.read(ask)
    assert raised.value.status == 400
    assert not re.search("pairs|values|by_|take|paginate", raised.value.client_message or "")


@pytest.mark.parametrize(
    "ask",
    [
        lambda db: db.query(Pair).take("10"),
        lambda db: db.query(Pair).take(None),
        lambda db: db.query(Pair).take(True),
        lambda db: db.query(Pair).paginate(num_items="10"),
        lambda db: db.query(Pair).with_index("by_a_b", a="1"),
        lambda db: db.query(Pair).with_index("by_nothing"),
    ],
)
def test_a_value_of_another_type_is_the_applications(app: Deployment, ask: Callable[[Any], Any]) -> None:
    """A number of documents or a value of an index of another type is a mistake of the application, a 500."""
    with pytest.raises(QueryError) as raised:
        app.read(ask)
    assert raised.value.status == 500
