"""Migrations: from the tables that are there to the tables of the schema, without losing anything silently."""

import datetime
import enum
import hashlib
import types
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from flask_convex_http import (
    Document,
    EngineError,
    Id,
    MigrationRefusedError,
    MigrationRequiredError,
    UniqueConstraintError,
    gt,
    unique,
)
from flask_convex_http.migrations import plan
from tests.deployment import Deployment, deployed, rows

UNSET = object()


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(msgspec.Struct, frozen=True):
    street: str


class LongLine(msgspec.Struct, frozen=True):
    street: str
    number: int = 5


def thing(indexes: Any = None, *, table: str = "things", **fields: Any) -> Any:
    """A version of the class Thing; a field is its annotation, or (annotation, default)."""
    body: dict[str, Any] = {"__annotations__": {}, "__module__": __name__}
    for name, field in fields.items():
        annotation, default = field if isinstance(field, tuple) else (field, UNSET)
        body["__annotations__"][name] = annotation
        if default is not UNSET:
            body[name] = default
    return types.new_class("Thing", (Document,), {"table": table, "indexes": indexes}, lambda own: own.update(body))


def start(folder: Path, kind: Any, *documents: Any) -> list[Any]:
    """A deployment with that version of the class and these documents in it."""
    with deployed(kind, folder=folder) as app:
        return app.add(*documents)


def migrate(folder: Path, *kinds: Any, **options: Any) -> list[str]:
    """Bring the database to another version; answers the steps."""
    with closing(Deployment(*kinds, folder=folder).backend) as backend:
        return [str(step) for step in backend.migrate(**options)]


def stored(folder: Path, kind: Any) -> list[Any]:
    """Every document as that version of the class."""
    with closing((app := Deployment(kind, folder=folder)).backend):
        return app.read(lambda db: db.query(kind).collect())


def everything(folder: Path) -> str:
    """All tables, indexes and rows of the file."""
    dump = rows(folder, "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")
    for kind, name, _, _ in list(dump):
        if kind == "table":
            dump += rows(folder, f'SELECT * FROM "{name}" ORDER BY 1')
    return hashlib.sha256(repr(dump).encode()).hexdigest()


# --- making tables -----------------------------------------------------------------------------------------------


def test_the_first_migration_makes_tables_and_indexes(tmp_path: Path) -> None:
    """A new database gets every table of the schema and of the package; a second migration has nothing to do."""
    kind = thing({"by_name": ["name"], "by_code": unique("code")}, name=str, code=int | None)
    steps = migrate(tmp_path, kind)
    assert steps[:4] == [
        "create table things (name, code)",
        "create index by_creation_time on things (creation time)",
        "create index by_name on things (name)",
        "create unique index by_code on things (code)",
    ]
    assert {step.split()[2] for step in steps if step.startswith("create table")} >= {"_storage", "api_keys"}
    assert migrate(tmp_path, kind) == []
    assert migrate(tmp_path, thing({"by_code": unique("code"), "by_name": ["name"]}, code=int | None, name=str)) == []


def test_tables_are_what_others_expect(tmp_path: Path) -> None:
    """Other programs see a strict table with a typed column per field, NOT NULL where None is not allowed."""
    kind = thing(
        text=str, number=int, real=float, flag=bool, raw=bytes, at=datetime.datetime, tags=list[str], maybe=(str | None, None)
    )
    migrate(tmp_path, kind)
    [(sql,)] = rows(tmp_path, "SELECT sql FROM sqlite_master WHERE name = 'things'")
    assert sql.endswith("STRICT")
    columns = {
        name: (kind, not_null) for _, name, kind, not_null, _, _ in rows(tmp_path, "PRAGMA table_info(things)")
    }
    assert columns == {
        "_id": ("TEXT", 1),
        "_creation_time": ("REAL", 1),
        "text": ("TEXT", 1),
        "number": ("INTEGER", 1),
        "real": ("REAL", 1),
        "flag": ("INTEGER", 1),
        "raw": ("BLOB", 1),
        "at": ("TEXT", 1),
        "tags": ("TEXT", 1),
        "maybe": ("TEXT", 0),
    }


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """A dry run answers the steps; not even a file is made, and one that is there stays as it is."""
    old, new = thing(name=str), thing({"by_name": ["name"]}, name=str | None, color=(str, "red"))
    assert migrate(tmp_path / "sub", old, dry_run=True)[0] == "create table things (name)"
    assert not (tmp_path / "sub").exists()
    start(tmp_path, old, old(name="a"))
    before = everything(tmp_path)
    steps = migrate(tmp_path, new, dry_run=True)
    assert steps == [
        "change column things.name to text or None",
        "add column things.color (text)",
        "create index by_name on things (name)",
    ]
    assert everything(tmp_path) == before
    assert migrate(tmp_path, new) == steps


