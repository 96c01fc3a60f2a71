"""Migrations: from the existing tables to the tables of the schema, without silent loss."""

import datetime
import enum
import itertools
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from flask_convex_http import (
    MigrationRefusedError,
    MigrationRequiredError,
    UniqueConstraintError,
    gt,
    unique,
)
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, SQLITE_ONLY, columns, database_digest, rows
from tests.deployment import Deployment
from tests.versions import all_documents, create_with, migrate, thing

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


#: Two columns that every table has, and a field of each kind.
TYPES = {
    "sqlite": ["TEXT", "REAL", "TEXT", "INTEGER", "REAL", "INTEGER", "BLOB", "TEXT", "TEXT", "TEXT"],
    "postgres": [
        *("text", "double precision", "text", "bigint", "double precision"),
        *("boolean", "bytea", "text", "json", "text"),
    ],
}


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(msgspec.Struct, frozen=True):
    street: str


# --- making tables -----------------------------------------------------------------------------------------------


def test_the_first_migration_makes_tables_and_indexes(tmp_path: Path) -> None:
    """A new database gets every table of the schema and of the package; a second migration has no steps."""
    kind = thing({"by_name": ["name"], "by_code": unique("code")}, name=str, code=int | None)
    steps = migrate(tmp_path, kind)
    assert steps[:3] == [
        "create table things (name, code)",
        "create index by_name on things (name)",
        "create unique index by_code on things (code)",
    ]
    assert {step.split()[2] for step in steps if step.startswith("create table")} >= {"_storage", "api_keys"}
    assert migrate(tmp_path, kind) == []
    assert migrate(tmp_path, thing({"by_code": unique("code"), "by_name": ["name"]}, code=int | None, name=str)) == []


def test_tables_are_what_others_expect(tmp_path: Path, each_engine: str) -> None:
    """Other programs see a table with a typed column for each field, NOT NULL where None is not allowed."""
    kind = thing(
        text=str,
        number=int,
        real=float,
        flag=bool,
        raw=bytes,
        at=datetime.datetime,
        tags=list[str],
        maybe=(str | None, None),
    )
    migrate(tmp_path, kind)
    found = columns(tmp_path, "things")
    assert {name: kind for name, (kind, _) in found.items()} == dict(zip(found, TYPES[each_engine], strict=True))
    assert list(found) == ["_id", "_creation_time", "text", "number", "real", "flag", "raw", "at", "tags", "maybe"]
    assert [name for name, (_, is_nullable) in found.items() if is_nullable] == ["maybe"]


@SQLITE_ONLY
def test_tables_are_strict(tmp_path: Path) -> None:
    """SQLite tables are STRICT, so that a column rejects values of other types."""
    migrate(tmp_path, thing(text=str))
    [(sql,)] = rows(tmp_path, "SELECT sql FROM sqlite_master WHERE name = 'things'")
    assert sql.endswith("STRICT")


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """A dry run returns the steps, creates no file and changes no existing one."""
    old, new = thing(name=str), thing({"by_name": ["name"]}, name=str | None, color=(str, "red"))
    assert migrate(tmp_path / "sub", old, dry_run=True)[0] == "create table things (name)"
    assert not (tmp_path / "sub" / "convex.db").exists()
    create_with(tmp_path, old, old(name="a"))
    before = database_digest(tmp_path)
    steps = migrate(tmp_path, new, dry_run=True)
    assert steps == [
        "change column things.name to text or None",
        "add column things.color (text)",
        "create index by_name on things (name)",
    ]
    assert database_digest(tmp_path) == before
    assert migrate(tmp_path, new) == steps


def test_a_dry_run_finds_what_fails(tmp_path: Path) -> None:
    """A dry run reports every refusal."""
    kind = thing(name=str)
    create_with(tmp_path, kind, kind(name="a"))
    with pytest.raises(MigrationRefusedError):
        migrate(tmp_path, thing(name=str, size=int), dry_run=True)


def test_an_unmigrated_database_says_which_command_to_run(tmp_path: Path) -> None:
    """Without tables, or with a column or an index missing, reads and writes name the command to run."""
    kind = thing(name=str)
    versions = [kind, thing(name=str, size=(int, 0)), thing({"by_name": ["name"]}, name=str), thing(name=str | None)]
    for version in versions:
        with closing((app := Deployment(version, folder=tmp_path)).backend):
            uses: list[Callable[[Any], Any]] = [app.read, app.write]
            for use in uses:
                with pytest.raises(MigrationRequiredError, match="flask convex migrate"):
                    use(lambda db: 5)
        migrate(tmp_path, kind)


