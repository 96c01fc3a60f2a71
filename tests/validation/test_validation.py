"""The values that each annotation accepts, from Python and from JSON, and the message for all others."""

import collections.abc
import datetime
import decimal
import enum
import json
import uuid
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import Document, Id, RegistrationError
from flask_convex_http.validation.validator import InvalidValueError, Validator
from tests.lengths import SAMPLED, examples

NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
USER, TEAM, ITEM = (f"{table}_{'0' * 32}" for table in ("users", "teams", "items"))
TABLES = {"User": ("users",), "Team": ("teams",), "Item": ("items",)}


class User(Document, table="users"):
    name: str


class Team(Document, table="teams"):
    name: str


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Point(TypedDict):
    x: int
    label: NotRequired[str]


class Owned(TypedDict):
    owner: NotRequired[Id[User]]
    count: int


class Planned(TypedDict):
    title: "str"
    at: "NotRequired[datetime.datetime]"


class Place(NamedTuple):
    name: str
    at: int = 0


Name = NewType("Name", str)
Count = NewType("Count", int)


def validator(annotation: Any) -> Validator:
    made = Validator(annotation, "here")
    assert made.bind(TABLES) == []
    return made


def refusal(annotation: Any, value: Any) -> str:
    with pytest.raises(InvalidValueError) as caught:
        validator(annotation).check(value)
    return str(caught.value)


TAKEN: list[tuple[Any, Any]] = [
    (str, "a"),
    (str, ""),
    (str, "\0 \U0001f600"),
    (int, 0),
    (int, 2**63 - 1),
    (int, -(2**63)),
    (float, 1.5),
    (float, 1),
    (float, float("inf")),
    (bool, True),
    (bytes, b"\0\xff"),
    (None, None),
    (datetime.datetime, NOON),
    (datetime.date, NOON.date()),
    (datetime.timedelta, datetime.timedelta(hours=1)),
    (uuid.UUID, uuid.UUID(int=1)),
    (decimal.Decimal, decimal.Decimal("1.5")),
    (Literal["a", "b"], "a"),
    (Literal[1, 2], 2),
    (Literal["a", None], None),
    (Colour, Colour.RED),
    (Size, Size.LARGE),
    (Id[User], USER),
    (Id["User"], USER),
    (Id[User | Team], TEAM),
    (Id["User | Team"], TEAM),
    (Id[User] | None, None),
    (list[int], [1, 2]),
    (list, [1, "a"]),
    (collections.abc.Sequence[int], [1]),
    (set[str], {"a"}),
    (frozenset[int], frozenset({1})),
    (dict[str, int], {"a": 1}),
    (dict[int, str], {1: "a"}),
    (dict[Id[User], int], {USER: 1}),
    (collections.abc.Mapping[str, int], {"a": 1}),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[()], ()),
    (Point, {"x": 1}),
    (Point, {"x": 1, "label": "a"}),
    (Owned, {"count": 1, "owner": USER}),
    (Planned, {"title": "a"}),
    (Planned, {"title": "a", "at": NOON}),
    (Place, Place("a", 1)),
    (int | None, None),
    (int | str, "a"),
    (int | float | None, 1.5),
    (list[int] | str, [1]),
    (list[Id[User]] | Id[User], [USER]),
    (Any, object),
    (object, 1),
    (Name, "a"),
    (Count, 1),
    (Name | None, None),
    (Annotated[int, msgspec.Meta(ge=1)], 1),
    (Annotated[str, msgspec.Meta(max_length=2)], "ab"),
    (Annotated[list[int], msgspec.Meta(max_length=1)], [1]),
    (Annotated[Count, msgspec.Meta(le=5)], 5),
    (list[dict[str, list[int | None]]], [{"a": [1, None]}]),
]


@pytest.mark.parametrize(("annotation", "value"), TAKEN)
def test_takes(annotation: Any, value: Any) -> None:
    """A value that matches is returned as it is."""
    assert validator(annotation).check(value) == value