def test_a_dry_run_finds_what_fails(tmp_path: Path) -> None:
    """What would be refused is refused in a dry run as well."""
    kind = thing(name=str)
    start(tmp_path, kind, kind(name="a"))
    with pytest.raises(MigrationRefusedError):
        migrate(tmp_path, thing(name=str, size=int), dry_run=True)


def test_an_unmigrated_database_says_which_command_to_run(tmp_path: Path) -> None:
    """Without tables, with a column or an index missing, reading and writing name the command."""
    kind = thing(name=str)
    versions = [kind, thing(name=str, size=(int, 0)), thing({"by_name": ["name"]}, name=str), thing(name=str | None)]
    for version in versions:
        with closing((app := Deployment(version, folder=tmp_path)).backend):
            for use in (lambda app=app: app.read(lambda db: 5), lambda app=app: app.write(lambda db: 5)):
                with pytest.raises(MigrationRequiredError, match="flask convex migrate"):
                    use()
        migrate(tmp_path, kind)


# --- adding columns ----------------------------------------------------------------------------------------------

DEFAULTS: list[tuple[Any, Any]] = [
    *[
        (str, text)
        for text in ("a')", "'x'", "TRUE", "NULL", "now()", "CURRENT_TIME", '"name"', "", "it's", "5", "a\0b", "\U0001f600", "--", "(1)")
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
    """Rows that are there get the default exactly as it is, whatever SQL would make of its text."""
    old, new = thing(name=str), thing(name=str, extra=(annotation, default))
    start(tmp_path, old, old(name="a"), old(name="b"))
    migrate(tmp_path, new)
    assert [(found.name, found.extra) for found in stored(tmp_path, new)] == [("a", default), ("b", default)]
    assert migrate(tmp_path, new) == []
    # ... and later changes of the table keep it
    newer = thing(name=str | None, extra=(annotation, default), more=(int, 1))
    migrate(tmp_path, newer)
    assert [found.extra for found in stored(tmp_path, newer)] == [default, default]


def test_a_factory_fills_rows_too(tmp_path: Path) -> None:
    """A default factory is asked once, when the column is added."""
    asked: list[int] = []
    old = thing(name=str)
    new = thing(name=str, extra=(int, msgspec.field(default_factory=lambda: asked.append(1) or len(asked))))
    start(tmp_path, old, old(name="a"), old(name="b"))
    migrate(tmp_path, new)
    assert [found.extra for found in stored(tmp_path, new)] == [1, 1]


def test_a_new_required_column_needs_empty_tables(tmp_path: Path) -> None:
    """A field without a default is refused while there are rows, and the message names one; without rows it is not."""
    old, new = thing(name=str), thing(name=str, size=int)
    [thing_id] = start(tmp_path, old, old(name="a"))
    before = everything(tmp_path)
    with pytest.raises(MigrationRefusedError, match=f"things.size is new and required.*{thing_id}.*class Thing"):
        migrate(tmp_path, new)
    assert everything(tmp_path) == before
    with closing((app := Deployment(old, folder=tmp_path)).backend):
        app.write(lambda db: db.delete(thing_id))
    assert migrate(tmp_path, new) == ["add column things.size (integer)"]
    start(tmp_path, new, new(name="a", size=5))


def test_a_new_optional_column_is_none(tmp_path: Path) -> None:
    """A field that takes None needs no default: rows that are there have None."""
    old, new = thing(name=str), thing(name=str, size=int | None)
    start(tmp_path, old, old(name="a"))
    migrate(tmp_path, new)
    assert stored(tmp_path, new)[0].size is None


# --- dropping columns --------------------------------------------------------------------------------------------


def test_dropping_a_column_must_be_allowed(tmp_path: Path) -> None:
    """A field that is gone is refused with the command that allows it; allowed, its column is dropped."""
    old, new = thing({"by_size": ["size"]}, name=str, size=int), thing(name=str)
    [thing_id] = start(tmp_path, old, old(name="a", size=5))
    before = everything(tmp_path)
    with pytest.raises(MigrationRefusedError, match=rf"drop column things.size.*{thing_id}.*--allow-destructive"):
        migrate(tmp_path, new)
    assert everything(tmp_path) == before
    steps = migrate(tmp_path, new, allow_destructive=True)
    assert steps == ["drop index by_size of things", "drop column things.size and what it holds"]
    assert stored(tmp_path, new)[0].name == "a"
    assert migrate(tmp_path, new) == []


def test_a_table_that_left_the_schema_stays(tmp_path: Path) -> None:
    """A class that is no longer in the schema leaves its table; when it comes back its values are understood."""
    kind, other = thing(tags=list[str], at=datetime.datetime, flag=bool), thing(table="others", name=str)
    value = kind(tags=["a"], at=datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC), flag=True)
    start(tmp_path, kind, value)
    assert "create table others (name)" in migrate(tmp_path, other)
    assert migrate(tmp_path, kind, other) == []
    [found] = stored(tmp_path, kind)
    assert (found.tags, found.at, found.flag) == (value.tags, value.at, value.flag)


# --- changing types ------------------------------------------------------------------------------------------------

NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("old", "new", "values", "expected"),
    [
        (int, float, [1, -5, 2**53], [1.0, -5.0, 2.0**53]),
        (int | None, float | None, [1, None], [1.0, None]),
        (str, Literal["a", "b"], ["a", "b", "a"], ["a", "b", "a"]),
        (str, Color, ["red"], [Color.RED]),
        (Color, str, [Color.RED], ["red"]),
        (Literal["a"], Literal["a", "b"], ["a"], ["a"]),
        (str, str | None, ["a"], ["a"]),
        (str | None, str, ["a"], ["a"]),
        (list[str], list[str] | None, [["a"]], [["a"]]),
        (str, datetime.datetime, ["2024-05-01T12:00:00Z", "2024-05-01T14:00:00.000+02:00"], [NOON, NOON]),
        (datetime.datetime, str, [NOON], ["2024-05-01T12:00:00.000000Z"]),
        (str | int, str, ["a", "b"], ["a", "b"]),
        (str, str | int, ["a", '"b"'], ["a", '"b"']),
        (int, str | int, [5], [5]),
        (Any, int, [5, -1], [5, -1]),
        (Any, bool | None, [True, None], [True, None]),
        (Any, datetime.datetime, ["2024-05-01T12:00:00+00:00"], [NOON]),
        (bool, Any, [True, False], [True, False]),
        (Line, LongLine, [Line("Main")], [LongLine("Main", 5)]),
        (list[datetime.datetime], list[datetime.datetime] | None, [[NOON]], [[NOON]]),
        (dict[str, str], Line, [{"street": "Main"}], [Line("Main")]),
        (Any, list[str], [["a"], []], [["a"], []]),
        (int, Annotated[int, msgspec.Meta(ge=1)], [1, 2], [1, 2]),
        (bytes, bytes | None, [b"\0"], [b"\0"]),
        (bool, bool | None, [True, False], [True, False]),
    ],
)
def test_types_change_where_every_row_fits(tmp_path: Path, old: Any, new: Any, values: Any, expected: Any) -> None:
    """A column whose values all fit the new type is changed, and they mean the same as before."""
    before, after = thing(field=old, name=(str, "x")), thing({"by_name": ["name"]}, field=new, name=(str, "x"))
    ids = start(tmp_path, before, *[before(field=value) for value in values])
    migrate(tmp_path, after)
    found = stored(tmp_path, after)
    assert [one.field for one in found] == expected
    assert [type(one.field) for one in found] == [type(value) for value in expected]
    assert [one.id for one in found] == ids
    assert migrate(tmp_path, after) == []
    [(sql,)] = rows(tmp_path, "SELECT sql FROM sqlite_master WHERE name = 'things'")
    assert "ANY" not in sql and sql.endswith("STRICT")
    assert ("NOT NULL" in next(line for line in sql.splitlines() if '"field"' in line)) == (type(None) not in getattr(new, "__args__", ()) and new is not Any)


