"""Values: a stored value comes back equal, and a value that does not fit is refused with its path."""

import datetime
import enum
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, TypedDict

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flask_convex_http import Document, DocumentValidationError, EngineError, Id
from flask_convex_http.ids import new_id
from flask_convex_http.schema.columns import fingerprint, stored_bound
from flask_convex_http.validation.validator import InvalidValueError, Validator
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, SQLITE_ONLY, rows
from tests.deployment import Deployment, deployed
from tests.lengths import SAMPLED, examples

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

Cents = NewType("Cents", int)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = -1
    HIGH = 2**40


class Line(msgspec.Struct, frozen=True):
    street: str
    number: int | None = None


class Address(msgspec.Struct, frozen=True):
    lines: tuple[Line, ...] = ()
    since: datetime.datetime | None = None
    seal: bytes = b""
    color: Color = Color.RED


class Options(TypedDict, total=False):
    dark: bool
    size: Literal[1, 2]


class Value(Document, table="values"):
    text: str = ""
    number: int = 0
    real: float = 0.0
    flag: bool = False
    raw: bytes = b""
    at: datetime.datetime | None = None
    reference: Id["Value"] | None = None
    color: Color = Color.RED
    level: Level | None = None
    size: Literal["s", "m", None] = None
    either: Literal["red", "blue"] | Literal["none"] | None = None
    cents: Cents = Cents(0)
    rating: Annotated[int, msgspec.Meta(ge=1)] = 1
    address: Address = Address()
    options: Options = msgspec.field(default_factory=lambda: Options())
    tags: list[str] = msgspec.field(default_factory=list)
    counts: dict[str, int | None] = msgspec.field(default_factory=dict)
    by_number: dict[int, float] = msgspec.field(default_factory=dict)
    mixed: int | str | None = None
    pair: tuple[int, str] | None = None
    dates: list[datetime.datetime] = msgspec.field(default_factory=list)
    moment: Annotated[datetime.datetime, "when"] | None = None
    day: datetime.date | None = None
    anything: Any = None
    references: list[Id["Value"]] = msgspec.field(default_factory=list)


@pytest.fixture(name="app", scope="module")
def _app(each_engine: str) -> Iterator[Deployment]:
    with deployed(Value) as app:
        yield app


def back(app: Deployment, **fields: Any) -> Value:
    [value_id] = app.add(Value(**fields))
    found = app.read(lambda db: db.get(value_id))
    assert isinstance(found, Value)
    return found


zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))
moments = st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30), timezones=zones)
int64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1, 0])
finite = st.floats(allow_nan=False, allow_infinity=False)
ids = st.just(new_id("values", 5))
json_values = st.recursive(
    st.none() | st.booleans() | int64 | finite | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(),
    "number": int64,
    "real": st.floats(allow_nan=False),
    "flag": st.booleans(),
    "raw": st.binary(),
    "at": st.none() | moments,
    "reference": st.none() | ids,
    "color": st.sampled_from(Color),
    "level": st.none() | st.sampled_from(Level),
    "size": st.sampled_from(["s", "m", None]),
    "either": st.sampled_from([None, "none", "blue"]),
    "cents": int64,
    "rating": st.integers(1, 2**63 - 1),
    "address": st.builds(
        Address,
        lines=st.lists(st.builds(Line, st.text(), st.none() | int64), max_size=2).map(tuple),
        since=st.none() | moments,
        seal=st.binary(),
        color=st.sampled_from(Color),
    ),
    "options": st.fixed_dictionaries({}, optional={"dark": st.booleans(), "size": st.sampled_from([1, 2])}),
    "tags": st.lists(st.text()),
    "counts": st.dictionaries(st.text(), st.none() | int64),
    "by_number": st.dictionaries(int64, finite),
    "mixed": st.none() | int64 | st.text(),
    "pair": st.none() | st.tuples(int64, st.text()),
    "dates": st.lists(moments, max_size=3),
    "moment": st.none() | moments,
    "day": st.none() | st.dates(),
    "anything": json_values,
    "references": st.lists(ids, max_size=2),
}


@SAMPLED
@settings(max_examples=examples(300), deadline=None)
@given(fields=st.fixed_dictionaries({}, optional=FIELDS))
@example({"text": "a\0b\uffff\U0001f600", "raw": b"\0\xff", "real": math.inf})
@example({"text": "x" * 3_000_000, "anything": {"": [[], {}, None]}})
@example({"at": datetime.datetime(1, 1, 1, tzinfo=datetime.UTC), "real": -math.inf})
@example({"at": datetime.datetime.max.replace(tzinfo=datetime.UTC), "real": 5e-324})
@example({"anything": [True, 1, 1.5, "\0", {"a": None}]})
def test_values_come_back(app: Deployment, fields: dict[str, Any]) -> None:
    """Every field returns a value equal to the stored one, and of the same type."""
    found = back(app, **fields)
    for name, value in fields.items():
        assert getattr(found, name) == value
        assert type(getattr(found, name)) is type(value), name
    assert app.read(lambda db: db.get(found.id)) == found


