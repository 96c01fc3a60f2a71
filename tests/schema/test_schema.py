"""Tables as classes: valid class statements, and the message for each invalid one."""

import datetime
import enum
import itertools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from flask_convex_http import Document, Id, RegistrationError, Schema, StoredFile, unique
from flask_convex_http.backend import Backend
from flask_convex_http.schema.documents import Table
from tests.deployment import MEMORY, deployed


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Address(msgspec.Struct, frozen=True):
    street: str


class User(
    Document, table="users", indexes={"by_email": unique("email"), "by_name_age": ["name", "age"], "by_age": ("age",)}
):
    name: str
    email: str | None = None
    age: int = 0


class Node(Document, table="nodes"):
    parent: Id["Node"] | None = None
    later: "Id[Later] | None" = None


class Later(Document, table="laters"):
    node: Id[Node]


class Everything(Document, table="everything"):
    text: str
    number: int
    real: float
    flag: bool
    raw: bytes
    at: datetime.datetime
    user: Id[User]
    color: Color
    level: Level
    size: Literal["s", "m"]
    count: Literal[1, 2]
    yes: Literal[True]
    maybe: str | None
    bounded: Annotated[int, msgspec.Meta(ge=1)] | None
    described: Annotated[str | None, "for people"]
    address: Address
    tags: list[str]
    either: int | str
    anything: Any
    file: Id[StoredFile] | None


def table_of(document: type[Document]) -> Table[Any]:
    return Schema(document, User).table_for(document) if document is not User else Schema(User).table_for(User)


def test_a_column_is_made_for_each_field() -> None:
    """Each annotation has its kind of column; an annotation that is not one plain type is JSON."""
    assert {name: column.type.kind for name, column in table_of(Everything).columns.items()} == {
        "text": "text",
        "number": "integer",
        "real": "real",
        "flag": "boolean",
        "raw": "blob",
        "at": "datetime",
        "user": "text",
        "color": "text",
        "level": "integer",
        "size": "text",
        "count": "integer",
        "yes": "boolean",
        "maybe": "text",
        "bounded": "integer",
        "described": "text",
        "address": "json",
        "tags": "json",
        "either": "json",
        "anything": "json",
        "file": "text",
    }


def test_columns_that_take_none_are_nullable() -> None:
    """A column is nullable if its annotation accepts None."""
    assert table_of(Everything).nullable == {"maybe", "bounded", "described", "anything", "file"}


def test_indexes_end_with_creation_time_and_id() -> None:
    """Each index orders by its fields, then by creation time, then by id; by_creation_time always exists."""
    indexes = table_of(User).indexes
    assert indexes["by_name_age"].columns == ("name", "age", "_creation_time", "_id")
    assert indexes["by_creation_time"].columns == ("_creation_time", "_id")
    assert [name for name, index in indexes.items() if index.unique] == ["by_email"]


def test_documents_are_frozen_values_given_by_name() -> None:
    """A document cannot be changed, compares by value and takes its fields by name only."""
    user = User(name="Ada")
    assert user == User(name="Ada", email=None, age=0)
    with pytest.raises(AttributeError):
        user.name = "Bob"  # type: ignore[misc]
    with pytest.raises(TypeError):
        User("Ada")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="nmae"):
        User(nmae="Ada")  # type: ignore[call-arg]


def test_system_fields_have_their_names_in_json() -> None:
    """A stored document is JSON with _id and _creationTime; one that is not stored has neither."""
    with deployed(User) as app:
        [user_id] = app.add(User(name="Ada"))
        user = app.get(user_id)
    assert msgspec.to_builtins(user) == {
        "_id": user_id,
        "_creationTime": user.creation_time,
        "name": "Ada",
        "email": None,
        "age": 0,
    }
    assert msgspec.to_builtins(User(name="Ada")) == {"name": "Ada", "email": None, "age": 0}


def test_forward_references_are_resolved_when_the_schema_is_made() -> None:
    """A class may refer to itself and to classes further down."""
    schema = Schema(Node, Later)
    assert schema.tables["nodes"].columns["later"].type.kind == "text"


def test_stored_files_need_not_be_in_the_schema() -> None:
    """Id[StoredFile] and Id["StoredFile"] work though the application's schema does not name the class."""

    class Photo(Document, table="photos"):
        file: Id[StoredFile]
        other: Id["StoredFile"] | None = None

    schema = Schema(Photo)
    assert "_storage" not in schema.tables
    assert schema.extended([StoredFile]).tables.keys() == {"photos", "_storage"}


def test_fields_are_inherited() -> None:
    """A base without a table passes its fields on to tables, and a table class can be the base of another."""

    class Named(Document):
        name: str

    class Cat(Named, table="cats", indexes={"by_name": ["name"]}):
        lives: int = 9

    class Kitten(Cat, table="kittens"):
        mother: str

    schema = Schema(Cat, Kitten)
    assert list(schema.tables["cats"].columns) == ["name", "lives"]
    assert list(schema.tables["kittens"].columns) == ["name", "lives", "mother"]
    assert list(schema.tables["kittens"].indexes) == ["by_creation_time"]