@pytest.mark.parametrize(
    ("old", "new", "fitting", "wrong"),
    [
        (float, int, [], 1.5),
        (float, int, [], 1.0),
        (int, float, [1], 2**53 + 1),
        (str, Literal["a", "b"], ["a"], "c"),
        (str, Color, ["red"], "green"),
        (Literal["a", "b"], Literal["a"], ["a"], "b"),
        (str | None, str, ["a"], None),
        (int | None, float, [1], None),
        (list[str] | None, list[str], [["a"]], None),
        (str, int, [], "5"),
        (int, str, [], 5),
        (int, bool, [], 1),
        (bool, int, [], True),
        (str, bytes, [], "YWJj"),
        (str, datetime.datetime, ["2024-05-01T12:00:00Z"], "2024-05-01T12:00:00"),
        (str, datetime.datetime, [], "yesterday"),
        (str, list[str], [], '["a"]'),
        (Any, int, [5], "five"),
        (Any, str, ["a"], ["a"]),
        (list[str], list[int], [[]], ["a"]),
        (Line, dict[str, int], [], Line("Main")),
        (int, Annotated[int, msgspec.Meta(ge=1)], [1], 0),
        (str, Annotated[str, msgspec.Meta(max_length=2)], ["ab"], "abc"),
        (str, Id["Thing"], [], "things_5"),
    ],
)
def test_types_do_not_change_where_a_row_does_not_fit(
    tmp_path: Path, old: Any, new: Any, fitting: list[Any], wrong: Any
) -> None:
    """One row that does not fit refuses the whole migration, and the message names it."""
    before, after = thing(field=old), thing(field=new, more=(int, 5))
    *_, wrong_id = start(tmp_path, before, *[before(field=value) for value in [*fitting, wrong]])
    state = everything(tmp_path)
    with pytest.raises(MigrationRefusedError, match=rf"things.field cannot become .*the row {wrong_id} does not fit"):
        migrate(tmp_path, after)
    assert everything(tmp_path) == state
    assert len(stored(tmp_path, before)) == len(fitting) + 1