REFUSED: list[tuple[Any, Any, str]] = [
    (str, 1, "- at `$`"),
    (str, b"a", "- at `$`"),
    (str, None, "- at `$`"),
    (int, "1", "- at `$`"),
    (int, True, "- at `$`"),
    (int, 1.0, "- at `$`"),
    (int, 2**63, "- at `$`"),
    (int, -(2**63) - 1, "- at `$`"),
    (Count, 2**63, "- at `$`"),
    (list[int], [10**400], "- at `$[0]`"),
    (float, "1.5", "- at `$`"),
    (float, True, "- at `$`"),
    (float, 10**400, "- at `$`"),
    (bool, 1, "- at `$`"),
    (bool, "true", "- at `$`"),
    (bytes, "YQ==", "- at `$`"),
    (None, 0, "- at `$`"),
    (datetime.datetime, NOON.isoformat(), "- at `$`"),
    (datetime.datetime, 0, "- at `$`"),
    (datetime.datetime, NOON.replace(tzinfo=None), "- at `$`"),
    (list[datetime.datetime], [NOON.replace(tzinfo=None)], "- at `$[0]`"),
    (Literal["a", "b"], "c", "- at `$`"),
    (Literal[1], True, "- at `$`"),
    (Colour, "green", "- at `$`"),
    (Size, 3, "- at `$`"),
    (Id[User], "x", "Expected an id of table users - at `$`"),
    (Id[User], TEAM, "Expected an id of table users - at `$`"),
    (Id[User], USER + "0", "Expected an id of table users - at `$`"),
    (Id[User], USER.upper(), "Expected an id of table users - at `$`"),
    (Id[User], 1, "- at `$`"),
    (Id[User | Team], ITEM, "Expected an id of table teams or users - at `$`"),
    (Id[User] | None, TEAM, "Expected an id of table users - at `$`"),
    (list[int], [1, "2"], "- at `$[1]`"),
    (list[int], "12", "- at `$`"),
    (list[Id[User]], [USER, TEAM], "Expected an id of table users - at `$[1]`"),
    (set[Any], [[]], "- at `$"),
    (dict[str, int], {1: 1}, "as a key - at `$`"),
    (dict[Id[User], int], {TEAM: 1}, f"Expected an id of table users - at `$['{TEAM}']`"),
    (dict[str, Id[User]], {"a": TEAM}, "Expected an id of table users - at `$['a']`"),
    (tuple[int, str], (1,), "- at `$`"),
    (tuple[int, str], ("a", 1), "- at `$[0]`"),
    (tuple[int, Id[User]], (1, TEAM), "Expected an id of table users - at `$[1]`"),
    (tuple[Id[User], ...], (USER, TEAM), "Expected an id of table users - at `$[1]`"),
    (Point, {}, "Missing required field `x` - at `$.x`"),
    (Point, {"x": "1"}, "- at `$.x`"),
    (Point, {"x": 2**63}, "- at `$.x`"),
    (Owned, {"count": 1, "owner": TEAM}, "Expected an id of table users - at `$.owner`"),
    (Place, Place(1, 2), "- at `$.name`"),  # type: ignore[arg-type]
    (int | str, 1.5, "- at `$`"),
    (list[int] | str, ["a"], "- at `$[0]`"),
    (list[Id[User]] | Id[User], [TEAM], "Expected an id of table users - at `$[0]`"),
    (Name, 1, "- at `$`"),
    (Annotated[int, msgspec.Meta(ge=1)], 0, "- at `$`"),
    (Annotated[int, msgspec.Meta(ge=1)], 2**63, "- at `$`"),
    (Annotated[int, msgspec.Meta(lt=9)], -(2**63) - 1, "- at `$`"),
    (Annotated[list[int], msgspec.Meta(max_length=1)], [2**63], "- at `$[0]`"),
    (Annotated[list[Id[User]], msgspec.Meta(max_length=1)], [TEAM], "Expected an id of table users - at `$[0]`"),
    (list[dict[str, list[int]]], [{"a": [1, None]}], "- at `$[0][...][1]`"),
    (list[int], (number for number in range(2)), "- at `$`"),
    (Colour, "\ud800", "Expected text without lone surrogates - at `$`"),
    (Point, {"\ud800": 1}, "Expected text without lone surrogates - at `$`"),
]