# --- adding columns ----------------------------------------------------------------------------------------------

DEFAULTS: list[tuple[Any, Any]] = [
    *[
        (str, text)
        for text in (
            "a')",
            "'x'",
            "TRUE",
            "NULL",
            "now()",
            "CURRENT_TIME",
            '"name"',
            "",
            "it's",
            "5",
            "a\0b",
            "\U0001f600",
            "--",
            "(1)",
        )
    ],
    (int, 5),
    (int, -(2**63)),
    (float, 1.5),
    (float, float("inf")),
    (bool, True),
    (bytes, b"a\0'b"),
    (datetime.datetime, datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)),
    (Color, Color.BLUE),
    (Literal["s", "m"], "m"),
    (list[str], []),
    (Line, Line("it's ('x')")),
    (str | None, None),
    (str | None, "now()"),
]


@pytest.mark.parametrize(("annotation", "default"), DEFAULTS)
def test_a_new_column_fills_rows_with_its_default(tmp_path: Path, annotation: Any, default: Any) -> None:
    """Existing rows get exactly the default of a new column, with any characters in its text."""
    old, new = thing(name=str), thing(name=str, extra=(annotation, default))
    create_with(tmp_path, old, old(name="a"), old(name="b"))
    migrate(tmp_path, new)
    assert [(found.name, found.extra) for found in all_documents(tmp_path, new)] == [("a", default), ("b", default)]
    assert migrate(tmp_path, new) == []
    # ... and later changes of the table keep it
    newer = thing(name=str | None, extra=(annotation, default), more=(int, 1))
    migrate(tmp_path, newer)
    assert [found.extra for found in all_documents(tmp_path, newer)] == [default, default]


def test_a_factory_fills_rows_too(tmp_path: Path) -> None:
    """A default factory is called once when the column is added, for all rows."""
    numbers = itertools.count(1)
    old = thing(name=str)
    new = thing(name=str, extra=(int, msgspec.field(default_factory=lambda: next(numbers))))
    create_with(tmp_path, old, old(name="a"), old(name="b"))
    migrate(tmp_path, new)
    assert len({found.extra for found in all_documents(tmp_path, new)}) == 1


def test_a_new_required_column_needs_empty_tables(tmp_path: Path) -> None:
    """A new field without a default is refused while there are rows, and the message names one."""
    old, new = thing(name=str), thing(name=str, size=int)
    [thing_id] = create_with(tmp_path, old, old(name="a"))
    before = database_digest(tmp_path)
    with pytest.raises(MigrationRefusedError, match=rf"things\.size is new and required.*{thing_id}.*class Thing"):
        migrate(tmp_path, new)
    assert database_digest(tmp_path) == before
    with closing((app := Deployment(old, folder=tmp_path)).backend):
        app.write(lambda db: db.delete(thing_id))
    assert migrate(tmp_path, new) == ["add column things.size (integer)"]
    create_with(tmp_path, new, new(name="a", size=5))


def test_a_new_optional_column_is_none(tmp_path: Path) -> None:
    """A new field that accepts None needs no default: existing rows have None."""
    old, new = thing(name=str), thing(name=str, size=int | None)
    create_with(tmp_path, old, old(name="a"))
    migrate(tmp_path, new)
    assert all_documents(tmp_path, new)[0].size is None


# --- dropping columns --------------------------------------------------------------------------------------------


def test_dropping_a_column_must_be_allowed(tmp_path: Path) -> None:
    """A removed field is refused with the option that allows it; with the option, its column is dropped."""
    old, new = thing({"by_size": ["size"]}, name=str, size=int), thing(name=str)
    [thing_id] = create_with(tmp_path, old, old(name="a", size=5))
    before = database_digest(tmp_path)
    with pytest.raises(MigrationRefusedError, match=rf"drop column things.size.*{thing_id}.*--allow-destructive"):
        migrate(tmp_path, new)
    assert database_digest(tmp_path) == before
    steps = migrate(tmp_path, new, allow_destructive=True)
    assert steps == ["drop index by_size of things", "drop column things.size and what it holds"]
    assert all_documents(tmp_path, new)[0].name == "a"
    assert migrate(tmp_path, new) == []