@SAMPLED
@settings(max_examples=examples(50), deadline=None)
@given(at=moments)
def test_times_come_back_in_utc(app: Deployment, at: datetime.datetime) -> None:
    """A datetime of any zone comes back as the same point in time in UTC, to the microsecond."""
    found = back(app, at=at).at
    assert found == at
    assert found is not None and found.utcoffset() == datetime.timedelta(0)


def test_minus_zero_is_zero(app: Deployment) -> None:
    """-0.0 is stored as 0.0, which it equals."""
    assert math.copysign(1, back(app, real=-0.0).real) == 1.0


def test_a_float_field_takes_integers(app: Deployment) -> None:
    """An int stored in a float field comes back as a float."""
    found = back(app, real=5).real
    assert (found, type(found)) == (5.0, float)


def test_none_in_json_is_empty_in_sql(app: Deployment) -> None:
    """None in a structured field is NULL, not the text null."""
    assert back(app, mixed=None, anything=None).mixed is None


def test_columns_are_readable_for_others(tmp_path: Path) -> None:
    """Other programs see plain values, times as text in UTC, and structured values as JSON."""
    noon = datetime.datetime(2024, 5, 1, 14, 0, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    address = Address(lines=(Line("Main", 5),), since=noon, seal=b"\0\xff", color=Color.BLUE)
    with deployed(Value, folder=tmp_path) as app:
        app.add(
            Value(
                text="a",
                flag=True,
                at=noon,
                color=Color.BLUE,
                level=Level.LOW,
                address=address,
                tags=["x", "ü"],
                by_number={5: 1.5},
                mixed="5",
            )
        )
    structured = [f"CAST({name} AS TEXT)" for name in ("address", "tags", "by_number", "mixed", "pair")]
    columns = ", ".join(["text, flag, at, color, level", *structured])
    [(text, flag, at, color, level, stored, tags, by_number, mixed, pair)] = rows(
        tmp_path, f'SELECT {columns} FROM "values"'
    )
    assert (text, flag, at, color, level) == ("a", 1, "2024-05-01T12:00:00.000000Z", "blue", -1)
    assert json.loads(stored) == {
        "lines": [{"street": "Main", "number": 5}],
        "since": "2024-05-01T14:00:00+02:00",
        "seal": "AP8=",
        "color": "blue",
    }
    assert (json.loads(tags), json.loads(by_number), json.loads(mixed), pair) == (["x", "ü"], {"5": 1.5}, "5", None)


deep: Any = []
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"text": 5}, "text"),
        ({"text": None}, "text"),
        ({"text": b"a"}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"text": "ok\udfff"}, "text"),
        ({"number": "5"}, "number"),
        ({"number": True}, "number"),
        ({"number": 5.0}, "number"),
        ({"number": 2**63}, "number"),
        ({"number": -(2**63) - 1}, "number"),
        ({"cents": 2**63}, "cents"),
        ({"rating": 2**63}, "rating"),
        ({"rating": 0}, "rating"),
        ({"real": "1"}, "real"),
        ({"real": math.nan}, "real"),
        ({"real": True}, "real"),
        ({"real": 10**400}, "real"),
        ({"flag": 1}, "flag"),
        ({"raw": "a"}, "raw"),
        ({"at": datetime.datetime(2024, 1, 1)}, "at"),
        ({"moment": datetime.datetime(2024, 1, 1)}, "moment"),
        ({"at": "2024-01-01T00:00:00Z"}, "at"),
        ({"at": datetime.date(2024, 1, 1)}, "at"),
        ({"at": datetime.datetime.min.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1)))}, "at"),
        ({"at": datetime.datetime.max.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=-1)))}, "at"),
        ({"reference": "values_5"}, "reference"),
        ({"reference": new_id("other", 5)}, "reference"),
        ({"color": "green"}, "color"),
        ({"level": 5}, "level"),
        ({"size": "l"}, "size"),
        ({"either": "green"}, "either"),
        ({"address": {"lines": 5}}, "address.lines"),
        ({"address": Address(lines=(Line("a", 2**63),))}, r"address.lines[0].number"),
        ({"address": Address(lines=(Line(5),))}, r"address.lines[0].street"),  # type: ignore[arg-type]
        ({"address": Address(since=datetime.datetime(2024, 1, 1))}, "address.since"),
        ({"address": None}, "address"),
        ({"options": {"size": 3}}, "options.size"),
        ({"tags": ["a", 5]}, "tags[1]"),
        ({"tags": "a"}, "tags"),
        ({"tags": ["\ud800"]}, "tags"),
        ({"counts": {"a": "b"}}, "counts"),
        ({"counts": {5: 5}}, "counts"),
        ({"by_number": {"a": 1.0}}, "by_number"),
        ({"by_number": {1: math.nan}}, "by_number"),
        ({"mixed": 1.5}, "mixed"),
        ({"mixed": 2**63}, "mixed"),
        ({"pair": (1,)}, "pair"),
        ({"pair": (1, 2)}, "pair[1]"),
        ({"dates": [datetime.datetime(2024, 1, 1)]}, "dates[0]"),
        ({"references": [new_id("values", 5), new_id("users", 5)]}, "references[1]"),
        ({"anything": math.nan}, "anything"),
        ({"anything": [math.inf]}, "anything"),
        ({"anything": b"a"}, "anything"),
        ({"anything": {"a": datetime.datetime(2024, 1, 1)}}, "anything"),
        ({"anything": {1: 2}}, "anything"),
        ({"anything": (1, 2)}, "anything"),
        ({"anything": {1}}, "anything"),
        ({"anything": object()}, "anything"),
        ({"anything": Line("a")}, "anything"),
        ({"anything": "\ud800"}, "anything"),
        ({"anything": {"\udc00": 1}}, "anything"),
        ({"anything": deep}, "anything"),
    ],
)
def test_wrong_values_are_refused(app: Deployment, fields: dict[str, Any], path: str) -> None:
    """A value that does not fit its field is a DocumentValidationError with its path, in insert, patch and replace."""
    [name] = fields
    [value_id] = app.add(Value())
    for use in (
        lambda db: db.insert(Value(**fields)),
        lambda db: db.patch(value_id, **fields),
        lambda db: db.replace(value_id, Value(**fields)),
    ):
        with pytest.raises(DocumentValidationError) as refused:
            app.write(use)
        assert str(refused.value).startswith("values: ")
        assert str(refused.value).partition(" - at ")[2].startswith(f"`$.{path}"), str(refused.value)
    assert app.read(lambda db: getattr(db.get(value_id), name)) == getattr(Value(), name)