def test_types_change_freely_without_rows(tmp_path: Path) -> None:
    """In an empty table any type may become any other."""
    annotations: list[Any] = [str, int | None, list[str], bytes, datetime.datetime | None, float, bool, Any, str]
    for annotation in annotations:
        kind = thing(field=annotation)
        migrate(tmp_path, kind)
        assert migrate(tmp_path, kind) == []
        assert stored(tmp_path, kind) == []


# --- indexes -----------------------------------------------------------------------------------------------------


def test_indexes_come_change_and_go(tmp_path: Path) -> None:
    """Indexes are made, made anew when their fields change, and dropped, with rows in the table."""
    fields: dict[str, Any] = {"a": int, "b": int | None}
    kind = thing({"by_x": ["a"]}, **fields)
    start(tmp_path, kind, *[kind(a=number % 3, b=number) for number in range(9)])
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
    """Rows with the same values stand in the way of a unique index, and the message names one; None does not."""
    kind, strict = thing(code=int | None), thing({"by_code": unique("code")}, code=int | None)
    first, _, _, _ = start(tmp_path, kind, kind(code=5), kind(code=5), kind(code=None), kind(code=None))
    before = everything(tmp_path)
    with pytest.raises(MigrationRefusedError, match=rf"things: the unique index by_code \(code\).*{first}"):
        migrate(tmp_path, strict)
    assert everything(tmp_path) == before
    with closing((app := Deployment(kind, folder=tmp_path)).backend):
        app.write(lambda db: db.patch(first, code=6))
    assert migrate(tmp_path, strict) == ["create unique index by_code on things (code)"]
    with pytest.raises(UniqueConstraintError):
        start(tmp_path, strict, strict(code=6))