@pytest.mark.parametrize(("annotation", "value", "message"), REFUSED)
def test_refuses(annotation: Any, value: Any, message: str) -> None:
    """A value that does not match is refused, and the message has the expected type and the path."""
    assert message in refusal(annotation, value)


@pytest.mark.parametrize(("type", "value"), [(str, 1), (int, "1"), (list[int], "12"), (Colour, "green")])
def test_says_what_msgspec_says(type: Any, value: Any) -> None:
    """The expected type is worded by msgspec, in the words of its version."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, type)
    assert refusal(type, value) == f"{caught.value} - at `$`"


JSON_TAKEN: list[tuple[Any, str, Any]] = [
    (datetime.datetime, '"2026-01-02T12:00:00Z"', NOON),
    (datetime.datetime, '"2026-01-02T13:00:00+01:00"', NOON),
    (bytes, '"AP8="', b"\0\xff"),
    (uuid.UUID, '"00000000-0000-0000-0000-000000000001"', uuid.UUID(int=1)),
    (decimal.Decimal, '"1.5"', decimal.Decimal("1.5")),
    (set[int], "[1, 2, 2]", {1, 2}),
    (tuple[int, str], '[1, "a"]', (1, "a")),
    (dict[int, str], '{"1": "a"}', {1: "a"}),
    (Colour, '"red"', Colour.RED),
    (float, "1", 1.0),
    (Place, '["a", 1]', Place("a", 1)),
    (Any, '{"a": [1, null, "x"]}', {"a": [1, None, "x"]}),
]


@pytest.mark.parametrize(("annotation", "text", "value"), JSON_TAKEN)
def test_reads_json(annotation: Any, text: str, value: Any) -> None:
    """Types that JSON lacks are read from text, from a parsed value and from bytes alike."""
    assert validator(annotation).check_json(json.loads(text)) == value
    assert validator(annotation).decode(text.encode()) == value


JSON_REFUSED: list[tuple[Any, str]] = [
    (datetime.datetime, '"2026-01-02T12:00:00"'),
    (datetime.datetime, '"noon"'),
    (bytes, '"not base64!"'),
    (int, '"1"'),
    (int, "1.5"),
    (int, "true"),
    (int, "9223372036854775808"),
    (Id[User], f'"{TEAM}"'),
    (list[Id[User]], f'["{USER}", "{TEAM}"]'),
    (Owned, f'{{"count": 1, "owner": "{TEAM}"}}'),
    (None, "0"),
]


@pytest.mark.parametrize(("annotation", "text"), JSON_REFUSED)
def test_refuses_json(annotation: Any, text: str) -> None:
    """Values from JSON are checked as strictly as those from Python."""
    with pytest.raises(InvalidValueError):
        validator(annotation).check_json(json.loads(text))
    with pytest.raises(InvalidValueError):
        validator(annotation).decode(text)


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b'"\xff"', b"\xef\xbb\xbf"])
def test_malformed_json(body: bytes) -> None:
    """Malformed JSON and JSON that does not match raise different errors."""
    with pytest.raises(msgspec.DecodeError) as caught:
        validator(Any).decode(body)
    assert not isinstance(caught.value, msgspec.ValidationError)


T = TypeVar("T")


class Tree(TypedDict):
    children: "list[Tree]"


class Opaque:
    """A class that msgspec cannot validate."""


UNSUPPORTED: list[tuple[Any, str]] = [
    (Opaque, "values of type Opaque cannot be validated"),
    (list[Opaque], "values of type Opaque cannot be validated"),
    (complex, "values of type complex cannot be validated"),
    (type, "values of type type cannot be validated"),
    (msgspec.Raw, "values of type Raw cannot be validated"),
    (T, "a type variable says nothing to check"),
    (list[T], "a type variable says nothing to check"),  # type: ignore[valid-type]
    (collections.abc.Callable[[int], str], "values of type Callable cannot be validated"),
    (Annotated[str, msgspec.Meta(ge=1)], "here: "),
    (Annotated[datetime.datetime, msgspec.Meta(tz=False)], "a datetime without a time zone"),
    (Literal[1.5], "Literal"),
    (Id[User] | Id[Team], "the members of Id[User] | Id[Team] cannot be told apart in JSON. Write Id[A | B]"),
    (list[Id[User] | datetime.datetime], "the members of Id[User] | datetime cannot be told apart"),
    (User | Team, "the members of User | Team cannot be told apart"),
    (Point | Owned | None, "give each msgspec.Struct of a union a tag"),
    (1, "here: "),
]


@pytest.mark.parametrize(("annotation", "message"), UNSUPPORTED)
def test_unsupported(annotation: Any, message: str) -> None:
    """An annotation that cannot be validated is refused at its definition, before any value arrives."""
    with pytest.raises(RegistrationError, match=r"^here: ") as caught:
        Validator(annotation, "here")
    assert message in str(caught.value)


def test_recursive_type() -> None:
    """A type may contain itself, and its values are checked at every depth."""
    assert validator(Tree).check({"children": [{"children": []}]}) == {"children": [{"children": []}]}
    assert "`$.children[0].children`" in refusal(Tree, {"children": [{"children": 1}]})


def test_depth_of_hostile_values() -> None:
    """A value nested deeper than Python's stack is refused like any other wrong value."""
    tree: dict[str, Any] = {"children": []}
    for _ in range(100_000):
        tree = {"children": [tree]}
    assert "nested too deeply" in refusal(Tree, tree)
    with pytest.raises(InvalidValueError, match="nested too deeply"):
        validator(Tree).check_json(tree)
    with pytest.raises(InvalidValueError, match="nested too deeply"):
        validator(Any).decode("[" * 100_000 + "]" * 100_000)
    while tree["children"]:
        tree = tree["children"].pop()  # unnested by a loop, since some Python versions fail to delete so deep a value


