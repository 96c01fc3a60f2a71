"""Convex's values on the wire: untyped ones, and those of annotations, in both directions."""

import dataclasses
import datetime
import decimal
import enum
import math
import struct
import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import Document, Page, RegistrationError
from flask_convex_http.function_api.decoding import Decoders
from flask_convex_http.function_api.encoding import Encoders
from flask_convex_http.function_api.values import ValueFormatError, decode
from flask_convex_http.validation.validator import Validator
from tests.lengths import examples

ENCODED, CLEAN, DECODERS = Encoders("camel", "encoded"), Encoders("camel", "clean"), Decoders("camel")

keys = st.text(max_size=5).filter(lambda key: not key.startswith("$"))
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))


def same(one: Any, other: Any) -> bool:
    """Return whether values are equal, types and the sign of zero included."""
    return repr(one) == repr(other)


def sent(value: Any) -> Any:
    """Return a value after it has passed through JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))


@settings(max_examples=examples(500), deadline=None)
@given(values)
def test_any_value_comes_back(value: Any) -> None:
    """A result without an annotation comes back the same as an argument without one."""
    assert same(decode(sent(ENCODED.encode(value))), value)


@pytest.mark.parametrize(
    ("value", "encoded", "clean"),
    [
        (5151996, {"$integer": "/JxOAAAAAAA="}, "5151996"),
        (-1, {"$integer": "//////////8="}, "-1"),
        (math.inf, {"$float": "AAAAAAAA8H8="}, "Infinity"),
        (-math.inf, {"$float": "AAAAAAAA8P8="}, "-Infinity"),
        (math.nan, {"$float": "AAAAAAAA+H8="}, "NaN"),
        (-0.0, {"$float": "AAAAAAAAAIA="}, -0.0),
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
        (b"\x00\x10\x83", {"$bytes": "ABCD"}, "ABCD"),
        (True, True, True),
        (None, None, None),
        ({"a_b": [1.5]}, {"a_b": [1.5]}, {"a_b": [1.5]}),
    ],
)
def test_vectors(value: Any, encoded: Any, clean: Any) -> None:
    """Each type has the form that Convex's clients know, in both formats; keys of dicts stay as they are."""
    assert same(ENCODED.encode(value), encoded)
    assert same(CLEAN.encode(value), clean)
    assert same(decode(sent(ENCODED.encode(value))), value)


@pytest.mark.parametrize(
    "value",
    [
        {"$integer": "AAA="},
        {"$integer": 5},
        {"$integer": "not base64!"},
        {"$integer": "AAAAAAAAAAA=", "more": 1},
        {"$float": b64encode(struct.pack("<d", 1.5)).decode()},
        {"$float": ""},
        {"$bytes": "A"},
        {"$bytes": None},
        {"$set": []},
        {"$undefined": None},
        {"$": "AAAA"},
        [{"deep": {"$map": {}}}],
        10**400,
    ],
)
def test_refused_values(value: Any) -> None:
    """An object whose key begins with `$` is a value of a known form, or an error; so is a number out of range."""
    with pytest.raises(ValueFormatError):
        decode(value)


@pytest.mark.parametrize("value", [2**63, {"$a": 1}, object(), [1, {2}, object()], 1j])
def test_values_that_cannot_be_sent(value: Any) -> None:
    """A value that no client can receive is an error, also inside of another one."""
    with pytest.raises(ValueFormatError):
        ENCODED.encode(value)


# --- annotations -----------------------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Point(msgspec.Struct, frozen=True):
    x_axis: float
    y_axis: int = 0


class Circle(msgspec.Struct, frozen=True, tag=True):
    the_radius: float


