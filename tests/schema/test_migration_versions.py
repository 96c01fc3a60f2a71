"""Migrations beside tables of other programs and beside older code, and migrations that are interrupted."""

from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest

from flask_convex_http import EngineError, MigrationRefusedError, MigrationRequiredError, UnavailableError
from flask_convex_http.schema.migrations import plan
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, SQLITE_ONLY, database_digest, rows
from tests.deployment import Deployment
from tests.versions import all_documents, create_with, migrate, thing

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


@SQLITE_ONLY
def test_what_others_have_made_stays(tmp_path: Path) -> None:
    """Tables, indexes, views and triggers of other programs survive, even when their table is rebuilt."""
    kind = thing(name=str, size=int)
    create_with(tmp_path, kind, kind(name="a", size=1))
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
    create_with(tmp_path, newer, newer(name="b", size=2.5))
    assert rows(tmp_path, "SELECT text FROM notes") == [("mine",), ("b",)]
    assert rows(tmp_path, "SELECT name FROM names") == [("a",), ("b",)]
    assert rows(tmp_path, "SELECT count(*) FROM sqlite_master WHERE name = 'my_index'") == [(1,)]
    with pytest.raises(MigrationRefusedError, match=r"Could not drop column things\.size.*my_index"):
        migrate(tmp_path, thing(name=str | None, more=(str, "x")), allow_destructive=True)


def test_a_column_changed_by_others_is_noticed(tmp_path: Path, each_engine: str) -> None:
    """A column that another program added, or whose type it changed, is seen as it is now."""
    kind = thing(name=str)
    create_with(tmp_path, kind, kind(name="a"))
    whole = "INTEGER" if each_engine == "sqlite" else "BIGINT"
    rows(tmp_path, f"ALTER TABLE things ADD COLUMN size {whole}")
    assert migrate(tmp_path, thing(name=str, size=int | None)) == ["change what things.size takes (its rows fit)"]
    rows(tmp_path, "ALTER TABLE things ADD COLUMN other TEXT")
    with pytest.raises(MigrationRefusedError, match=r"drop column things\.other"):
        migrate(tmp_path, thing(name=str, size=int | None))


def test_a_lost_memory_of_the_shape_is_no_disaster(tmp_path: Path) -> None:
    """If the stored shape of the tables is damaged, the migration inspects the tables themselves."""
    kind = thing({"by_name": ["name"]}, name=str, size=int | None)
    create_with(tmp_path, kind, kind(name="a", size=5))
    for damage in ("nonsense", "[]", '{"things": 5}'):
        rows(tmp_path, "UPDATE _settings SET value = ? WHERE key = 'shape'", damage)
        assert all_documents(tmp_path, kind)[0].name == "a"
        migrate(tmp_path, kind)


def test_a_change_midway_that_fails_undoes_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted migration leaves the database as it was."""
    old = thing(name=str, size=int)
    new = thing({"by_name": ["name"]}, name=str | None, size=float, more=(str, "x"))
    create_with(tmp_path, old, old(name="a", size=5))
    before = database_digest(tmp_path)
    with closing(Deployment(new, folder=tmp_path).backend) as backend:

        class Failing:
            """Steps that crash after a number of them."""

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
            assert database_digest(tmp_path) == before
    assert len(migrate(tmp_path, new)) == 4


def test_old_code_runs_on_a_newer_schema(tmp_path: Path) -> None:
    """Code that is one schema behind continues to read and write, started before the migration or after it."""
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
    found = all_documents(tmp_path, new)
    assert [(one.name, one.color, one.note, one.level) for one in found] == [
        (name, "re'd()", None, 5) for name in ("a", "b", "c")
    ]


def test_old_code_does_not_run_on_what_it_cannot_read(tmp_path: Path) -> None:
    """Code that is behind an incompatible change reports that the database does not fit."""
    old, new = thing(name=str), thing(name=str | None)
    create_with(tmp_path, old, old(name="a"))
    migrate(tmp_path, new)
    create_with(tmp_path, new, new(name=None))
    with pytest.raises(MigrationRequiredError, match="does not fit the schema"):
        all_documents(tmp_path, old)


def test_a_newer_required_column_is_an_error_for_old_code(tmp_path: Path) -> None:
    """Old code that cannot fill a required column gets an error of this package, and nothing is written."""
    old = thing(name=str)
    migrate(tmp_path, old)
    migrate(tmp_path, thing(name=str, size=int))
    with pytest.raises(EngineError, match="SQL"), closing((app := Deployment(old, folder=tmp_path)).backend):
        app.add(old(name="a"))


def test_an_old_process_does_not_read_a_dropped_column(tmp_path: Path) -> None:
    """A process whose class has a column that a newer release has dropped gets UnavailableError, not wrong values."""
    old = thing({"by_size": ["size"]}, name=str, size=(str, "large"))
    with closing(Deployment(old, folder=tmp_path).backend) as backend:
        backend.migrate()
        app = Deployment(old, folder=tmp_path)
        with closing(app.backend):
            [one] = app.add(old(name="a"))
            migrate(tmp_path, thing(name=str), allow_destructive=True)
            for work in (
                lambda: app.get(one),
                lambda: app.read(lambda db: db.query(old).collect()),
                lambda: app.read(lambda db: list(db.query(old).with_index("by_size", size="size"))),
                lambda: app.add(old(name="b")),
                lambda: app.write(lambda db: db.patch(one, size="small")),
            ):
                with pytest.raises(UnavailableError, match="migrated for another release") as caught:
                    work()
                assert caught.value.by_engine
                assert "size" not in str(caught.value)


def test_an_earlier_database_gets_the_names_of_files(tmp_path: Path) -> None:
    """A database that was made before files had names keeps its files, which have none."""
    kind = thing(name=str)
    with closing(Deployment(kind, folder=tmp_path).backend) as backend:
        backend.migrate()
        file = backend.ctx().storage.store(b"photo", content_type="image/png")
    for statement in ("ALTER TABLE _storage DROP COLUMN name", "DROP TABLE _used_uploads"):
        rows(tmp_path, statement)
    rows(tmp_path, "UPDATE _settings SET value = '[]' WHERE key = 'shape'")
    steps = migrate(tmp_path, kind)
    assert "add column _storage.name (text)" in steps
    assert [step for step in steps if step.startswith("create table")] == [
        "create table _used_uploads (nonce, expires)"
    ]
    with closing(Deployment(kind, folder=tmp_path).backend) as backend:
        stored = backend.ctx().storage.get_metadata(file)
        assert stored is not None and (stored.size, stored.name) == (5, None)