def test_long_names_are_cut() -> None:
    """A message does not repeat a long name that a client chose."""
    assert len(refusal(dict[str, Id[User]], {"a" * 10_000: "x"})) < 300


def test_containers_are_copied() -> None:
    """The caller cannot change a checked value afterwards."""
    given = [[1], [2]]
    checked = validator(list[list[int]]).check(given)
    given[0].append("not an int")  # type: ignore[arg-type]
    assert checked == [[1], [2]]


def test_unknown_class() -> None:
    """An id of a class that is not in the schema is reported by the name of the class."""
    assert Validator(list[Id["Nobody"]] | None, "here").bind(TABLES) == ["Nobody"]  # type: ignore[name-defined]  # noqa: F821


KEYS = st.sampled_from(["x", "owner", "count"]) | st.text()
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.sampled_from([USER, TEAM, "red", "2026-01-02T12:00:00Z", "x", "owner", "count"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "owner", "count"]) | st.text(), inner)
    ),
    max_leaves=8,
)
VALIDATORS = [
    validator(annotation) for annotation in [*(taken for taken, _ in TAKEN), Tree, dict[float, Any], set[Any]]
]


@SAMPLED
@given(st.sampled_from(VALIDATORS), JSON_VALUES)
@settings(deadline=None, max_examples=examples(300))
def test_any_value_is_taken_or_refused(made: Validator, value: Any) -> None:
    """Any value is either returned or refused with an InvalidValueError."""
    for check in (made.check, made.check_json):
        try:
            checked = check(value)
        except InvalidValueError as error:
            assert " - at `$" in str(error)
        else:
            made.check(checked)