class Square(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    side_length: int
    corner_color: Color = Color.RED


class Pair(msgspec.Struct, frozen=True, array_like=True):
    first_one: int
    second_one: float


class Renamed(msgspec.Struct, frozen=True, rename={"an_id": "ID"}):
    an_id: str
    a_name: str


class Row(TypedDict):
    row_name: str
    row_count: NotRequired[int]


class Held(msgspec.Struct, frozen=True, array_like=True):
    held_row: Row
    held_count: int


class Tree(msgspec.Struct, frozen=True):
    node_value: int
    sub_trees: list["Tree"] = []


@dataclasses.dataclass(frozen=True)
class Size:
    wide_side: float
    unit_name: str | None = None


class Spot(NamedTuple):
    spot_x: int
    spot_y: int


class Thing(Document, table="things"):
    long_name: str
    due_at: datetime.datetime | None = None


UTC = datetime.UTC
TYPED: list[tuple[Any, Any]] = [
    (int, 2**62),
    (float, 3.0),
    (float, math.inf),
    (int | float, 1.0),
    (int | float, 1),
    (int | None, None),
    (bool, True),
    (bytes, b"\x00\xff"),
    (bytes | None, b""),
    (Literal["a", 1], 1),
    (Color, Color.BLUE),
    (Level, Level.LOW),
    (datetime.datetime, datetime.datetime(2026, 12, 1, 1, 2, 3, tzinfo=UTC)),
    (datetime.date | None, datetime.date(2026, 12, 1)),
    (uuid.UUID, uuid.UUID(int=7)),
    (decimal.Decimal, decimal.Decimal("1.50")),
    (list[int], [1, 2]),
    (set[int], {1, 2}),
    (tuple[int, ...], (1, 2)),
    (tuple[int, float], (1, 2.0)),
    (Sequence[float], [1.0]),
    (dict[str, int], {"a_b": 1}),
    (Mapping[str, Point], {"a_b": Point(1.0)}),
    (dict[int, float], {5: 1.0}),
    (Point, Point(1.5, 7)),
    (Circle | Square, Circle(1.0)),
    (Circle | Square | None, Square(3, Color.BLUE)),
    (Square, Square(3)),
    (Pair, Pair(1, 2.0)),
    (Renamed, Renamed("x", "y")),
    (Row, {"row_name": "a", "row_count": 3}),
    (list[Row] | None, [{"row_name": "a"}]),
    (dict[str, Row] | int, {"k_k": {"row_name": "a"}}),
    (tuple[Row, int], ({"row_name": "a"}, 1)),
    (Tree, Tree(1, [Tree(2, [Tree(3)])])),
    (Size, Size(1.5, "cm")),
    (Spot, Spot(1, 2)),
    (Spot | None, Spot(1, 2)),
    (Held, Held(({"row_name": "a"}), 1)),
    (list[Thing], [Thing(long_name="a", due_at=datetime.datetime(2026, 1, 1, tzinfo=UTC))]),
    (Annotated[int, msgspec.Meta(ge=1)] | str, 5),
    (list[Any], [1, 1.0, b"x", {"a_b": None}]),
    (Any, {"a": [1, 2.5]}),
]


@pytest.mark.parametrize(("annotation", "value"), TYPED, ids=repr)
def test_typed_values_come_back(annotation: Any, value: Any) -> None:
    """A result of an annotation that a client sends back as an argument of that annotation is the same value."""
    validator = Validator(annotation, "test")
    received = DECODERS.of(annotation)(sent(ENCODED.of(annotation)(value)))
    assert same(validator.check_json(received), value)


def test_names_of_fields_on_the_wire() -> None:
    """Fields of records are camelCase, explicit names are kept, and keys of dicts are data."""
    assert ENCODED.encode(Renamed("x", "y")) == {"ID": "x", "aName": "y"}
    assert ENCODED.of(list[Row])([{"row_name": "a"}]) == [{"rowName": "a"}]
    assert ENCODED.encode({"row_name": Size(1.0)}) == {"row_name": {"wideSide": 1.0, "unitName": None}}
    assert ENCODED.encode(Square(2)).keys() == {"type", "sideLength"}
    page: Page[Any] = Page(page=[Thing(long_name="a")], is_done=True, continue_cursor="c")
    assert ENCODED.encode(page) == {
        "page": [{"longName": "a", "dueAt": None}],
        "isDone": True,
        "continueCursor": "c",
    }


def test_numbers_of_clients() -> None:
    """A number without a fraction is an int where an int is expected, and else a float."""
    assert same(DECODERS.of(int)(5.0), 5)
    assert same(DECODERS.of(int)(2**62 + 1), 2**62 + 1)
    assert same(DECODERS.of(float)(5), 5.0)
    assert same(DECODERS.of(int | float)(5), 5.0)
    assert same(DECODERS.of(list[int | None])([1.0, None]), [1, None])
    assert same(DECODERS.of(int)(1e300), 1e300)
    with pytest.raises(ValueFormatError, match="float64"):
        DECODERS.of(float)({"$integer": "AAAAAAAAAAA="})


class Clash(TypedDict):
    a_b: int
    aB: int


class Holder(msgspec.Struct):
    clash: list[Clash]


@pytest.mark.parametrize("annotation", [Clash, list[Clash], dict[str, Clash | None], Holder])
def test_fields_that_collide(annotation: Any) -> None:
    """Two fields that are one in camelCase are an error at start, nested ones included; without casing they are not."""
    with pytest.raises(RegistrationError, match="a_b and aB are both 'aB' to clients"):
        Decoders("camel").of(annotation)
    Decoders(None).of(annotation)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$integer", "$float", "rowName", "type", "x", "xAxis"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=examples(500), deadline=None)
@given(json_values, st.sampled_from([annotation for annotation, _ in TYPED]))
def test_hostile_json(value: Any, annotation: Any) -> None:
    """Any JSON is decoded for any annotation, or is an error of the format."""
    try:
        DECODERS.of(annotation)(value)
    except ValueFormatError:
        return
