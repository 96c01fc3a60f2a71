"""Tables and fields with a new name: rows, ids, references and indexes stay."""

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec
import pytest

from flask_convex_http import (
    ArgumentValidationError,
    Document,
    Id,
    MigrationRefusedError,
    MigrationRequiredError,
    MutationCtx,
    RegistrationError,
    Schema,
    UnavailableError,
    UniqueConstraintError,
    internal_mutation,
    renamed_from,
    unique,
)
from flask_convex_http.ids import new_id
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, rows
from tests.deployment import Deployment
from tests.versions import all_documents, create_with, migrate, thing

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

INDEXES = {"by_name": ["name"], "by_code": unique("code")}
OLD = thing(INDEXES, table="users", name=str, code=int | None)
NEW = thing(INDEXES, table="people", renamed_from="users", name=str, code=int | None)


#: The steps that follow the new name of a table, since its ids then begin with two names.
BY_TIME = "create index by_creation_time on {} and extend the others (its ids are in another order)"
BY_ID = "drop index by_creation_time of {} and shorten the others (its ids are in the same order)"


def renamed(old: str, annotation: Any = str) -> Any:
    return Annotated[annotation, renamed_from(old)]


# --- tables --------------------------------------------------------------------------------------------------------


def test_a_renamed_table_keeps_rows_ids_and_indexes(tmp_path: Path) -> None:
    """`renamed_from` on a class renames its table: old ids still work, new ids have the new name."""
    [ada, *_] = create_with(tmp_path, OLD, OLD(name="Ada", code=1), OLD(name="Bob", code=None))
    steps = ["rename table users to people", BY_TIME.format("people")]
    assert migrate(tmp_path, NEW, dry_run=True) == steps
    assert migrate(tmp_path, NEW) == steps
    assert migrate(tmp_path, NEW) == []
    with closing((app := Deployment(NEW, folder=tmp_path)).backend):
        assert ada.startswith("users_") and app.get(ada).name == "Ada"
        app.write(lambda db: db.patch(ada, name="Ada L."))
        [new] = app.add(NEW(name="Cid", code=3))
        assert new.startswith("people_")
        found = app.read(lambda db: db.query(NEW).with_index("by_name").collect())
        assert [one.name for one in found] == ["Ada L.", "Bob", "Cid"]
        assert app.read(lambda db: db.normalize_id(NEW, ada)) == ada
        with pytest.raises(UniqueConstraintError):
            app.add(NEW(name="Dan", code=1))
        assert app.backend.engine.check() == []


def test_a_table_whose_name_changes_in_case_only(tmp_path: Path) -> None:
    """A table is renamed from `Things` to `things` and back, which are one name to SQLite."""
    old = thing({"by_name": ["name"]}, table="Things", name=str)
    new = thing({"by_name": ["name"]}, table="things", renamed_from="Things", name=str)
    back = thing({"by_name": ["name"]}, table="Things", renamed_from="things", name=str)
    [ada] = create_with(tmp_path, old, old(name="Ada"))
    steps = ["rename table Things to things", BY_TIME.format("things")]
    steps_back = ["rename table things to Things", BY_ID.format("Things")]
    for document, wanted in ((new, steps), (back, steps_back)):
        assert migrate(tmp_path, document) == wanted
        assert migrate(tmp_path, document) == []
        assert [one.id for one in all_documents(tmp_path, document)] == [ada]
        with closing((app := Deployment(document, folder=tmp_path)).backend):
            assert app.get(ada).name == "Ada"
            assert app.backend.engine.check() == []


def test_a_rename_beside_other_changes(tmp_path: Path) -> None:
    """A table, a field, its type and an index change in one migration."""
    old = thing({"by_size": ["size"], "by_code": unique("code")}, table="users", size=int, code=str, gone=str)
    create_with(tmp_path, old, old(size=2, code="a", gone=""), old(size=1, code="b", gone=""))
    new = thing(
        {"by_width": ["width"], "by_code": unique("key")},
        table="people",
        renamed_from=("accounts", "users"),
        width=renamed("size", float),
        key=renamed("code", str | None),
        more=(str, "x"),
    )
    with pytest.raises(MigrationRefusedError, match=r'drop column people\.gone.*users_.*renamed_from\("gone"\)'):
        migrate(tmp_path, new)
    steps = migrate(tmp_path, new, allow_destructive=True)
    assert steps[:3] == [
        "rename table users to people",
        "rename column people.size to width",
        "rename column people.code to key",
    ]
    with closing((app := Deployment(new, folder=tmp_path)).backend):
        found = app.read(lambda db: db.query(new).with_index("by_width").collect())
        assert [(one.width, one.key, one.more) for one in found] == [(1.0, "b", "x"), (2.0, "a", "x")]
        with pytest.raises(UniqueConstraintError):
            app.add(new(width=5.0, key="a"))
        assert app.backend.engine.check() == []