def test_a_unique_index_over_a_default_is_refused(tmp_path: Path) -> None:
    """A new field in which all rows would be equal cannot be unique."""
    old, new = thing(name=str), thing({"by_code": unique("code")}, name=str, code=(int, 5))
    start(tmp_path, old, old(name="a"), old(name="b"))
    with pytest.raises(MigrationRefusedError, match="create unique index by_code"):
        migrate(tmp_path, new)


def test_a_unique_field_may_start_and_stop_taking_none(tmp_path: Path) -> None:
    """A unique index stays one when its field begins to take None and when it no longer does."""
    strict, loose = thing({"by_code": unique("code")}, code=int), thing({"by_code": unique("code")}, code=int | None)
    start(tmp_path, strict, strict(code=5))
    for kind, taken in ((loose, 5), (strict, 5), (loose, 5)):
        assert len(migrate(tmp_path, kind)) == 1
        with pytest.raises(UniqueConstraintError):
            start(tmp_path, kind, kind(code=taken))
        assert migrate(tmp_path, kind) == []
    start(tmp_path, loose, loose(code=None), loose(code=None))
    assert [one.code for one in stored(tmp_path, loose)] == [5, None, None]


def test_an_index_may_become_unique_and_back(tmp_path: Path) -> None:
    """A plain index and a unique one of the same name are made from one another."""
    for indexes in ({"by_code": ["code"]}, {"by_code": unique("code")}, {"by_code": ["code"]}):
        kind = thing(indexes, code=int | None)
        assert migrate(tmp_path, kind)
        assert migrate(tmp_path, kind) == []
    start(tmp_path, kind, kind(code=5), kind(code=5))


# --- other people, other versions --------------------------------------------------------------------------------


def test_what_others_have_made_stays(tmp_path: Path) -> None:
    """Tables, indexes, views and triggers of other people live on, also when the table they are on is made anew."""
    kind = thing(name=str, size=int)
    start(tmp_path, kind, kind(name="a", size=1))
    for statement in (
        "CREATE TABLE notes (text TEXT)",
        "INSERT INTO notes VALUES ('mine')",
        "CREATE INDEX my_index ON things (name, size)",
        "CREATE VIEW names AS SELECT name FROM things",
        "CREATE TRIGGER log AFTER INSERT ON things BEGIN INSERT INTO notes VALUES (new.name); END",
    ):
        rows(tmp_path, statement)
    newer = thing({"by_size": ["size"]}, name=str | None, size=float, more=(str, "x"))
    migrate(tmp_path, newer)
    start(tmp_path, newer, newer(name="b", size=2.5))
    assert rows(tmp_path, "SELECT text FROM notes") == [("mine",), ("b",)]
    assert rows(tmp_path, "SELECT name FROM names") == [("a",), ("b",)]
    assert rows(tmp_path, "SELECT count(*) FROM sqlite_master WHERE name = 'my_index'") == [(1,)]
    with pytest.raises(MigrationRefusedError, match="Could not drop column things.size.*my_index"):
        migrate(tmp_path, thing(name=str | None, more=(str, "x")), allow_destructive=True)


def test_a_column_changed_by_others_is_noticed(tmp_path: Path) -> None:
    """A column that somebody has added or whose type somebody has changed is seen as it is now."""
    kind = thing(name=str)
    start(tmp_path, kind, kind(name="a"))
    rows(tmp_path, "ALTER TABLE things ADD COLUMN size INTEGER")
    assert migrate(tmp_path, thing(name=str, size=int | None)) == ["change what things.size takes (its rows fit)"]
    rows(tmp_path, "ALTER TABLE things ADD COLUMN other TEXT")
    with pytest.raises(MigrationRefusedError, match="drop column things.other"):
        migrate(tmp_path, thing(name=str, size=int | None))


