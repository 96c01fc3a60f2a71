"""Structs, documents and dataclasses: instances are validated, since their constructors do not validate."""

import dataclasses
import datetime
import enum
from typing import Any, Generic, TypeVar

import msgspec
import pytest
from msgspec import UNSET, Struct, UnsetType

from flask_convex_http import Document, Id, Page, RegistrationError
from flask_convex_http.backend import Backend
from flask_convex_http.validation.validator import InvalidValueError, Validator

USER: Any = f"users_{'0' * 32}"
TEAM: Any = f"teams_{'0' * 32}"
TABLES = {"User": ("users",), "Team": ("teams",)}
NAIVE = datetime.datetime(2026, 1, 2)
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


class Circle(Struct):
    radius: float


class Square(Struct):
    side: float


class Cat(Struct, tag=True):
    owner: Id["User"]


class Dog(Struct, tag=True):
    owner: Id["User"]


class User(Document, table="users"):
    name: str
    team: Id["Team"] | None = None
    born: datetime.datetime | None = None


class Team(Document, table="teams"):
    name: str


class Order(Struct, rename="camel"):
    item_count: int
    buyer: Id["User"] | None = None
    outline: Circle | None = None
    colours: list[Colour] = []
    note: str | UnsetType = UNSET
    placed_at: datetime.datetime | None = None
    pet: Cat | Dog | None = None
    extra: Any = None


class Node(Struct):
    owner: Id["User"]
    children: list["Node"] = []


class Pair(Struct, Generic[T]):
    first: T
    others: list[T] = []


@dataclasses.dataclass
class Line:
    start: int
    owner: Id[User] | None = None


class Untagged(Struct):
    outline: Circle | Square


def validator(annotation: Any) -> Validator:
    made = Validator(annotation, "here")
    assert made.bind(TABLES) == []
    return made


def stored(document: Any) -> Any:
    """Return the document as the database would return it."""
    return msgspec.structs.replace(document, id=USER, creation_time=1.0)


SOUND: list[tuple[Any, Any]] = [
    (Order, Order(item_count=1)),
    (Order, Order(item_count=1, buyer=USER, outline=Circle(1), colours=[Colour.RED], note="a", pet=Cat(USER))),
    (Order, Order(item_count=1, extra={"any": object()})),
    (list[Order], [Order(item_count=1), Order(item_count=2)]),
    (dict[str, Order], {"a": Order(item_count=1)}),
    (Order | str, Order(item_count=1)),
    (Order | None, None),
    (Cat | Dog, Dog(USER)),
    (Line, Line(1, USER)),
    (Node, Node(USER, [Node(USER)])),
    (Pair[int], Pair(1, [2])),
    (Pair[Id[User]], Pair(USER, [USER])),
    (User, User(name="Ada")),
    (User, stored(User(name="Ada"))),
    (Page[User], Page(page=[stored(User(name="Ada"))], is_done=True, continue_cursor="")),
]


@pytest.mark.parametrize(("annotation", "value"), SOUND)
def test_takes_instances(annotation: Any, value: Any) -> None:
    """An instance that holds what its class declares is returned as it is."""
    assert validator(annotation).check(value) == value


def order(**fields: Any) -> Order:
    return Order(**{"item_count": 1, **fields})