def test_references_to_a_renamed_table(tmp_path: Path) -> None:
    """References accept old and new ids of a renamed table, and the rows that have them still match."""
    to: Any = Id

    class Post(Document, table="posts"):
        author: to["Person"]
        readers: list[to["Person"]]

    class Person(Document, table="people", renamed_from="users"):
        name: str

    class User(Document, table="users"):
        name: str

    class OldPost(Document, table="posts"):
        author: to["User"]
        readers: list[to["User"]]

    with closing((app := Deployment(User, OldPost, folder=tmp_path)).backend):
        app.backend.migrate()
        [ada] = app.add(User(name="Ada"))
        [post] = app.add(OldPost(author=ada, readers=[ada]))
    migrate(tmp_path, Person, Post)
    with closing((app := Deployment(Person, Post, folder=tmp_path)).backend):
        assert app.get(post).author == ada
        [bob] = app.add(Person(name="Bob"))
        app.write(lambda db: db.patch(post, readers=[ada, bob]))
        app.add(Post(author=ada, readers=[]))
        findings = app.backend.check(read_bytes=False, progress=lambda done, total: None)
        assert (findings.problems, findings.notes) == ([], [])


def test_jobs_from_before_a_rename(tmp_path: Path) -> None:
    """The arguments of a job that was scheduled before a rename still match, since old ids are ids of the table."""

    class Person(Document, table="people", renamed_from="users"):
        name: str

    def greet(ctx: MutationCtx, *, person: Any) -> None: ...

    greet.__annotations__["person"] = Id[Person]
    function, schema = internal_mutation(greet), Schema(Person)
    function.bind(schema)
    for prefix in ("users", "people"):
        arguments = {"person": new_id(prefix, 0)}
        assert function.check_arguments((), arguments, json=True) == arguments
    with pytest.raises(ArgumentValidationError):
        function.check_arguments((), {"person": new_id("others", 0)}, json=True)


def test_a_rename_that_was_forgotten_first(tmp_path: Path) -> None:
    """If the new table was created empty, adding `renamed_from` later brings the old rows."""
    [ada] = create_with(tmp_path, OLD, OLD(name="Ada", code=1))
    forgotten = thing(INDEXES, table="people", name=str, code=int | None)
    migrate(tmp_path, forgotten)
    with closing((app := Deployment(forgotten, folder=tmp_path)).backend):
        [left] = app.backend.tables.undescribed()
        assert (left.name, left.rows, left.example) == ("users", 1, ada)
        assert 'renamed_from="users"' in str(left)
        counts = {count.name: (count.rows, count.is_described) for count in app.backend.tables.counts()}
        assert counts["users"] == (1, False) and counts["people"] == (0, True)
        findings = app.backend.check(read_bytes=False, progress=lambda done, total: None)
        assert findings.problems == [str(left)]
    assert migrate(tmp_path, NEW) == ["rename table users to people", BY_TIME.format("people")]
    assert [one.id for one in all_documents(tmp_path, NEW)] == [ada]


def test_a_rename_with_rows_on_both_sides_is_refused(tmp_path: Path) -> None:
    """Rows in the old and in the new table are never mixed or lost; the message names both."""
    create_with(tmp_path, OLD, OLD(name="Ada", code=1))
    forgotten = thing(INDEXES, table="people", name=str, code=int | None)
    create_with(tmp_path, forgotten, forgotten(name="Bob", code=2))
    with pytest.raises(MigrationRefusedError, match=r"Both users and people.*have rows"):
        migrate(tmp_path, NEW)
    rows(tmp_path, "DELETE FROM users")
    migrate(tmp_path, NEW)
    assert [one.name for one in all_documents(tmp_path, NEW)] == ["Bob"]


def test_an_old_name_stays_as_long_as_ids_have_it(tmp_path: Path) -> None:
    """A class that loses `renamed_from` while ids begin with the old name is refused."""
    [ada] = create_with(tmp_path, OLD, OLD(name="Ada", code=1))
    migrate(tmp_path, NEW)
    without = thing(INDEXES, table="people", name=str, code=int | None)
    with pytest.raises(MigrationRefusedError, match=f"must keep renamed_from='users', because ids such as {ada}"):
        migrate(tmp_path, without)
    with pytest.raises(MigrationRequiredError, match="must keep renamed_from"):
        all_documents(tmp_path, without)
    with closing((app := Deployment(NEW, folder=tmp_path)).backend):
        app.write(lambda db: db.delete(ada))
    migrate(tmp_path, without)
    create_with(tmp_path, without, without(name="Bob", code=2))