def test_a_lost_memory_of_the_shape_is_no_disaster(tmp_path: Path) -> None:
    """If what is remembered of the tables is damaged, they are looked at themselves."""
    kind = thing({"by_name": ["name"]}, name=str, size=int | None)
    start(tmp_path, kind, kind(name="a", size=5))
    for damage in ("nonsense", "[]", '{"things": 5}'):
        rows(tmp_path, "UPDATE _settings SET value = ? WHERE key = 'shape'", damage)
        assert stored(tmp_path, kind)[0].name == "a"
        migrate(tmp_path, kind)


def test_a_change_midway_that_fails_undoes_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends a migration half-way leaves the database as it was."""
    old = thing(name=str, size=int)
    new = thing({"by_name": ["name"]}, name=str | None, size=float, more=(str, "x"))
    start(tmp_path, old, old(name="a", size=5))
    before = everything(tmp_path)
    with closing(Deployment(new, folder=tmp_path).backend) as backend:

        class Failing:
            """Steps that end in a crash after so many."""

            def __init__(self, number: int) -> None:
                self.number = number

            def __call__(self, migration: Any) -> Any:
                steps = plan(backend.schema, migration)
                assert len(steps) == 4
                yield from steps[: self.number]
                yield "no step at all"

        for number in range(5):
            with pytest.raises(KeyError):
                backend.engine.migrate(Failing(number), dry_run=False)
            assert everything(tmp_path) == before
            assert not rows(tmp_path, "SELECT name FROM sqlite_master WHERE name LIKE '%_new_%'")
    assert len(migrate(tmp_path, new)) == 4


def test_old_code_runs_on_a_newer_schema(tmp_path: Path) -> None:
    """Code that is one schema behind goes on reading and writing, started before the migration or after it."""
    old = thing({"by_name": ["name"]}, name=str, size=(Literal["s", "m"], "s"))
    new = thing(
        {"by_name": ["name"], "by_color": ["color"]},
        name=str | None,
        size=(Literal["s", "m", "l"], "s"),
        color=(str, "re'd()"),
        note=str | None,
        tags=(list[str], []),
        level=(int, 5),
    )
    with closing((running := Deployment(old, folder=tmp_path)).backend):
        running.backend.migrate()
        [first] = running.add(old(name="a"))
        migrate(tmp_path, new)
        running.add(old(name="b"))
        running.write(lambda db: db.patch(first, size="m"))
        assert [one.name for one in running.read(lambda db: db.query(old).collect())] == ["a", "b"]
    with closing((restarted := Deployment(old, folder=tmp_path)).backend):
        restarted.add(old(name="c"))
        assert len(restarted.read(lambda db: db.query(old).with_index("by_name").collect())) == 3
    found = stored(tmp_path, new)
    assert [(one.name, one.color, one.note, one.level) for one in found] == [
        (name, "re'd()", None, 5) for name in ("a", "b", "c")
    ]


def test_old_code_does_not_run_on_what_it_cannot_read(tmp_path: Path) -> None:
    """Code that is behind a change it cannot live with says that the database does not fit."""
    old, new = thing(name=str), thing(name=str | None)
    start(tmp_path, old, old(name="a"))
    migrate(tmp_path, new)
    start(tmp_path, new, new(name=None))
    with pytest.raises(MigrationRequiredError, match="does not fit the schema"):
        stored(tmp_path, old)


def test_a_newer_required_column_is_an_error_for_old_code(tmp_path: Path) -> None:
    """Old code that cannot fill a required column gets an error of this package, and nothing is written."""
    old = thing(name=str)
    migrate(tmp_path, old)
    migrate(tmp_path, thing(name=str, size=int))
    with pytest.raises(EngineError, match="NOT NULL"):
        with closing((app := Deployment(old, folder=tmp_path)).backend):
            app.add(old(name="a"))