@pytest.mark.parametrize("wrong", [[User], "users", 1])
def test_a_schema_takes_classes(wrong: Any) -> None:
    """A list of classes, or a name, is rejected, and the message says what to write."""
    with pytest.raises(RegistrationError, match=r"Schema\(\.\.\.\) takes classes, such as Schema\(Item, Order\), not"):
        Schema(wrong)


def test_a_base_without_a_table_cannot_be_in_a_schema() -> None:
    """A schema accepts only classes with a table; the message says how to add one."""

    class Named(Document):
        name: str

    class Stray(User):
        pass

    for base in (Named, Stray):
        with pytest.raises(RegistrationError, match=rf"write class {base.__name__}\(Document, table=...\)"):
            Schema(base)
    with pytest.raises(RegistrationError, match="Schema"):
        Schema(int)  # type: ignore[arg-type]


def test_factories_are_asked_when_a_document_is_made() -> None:
    """A default factory does not run when the class is defined."""
    numbers = itertools.count()

    class Box(Document, table="boxes"):
        number: int = msgspec.field(default_factory=lambda: next(numbers))

    Schema(Box)
    assert [Box().number, Box().number] == [0, 1]


def define(*, table: Any = "things", indexes: Any = None, **annotations: Any) -> Callable[[], Any]:
    """Return a class statement, to be run."""
    return lambda: types.new_class(
        "Thing",
        (Document,),
        {"table": table, "indexes": indexes},
        lambda body: body.update({"__annotations__": annotations, "__module__": __name__}),
    )


def with_option(**options: Any) -> Callable[[], Any]:
    return lambda: types.new_class("Thing", (Document,), {"table": "things", **options})


def with_member(name: str, value: Any, **annotations: Any) -> Callable[[], Any]:
    body = {name: value, "__annotations__": annotations, "__module__": __name__}
    return lambda: types.new_class("Thing", (Document,), {"table": "things"}, lambda own: own.update(body))


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (define(table=""), "table name '' must start with a letter"),
        (define(table="_things"), "table name '_things' must start with a letter"),
        (define(table="1things"), "must start with a letter"),
        (define(table="thin gs"), "letters, digits and _"),
        (define(table='x"; DROP TABLE users; --'), "letters, digits and _"),
        (define(table="thïngs"), "ASCII letters"),
        (define(table="a" * 65), "up to 64"),
        (define(table=5), "table name 5 must"),
        (define(table="sqlite_things"), "taken by SQLite"),
        (define(table=None, indexes={"by_a": ["a"]}, a=int), "has indexes but no table"),
        (define(_hidden=int), r"Thing._hidden must start with a letter"),
        (define(_id=str), "field _id or _creationTime, which the database gives to every document"),
        (define(_creationTime=float), "field _id or _creationTime, which the database gives to every document"),
        (define(_creation_time=float), "Thing._creation_time must start with a letter"),
        (define(__secret=int), "Thing"),
        (define(**{"größe": int}), "ASCII letters"),
        (define(**{"a" * 65: int}), "up to 64"),
        (define(id=int), "Thing.id is a field of every document"),
        (define(creation_time=float), "Thing.creation_time is a field of every document"),
        (with_member("id", property(lambda self: 5)), "Thing.id is a field of every document"),
        (with_member("creation_time", 5), "Thing.creation_time is a field of every document"),
        (define(name=str, Name=str), "Thing.Name and .name differ in case only"),
        (define(a=int, indexes=["by_a"]), "indexes must be a mapping"),
        (define(a=int, indexes={"by_a": "a"}), r"index 'by_a' must list its fields: write \['a'\]"),
        (define(a=int, indexes={"by_a": 5}), "index 'by_a' must list its fields"),
        (define(a=int, indexes={"by_a": []}), "index 'by_a' needs at least one field"),
        (define(a=int, indexes={"by_a": unique()}), "index 'by_a' needs at least one field"),
        (define(a=int, indexes={"by_a": ["a", "b"]}), "names 'b', which is no field of Thing"),
        (define(a=int, indexes={"by_a": [5]}), "names 5, which is no field of Thing"),
        (define(a=int, indexes={"by_a": ["a", "a"]}), "names a field twice"),
        (define(a=int, indexes={"by_a": ["a", "creation_time"]}), "leave out creation_time"),
        (define(a=int, indexes={"by_a": ["a", "_creation_time"]}), "leave out _creation_time"),
        (define(a=int, indexes={"by_a": ["id"]}), "leave out id"),
        (define(a=int, indexes={"by_id": ["a"]}), "index 'by_id': choose another name"),
        (define(a=int, indexes={"By_Creation_Time": ["a"]}), "choose another name"),
        (define(a=int, indexes={"_by_a": ["a"]}), "choose another name"),
        (define(a=int, indexes={"by a": ["a"]}), "choose another name"),
        (define(a=int, indexes={5: ["a"]}), "index 5: choose another name"),
        (define(a=int, indexes={"by_a": ["a"], "BY_A": ["a"]}), "'by_a' and 'BY_A' differ in case only"),
        (define(a=list[str], indexes={"by_a": ["a"]}), "'a', which is stored as JSON and has no order"),
        (define(a=Address, indexes={"by_a": ["a"]}), "stored as JSON"),
        (define(a=int | str, indexes={"by_a": ["a"]}), "stored as JSON"),
        (define(a=Any, indexes={"by_a": unique("a")}), "stored as JSON"),
        (define(a=complex), "Thing.a: values of type complex cannot be validated"),
        (define(a=Callable), "Thing.a"),
        (define(a=Id), r"Id\[\.\.\.\]"),
        (define(a="list[", b=int), "Thing: an annotation cannot be read"),
        (define(a="datetime.nothing"), "Thing: an annotation cannot be read"),
        (with_member("a", "x", a=int), "Thing.a: the default 'x' does not match"),
        (with_member("a", None, a=str), "Thing.a: the default None does not match"),
        (with_member("a", "green", a=Color), "Thing.a: the default 'green' does not match"),
        (with_option(rename="camel"), "rename=...*takes table=, indexes=, renamed_from=, max_bytes= and history= only"),
        (with_option(frozen=False), "frozen="),
        (with_option(kw_only=False), "kw_only="),
    ],
)
def test_a_class_that_cannot_be_a_table_is_refused(statement: Callable[[], Any], message: str) -> None:
    """The class statement itself refuses a definition that cannot work, with the place and the fix in the message."""
    with pytest.raises(RegistrationError, match=message):
        statement()