def test_old_code_beside_a_renamed_table(tmp_path: Path) -> None:
    """Old code that runs gets UnavailableError, and old code that starts is refused instead of an empty table."""
    with closing((running := Deployment(OLD, folder=tmp_path)).backend):
        running.backend.migrate()
        [ada] = running.add(OLD(name="Ada", code=1))
        migrate(tmp_path, NEW)
        with pytest.raises(UnavailableError, match="another release"):
            running.get(ada)
        with pytest.raises(UnavailableError, match="another release"):
            running.add(OLD(name="Bob", code=2))
    for start in (lambda: all_documents(tmp_path, OLD), lambda: migrate(tmp_path, OLD)):
        with pytest.raises((MigrationRequiredError, MigrationRefusedError), match="renamed the table users to people"):
            start()
    back = thing(INDEXES, table="users", renamed_from="people", name=str, code=int | None)
    assert migrate(tmp_path, back) == ["rename table people to users", BY_ID.format("users")]
    assert [one.id for one in all_documents(tmp_path, back)] == [ada]


# --- fields --------------------------------------------------------------------------------------------------------


def test_a_renamed_field_keeps_its_values(tmp_path: Path) -> None:
    """`renamed_from` in an annotation renames the column, with its values, default and indexes."""
    old = thing({"by_name": ["full_name"], "by_code": unique("number")}, full_name=str, number=(int | None, None))
    create_with(tmp_path, old, old(full_name="Ada", number=1), old(full_name="Bob"))
    new = thing(
        {"by_name": ["name"], "by_code": unique("code")},
        name=renamed("full_name"),
        code=(renamed("number", int | None), None),
    )
    assert migrate(tmp_path, new) == ["rename column things.full_name to name", "rename column things.number to code"]
    assert migrate(tmp_path, new) == []
    with closing((app := Deployment(new, folder=tmp_path)).backend):
        found = app.read(lambda db: db.query(new).with_index("by_name", name="Ada").unique())
        assert found is not None and (found.name, found.code) == ("Ada", 1)
        with pytest.raises(UniqueConstraintError):
            app.add(new(name="Cid", code=1))
        app.add(new(name="Dan"))


def test_a_forgotten_rename_of_a_field_is_hinted_at(tmp_path: Path) -> None:
    """A migration that misses a value or would drop one hints at `renamed_from` before it hints at losing data."""
    old = thing(full_name=str)
    create_with(tmp_path, old, old(full_name="Ada"))
    with pytest.raises(MigrationRefusedError, match=r"renamed_from\('full_name'\).*default"):
        migrate(tmp_path, thing(name=str))
    with pytest.raises(MigrationRefusedError, match=r'renamed_from\("full_name"\).*--allow-destructive'):
        migrate(tmp_path, thing(name=(str, "")))


def test_a_forgotten_rename_of_a_table_is_hinted_at(tmp_path: Path) -> None:
    """A migration that is refused beside rows without a class names the table and `renamed_from`."""
    create_with(tmp_path, OLD, OLD(name="Ada", code=1))
    other = thing(table="others", text=str)
    create_with(tmp_path, other, other(text="a"))
    hint = r'No class describes the rows of the table users.*renamed_from="users"'
    with pytest.raises(MigrationRefusedError, match=hint):
        migrate(tmp_path, thing(table="others"))


# --- classes that cannot work ----------------------------------------------------------------------------------------


class Address(msgspec.Struct):
    street: Annotated[str, renamed_from("road")] = ""


class Place(TypedDict):
    address: Address


class Tree(msgspec.Struct):
    children: list["Tree"]


@pytest.mark.parametrize(
    "annotation", [Address, Address | None, dict[str, Address], Place, list[Annotated[str, renamed_from("road")]]]
)
def test_old_names_inside_a_value(annotation: Any) -> None:
    """An old name inside the value of a field is refused, since the stored JSON keeps the old name."""
    with pytest.raises(RegistrationError, match=r"Thing\.value: renamed_from works on the fields of a document only"):
        Schema(thing(value=annotation))
    Schema(thing(value=Tree))


def test_old_names_that_cannot_work(tmp_path: Path) -> None:
    """An old name that another class or field has, or that is no name, is refused when it is declared."""
    with pytest.raises(RegistrationError, match=r"Thing: ids that begin with 'users' belong to Thing"):
        Schema(OLD, NEW)
    with pytest.raises(RegistrationError, match="ids that begin with 'users'"):
        Schema(NEW, thing(table="guests", renamed_from="users", name=str))
    with pytest.raises(RegistrationError, match="cannot be renamed_from itself"):
        thing(table="users", renamed_from="users", name=str)
    with pytest.raises(RegistrationError, match="must start with a letter"):
        thing(table="users", renamed_from="_storage", name=str)
    with pytest.raises(RegistrationError, match=r"Thing\.name is renamed_from\('other'\), which is a field"):
        thing(name=renamed("other"), other=str)
    with pytest.raises(RegistrationError, match=r"renamed_from\('a'\), which is an old name of 'name' already"):
        thing(name=renamed("a"), other=renamed("a"))
    with pytest.raises(ArgumentValidationError), closing((app := Deployment(NEW, folder=tmp_path)).backend):
        app.backend.schema.table_of("others_" + "0" * 32)