def test_a_table_that_left_the_schema_stays(tmp_path: Path) -> None:
    """A class that left the schema leaves its table, and its values are read again when it comes back."""
    kind, other = thing(tags=list[str], at=datetime.datetime, flag=bool), thing(table="others", name=str)
    value = kind(tags=["a"], at=datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC), flag=True)
    create_with(tmp_path, kind, value)
    assert "create table others (name)" in migrate(tmp_path, other)
    assert migrate(tmp_path, kind, other) == []
    [found] = all_documents(tmp_path, kind)
    assert (found.tags, found.at, found.flag) == (value.tags, value.at, value.flag)


# --- indexes -----------------------------------------------------------------------------------------------------


def test_indexes_come_change_and_go(tmp_path: Path) -> None:
    """Indexes are created, rebuilt when their fields change, and dropped, with rows in the table."""
    fields: dict[str, Any] = {"a": int, "b": int | None}
    kind = thing({"by_x": ["a"]}, **fields)
    create_with(tmp_path, kind, *[kind(a=number % 3, b=number) for number in range(9)])
    changed = thing({"by_x": ["b", "a"], "by_y": ["a"]}, **fields)
    assert migrate(tmp_path, changed) == [
        "drop index by_x of things",
        "create index by_x on things (b, a)",
        "create index by_y on things (a)",
    ]
    with closing((app := Deployment(changed, folder=tmp_path)).backend):
        found = app.read(lambda db: db.query(changed).with_index("by_x", b=gt(6)).collect())
    assert [one.b for one in found] == [7, 8]
    assert migrate(tmp_path, thing(**fields)) == ["drop index by_x of things", "drop index by_y of things"]


def test_a_unique_index_over_duplicates_is_refused(tmp_path: Path) -> None:
    """Rows with the same values prevent a unique index, and the message names one; None does not."""
    kind, strict = thing(code=int | None), thing({"by_code": unique("code")}, code=int | None)
    first, second, *_ = create_with(tmp_path, kind, kind(code=5), kind(code=5), kind(code=None), kind(code=None))
    before = database_digest(tmp_path)
    with pytest.raises(MigrationRefusedError, match=rf"things: the unique index by_code \(code\).*({first}|{second})"):
        migrate(tmp_path, strict)
    assert database_digest(tmp_path) == before
    with closing((app := Deployment(kind, folder=tmp_path)).backend):
        app.write(lambda db: db.patch(first, code=6))
    assert migrate(tmp_path, strict) == ["create unique index by_code on things (code)"]
    with pytest.raises(UniqueConstraintError):
        create_with(tmp_path, strict, strict(code=6))


def test_a_unique_index_over_a_default_is_refused(tmp_path: Path) -> None:
    """A new field with the same default in all rows cannot be unique."""
    old, new = thing(name=str), thing({"by_code": unique("code")}, name=str, code=(int, 5))
    create_with(tmp_path, old, old(name="a"), old(name="b"))
    with pytest.raises(MigrationRefusedError, match="create unique index by_code"):
        migrate(tmp_path, new)


def test_a_unique_field_may_start_and_stop_taking_none(tmp_path: Path) -> None:
    """A unique index stays unique when its field begins to accept None, and when it no longer does."""
    strict, loose = thing({"by_code": unique("code")}, code=int), thing({"by_code": unique("code")}, code=int | None)
    create_with(tmp_path, strict, strict(code=5))
    for kind, taken in ((loose, 5), (strict, 5), (loose, 5)):
        assert len(migrate(tmp_path, kind)) == 1
        with pytest.raises(UniqueConstraintError):
            create_with(tmp_path, kind, kind(code=taken))
        assert migrate(tmp_path, kind) == []
    create_with(tmp_path, loose, loose(code=None), loose(code=None))
    assert [one.code for one in all_documents(tmp_path, loose)] == [5, None, None]


def test_an_index_may_become_unique_and_back(tmp_path: Path) -> None:
    """A plain index becomes a unique one of the same name, and back."""
    for indexes in ({"by_code": ["code"]}, {"by_code": unique("code")}, {"by_code": ["code"]}):
        kind = thing(indexes, code=int | None)
        assert migrate(tmp_path, kind)
        assert migrate(tmp_path, kind) == []
    create_with(tmp_path, kind, kind(code=5), kind(code=5))