@pytest.mark.parametrize(
    ("column", "stored"),
    [
        ("tags", '"not a list"'),
        ("tags", "[5]"),
        ("address", '{"lines": 5}'),
        ("at", "yesterday"),
        ("color", "green"),
        ("level", 7),
    ],
)
def test_values_changed_by_hand_are_reported(tmp_path: Path, column: str, stored: Any) -> None:
    """A value that another program stored and no field can hold is an EngineError that names table, field and row."""
    with deployed(Value, folder=tmp_path) as app:
        [value_id] = app.add(Value())
        rows(tmp_path, f'UPDATE "values" SET "{column}" = ?', stored)
        with pytest.raises(EngineError, match=rf"values\.{column} of {value_id} holds something"):
            app.read(lambda db: db.get(value_id))


@SQLITE_ONLY
def test_what_is_no_json_is_reported(tmp_path: Path) -> None:
    """Malformed text in a JSON column is reported as well; PostgreSQL accepts no such text."""
    with deployed(Value, folder=tmp_path) as app:
        [value_id] = app.add(Value())
        rows(tmp_path, 'UPDATE "values" SET tags = ?', "not json")
        with pytest.raises(EngineError, match=rf"values\.tags of {value_id} holds something"):
            app.read(lambda db: db.get(value_id))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", 5),
        ("integer", "5"),
        ("integer", 2**63),
        ("real", math.nan),
        ("boolean", 1),
        ("blob", "a"),
        ("datetime", "x"),
    ],
)
def test_a_range_ends_in_a_value_of_the_column(kind: Any, value: Any) -> None:
    """A value that cannot be compared with the column's values is refused as the end of a range."""
    with pytest.raises(InvalidValueError):
        stored_bound(kind, value)


def test_fingerprints_tell_what_is_taken() -> None:
    """Two annotations have the same fingerprint exactly if they accept the same values, as far as can be determined."""

    class Renamed(msgspec.Struct):
        """Another class with the same fields."""

        street: str
        number: int | None = 5

    class Stricter(msgspec.Struct):
        street: Annotated[str, msgspec.Meta(max_length=5)]
        number: int | None = None

    class Described(msgspec.Struct):
        title: Annotated[str, msgspec.Meta(description="for people")]

    class OtherTitle(msgspec.Struct):
        title: int

    def of(annotation: Any) -> str:
        return fingerprint(Validator(annotation, "here"))

    different = [
        str,
        str | None,
        int,
        float,
        Literal["a"],
        Literal["a", "b"],
        Color,
        Annotated[int, msgspec.Meta(ge=1)],
        list[str],
        list[int],
        Line,
        Stricter,
        Described,
        OtherTitle,
        dict[str, int],
        Any,
    ]
    assert len({of(annotation) for annotation in different}) == len(different)
    assert of(Annotated[int, msgspec.Meta(description="x")]) == of(Annotated[int, msgspec.Meta(title="y")])
    assert of(Cents) == of(int)
    assert of(Line) != of(Renamed)  # the class name is in the JSON schema; a rename only causes a check of the rows