UNSOUND: list[tuple[Any, Any, str]] = [
    (Order, order(item_count="1"), "- at `$.item_count`"),
    (Order, order(item_count=2**63), "- at `$.item_count`"),
    (Order, order(item_count=UNSET), "Missing required field `item_count` - at `$.item_count`"),
    (Order, order(buyer=TEAM), "Expected an id of table users - at `$.buyer`"),
    (Order, order(outline={"radius": 1.0}), "Expected `Circle | None`, got a value that would have to be converted"),
    (Order, order(outline=Circle("1")), "- at `$.outline.radius`"),  # type: ignore[arg-type]
    (Order, order(outline=Square(1)), "- at `$.outline`"),
    (Order, order(colours=["red"]), "Expected `list[Colour]`, got a value that would have to be converted"),
    (Order, order(colours=(Colour.RED,)), "Expected `list[Colour]`, got a value that would have to be converted"),
    (Order, order(placed_at=NAIVE), "- at `$.placed_at`"),
    (Order, order(placed_at="2026-01-02T00:00:00Z"), "- at `$.placed_at`"),
    (Order, order(pet=Dog(TEAM)), "Expected an id of table users - at `$.pet.owner`"),
    (list[Order], [order(), order(buyer="x")], "Expected an id of table users - at `$[1].buyer`"),
    (dict[str, Order], {"a": order(buyer="x")}, "Expected an id of table users - at `$['a'].buyer`"),
    (Order | str, order(buyer="x"), "Expected an id of table users - at `$.buyer`"),
    (Order | None, order(buyer="x"), "Expected an id of table users - at `$.buyer`"),
    (tuple[int, Order], (1, order(buyer="x")), "Expected an id of table users - at `$[1].buyer`"),
    (Cat | Dog, Dog("x"), "Expected an id of table users - at `$.owner`"),  # type: ignore[arg-type]
    (Line, Line("1"), "- at `$.start`"),  # type: ignore[arg-type]
    (Line, Line(1, TEAM), "Expected an id of table users - at `$.owner`"),
    (
        Node,
        Node(USER, [Node(USER, [Node(TEAM)])]),
        "Expected an id of table users - at `$.children[0].children[0].owner`",
    ),
    (Pair[int], Pair(1, ["2"]), "- at `$.others[0]`"),
    (Pair[Id[User]], Pair(USER, [TEAM]), "Expected an id of table users - at `$.others[0]`"),
    (User, User(name=1), "- at `$.name`"),  # type: ignore[arg-type]
    (User, User(name="Ada", team=USER), "Expected an id of table teams - at `$.team`"),
    (User, User(name="Ada", born=NAIVE), "- at `$.born`"),
    (User, Team(name="A"), "- at `$`"),
    (list[User] | None, [User(name=1)], "- at `$[0].name`"),  # type: ignore[arg-type]
    (Page[User], Page(page=[User(name=1)], is_done=True, continue_cursor=""), "- at `$.page[0].name`"),  # type: ignore[arg-type]
    (Page[User], Page(page=[], is_done="yes", continue_cursor=""), "- at `$.is_done`"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("annotation", "value", "message"), UNSOUND)
def test_refuses_instances(annotation: Any, value: Any, message: str) -> None:
    """An instance that holds another value than its class declares is refused at any depth."""
    with pytest.raises(InvalidValueError) as caught:
        validator(annotation).check(value)
    assert message in str(caught.value)


def test_stored_documents_are_trusted() -> None:
    """A document with an id is trusted as the database returned it, unless the caller asks for a check."""
    unsound = stored(User(name=1))  # type: ignore[arg-type]
    made = validator(list[User])
    assert made.check([unsound]) == [unsound]
    with pytest.raises(InvalidValueError, match=r"\$\[0\].name"):
        made.check([unsound], trusting=False)


@pytest.mark.parametrize("annotation", [User, list[User] | User, User | Id[Team]])
def test_documents_from_json_are_not_trusted(annotation: Any) -> None:
    """A document from JSON is checked in full even if it has an id."""
    given = {"_id": USER, "_creationTime": 1.0, "name": "Ada", "team": "not an id"}
    with pytest.raises(InvalidValueError):
        validator(annotation).check_json(given)
    with pytest.raises(InvalidValueError):
        validator(annotation).decode(msgspec.json.encode(given))
    assert validator(annotation).check_json(given | {"team": TEAM}).team == TEAM


def test_structs_from_json() -> None:
    """A struct is read from JSON under its JSON names, and its references are checked."""
    made = validator(Order)
    assert made.check_json({"itemCount": 1, "buyer": USER}) == Order(item_count=1, buyer=USER)
    with pytest.raises(InvalidValueError, match=r"users - at `\$.buyer`"):
        made.check_json({"itemCount": 1, "buyer": TEAM})
    with pytest.raises(InvalidValueError, match=r"\$.item_count"):
        made.check_json({"itemCount": 2**63})
    with pytest.raises(InvalidValueError, match=r"at `\$.placed_at`"):
        made.check_json({"itemCount": 1, "placedAt": "2026-01-02T00:00:00"})


@pytest.mark.parametrize("annotation", [Untagged, list[Untagged], Circle | Square, list[Circle | Square] | None])
def test_untagged_union(annotation: Any) -> None:
    """A union of structs without tags is an error at registration, since JSON cannot tell them apart."""
    with pytest.raises(RegistrationError, match="tag"):
        Validator(annotation, "here")


def test_untagged_union_in_a_document() -> None:
    """A document with such a field is an error when its class is defined, and the message names the field."""
    with pytest.raises(RegistrationError, match=r"outline.*a tag"):

        class Shape(Document, table="shapes"):
            outline: Circle | Square


def test_forward_reference() -> None:
    """A class that is not defined yet raises NameError, so that the annotation can be read again later."""

    class Later(Struct):
        other: "NotYetDefined"  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(NameError):
        Validator(Later, "here")


def add(backend: Backend, document: Document) -> None:
    backend.runtime.transact(lambda ctx: ctx.db.insert(document), backend.caller())