def test_an_inherited_system_field_is_refused() -> None:
    """A base class cannot declare id for its tables either."""

    class Base(Document):
        id: int  # type: ignore[assignment]

    class Mixin:
        id = 5

    with pytest.raises(RegistrationError, match="id is a field of every document"):
        types.new_class("Thing", (Base,), {"table": "things"})
    with pytest.raises(RegistrationError, match="id is a field of every document"):
        types.new_class("Thing", (Mixin, Document), {"table": "things"})


def test_a_name_that_never_appears_is_refused_by_the_schema() -> None:
    """A forward reference to an unknown name is refused when the schema is made."""
    statement = define(a="list[NoSuchClass]")
    with pytest.raises(RegistrationError, match=r"Thing: an annotation names something.*NoSuchClass"):
        Schema(statement())


def test_references_must_be_in_the_schema() -> None:
    """A reference to a class without a table in this schema is refused, by class and by name."""
    to: Any = Id
    unknown = "Nobody | Later"
    for target in (to[Later], to["Later"], list[to[Later]], dict[str, to[unknown]], to[Document], to[None]):
        with pytest.raises(RegistrationError, match=r"Thing.a refers to Id\[\w+\], which is not in the schema"):
            Schema(define(a=target)())


def test_two_classes_cannot_share_a_table() -> None:
    """Table names are unique in a schema, regardless of case, and the package's own names are reserved."""
    with pytest.raises(RegistrationError, match="Two classes have the table 'Users'"):
        Schema(User, define(table="Users")())
    with pytest.raises(RegistrationError, match="Two classes have the table 'users'"):
        Schema(User, User)
    with pytest.raises(RegistrationError, match=r"'api_keys' is one of the package's own.*table=\"app_api_keys\""):
        Backend(MEMORY, Schema(define(table="api_keys")()), folder=Path())


def test_classes_may_have_the_name_of_a_system_class() -> None:
    """An application's own class Setting is the target of Id["Setting"]."""

    class Setting(Document, table="settings"):
        value: str

    class Choice(Document, table="choices"):
        by_name: Id["Setting"]
        by_class: Id[Setting]

    with deployed(Setting, Choice) as app:
        [setting] = app.add(Setting(value="dark"))
        [choice] = app.add(Choice(by_name=setting, by_class=setting))
        assert app.get(choice).by_name == setting


def test_a_name_two_classes_share_is_no_reference() -> None:
    """Two classes called Item are referred to by class; their common name alone is ambiguous and refused."""
    one, other = define(table="shop_things")(), define(table="blog_things")()
    to: Any = Id
    by_class, by_name = to[one], to["Thing"]
    assert Schema(one, other, define(table="users_of", a=by_class)()).tables.keys() >= {"users_of"}
    with pytest.raises(RegistrationError, match=r"refers to Id\[Thing\]"):
        Schema(one, other, define(table="users_of", a=by_name)())
