"""Databases of the first format, in which ids had the milliseconds of their creation time only.

The SQL beside this module was written by the last commit of that format. Each transaction inserted an order, six lines
of one millisecond and a job. The table `people` was renamed from `users`, and has ids of both names.
"""

import contextlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flask_convex_http import Document, Id, between, gt, gte, unique
from flask_convex_http.config import Settings
from flask_convex_http.database.db import DatabaseReader
from flask_convex_http.schema.migrations import plan
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.sqlite.connections import sqlite3
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, folder_config, rows
from tests.deployment import Deployment
from tests.versions import migrate

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

SQL = Path(__file__).parent / "first_format"


class Order(
    Document,
    table="orders",
    indexes={"by_number": unique("number"), "by_state": ["state"], "by_note": unique("note")},
):
    number: int
    state: str
    note: str | None = None


class Line(Document, table="lines", indexes={"by_order": ["order"]}):
    order: Id[Order]
    text: str


class Person(Document, table="people", renamed_from="users", indexes={"by_name": ["name"]}):
    name: str


KINDS = (Order, Line, Person)


@pytest.fixture(name="old")
def _old(tmp_path: Path, each_engine: str) -> Path:
    """Return the folder of a database of the first format, to which only the tables of later releases were added."""
    text = (SQL / f"{each_engine}.sql").read_text()
    if each_engine == "sqlite":
        with closing(sqlite3.connect(tmp_path / "convex.db")) as connection:
            connection.executescript(text)
    else:
        with psycopg.connect(folder_config(tmp_path)["CONVEX_DATABASE_URL"]) as server:
            server.execute(text.encode())
    with opened(tmp_path) as app:
        app.backend.engine.migrate(lambda migration: plan(app.backend.schema, migration), dry_run=False)
    return tmp_path


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Deployment]:
    with closing((app := Deployment(*KINDS, folder=folder)).backend):
        yield app


def stored(folder: Path, table: str) -> list[Any]:
    """Return the rows as another program reads them, by creation time and then by id."""
    return sorted((tuple(row) for row in rows(folder, f'SELECT * FROM "{table}"')), key=lambda row: (row[1], row[0]))


def contents(app: Deployment) -> dict[str, Any]:
    """Return the ids of all documents in each order that an index gives, and the pages of them."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        for index in app.backend.schema.table_for(kind).indexes:
            for order in ("asc", "desc"):
                query = app.read(lambda db, k=kind, i=index, o=order: db.query(k).with_index(i).order(o).collect())  # type: ignore[misc]
                found[f"{kind.__name__}.{index} {order}"] = [one.id for one in query]
        found[f"{kind.__name__} pages"] = paged(app, kind)
    return found


def paged(app: Deployment, kind: Any) -> list[str]:
    found, cursor = [], None
    while True:
        page = app.read(lambda db, c=cursor: db.query(kind).paginate(num_items=4, cursor=c))  # type: ignore[misc]
        found += [one.id for one in page.page]
        cursor = page.continue_cursor
        if page.is_done:
            return found


def test_it_is_read_before_its_order_is_migrated(old: Path) -> None:
    """All documents are read in the order of creation, a cursor included, and new ones follow them."""
    with opened(old) as app:
        assert paged(app, Line) == [row[0] for row in stored(old, "lines")]
        [order] = app.add(Order(number=9, state="new"))
        assert app.read(lambda db: db.query(Order).collect())[-1].id == order
        assert app.read(lambda db: db.query(Order).order("desc").first()).id == order  # type: ignore[union-attr]


def test_the_migration_keeps_every_document_and_every_order(old: Path) -> None:
    """Tables whose ids are in order lose the index of creation times. Bursts and renamed tables keep it."""
    tables = ("orders", "lines", "people", "_scheduled_functions", "_settings")
    before = {table: stored(old, table) for table in tables}
    with opened(old) as app:
        ordered = contents(app)
    steps = migrate(old, *KINDS)
    assert {name for name in ("orders", "lines", "people") if any(f" of {name} " in step for step in steps)} == {
        "orders"
    }
    assert migrate(old, *KINDS) == []
    with opened(old) as app:
        assert contents(app) == ordered
        assert app.backend.engine.ordered_by_time() == {"lines", "people", "_storage"}
        assert app.backend.check(read_bytes=False, progress=lambda done, total: None).problems == []
        [job, *_] = app.read(lambda db: db.system.query(ScheduledFunction).collect())
        assert job.name == "reminders:remind" and job.state == "pending"
    after = {table: stored(old, table) for table in tables}
    assert after.pop("_settings")[0][:2] == before.pop("_settings")[0][:2]
    assert after == before


def test_a_cursor_outlives_the_migration(old: Path) -> None:
    """A page that was asked for before the migration is followed by the same documents after it."""
    with opened(old) as app:
        first = app.read(lambda db: db.query(Order).paginate(num_items=2))
    migrate(old, *KINDS)
    with opened(old) as app:
        second = app.read(lambda db: db.query(Order).paginate(num_items=9, cursor=first.continue_cursor))
        assert [order.number for order in first.page + second.page] == [0, 1, 2, 3, 4]


def test_creation_times_are_found_by_id(old: Path) -> None:
    """A range of creation times has the same documents with and without an index of them."""
    times = [row[1] for row in stored(old, "orders")]

    ranges = [gt(times[1]), gte(times[1]), between(times[1], times[3]), times[2], times[2] + 0.1]

    def numbers(db: DatabaseReader, time: Any) -> tuple[list[int], list[int]]:
        everything = db.query(Order).with_index("by_creation_time", creation_time=time)
        paid = db.query(Order).with_index("by_state", state="paid", creation_time=time)
        return [one.number for one in everything], [one.number for one in paid]

    def found(app: Deployment) -> list[tuple[list[int], list[int]]]:
        return app.read(lambda db: [numbers(db, time) for time in ranges])

    with opened(old) as app:
        before = found(app)
    migrate(old, *KINDS)
    with opened(old) as app:
        assert found(app) == before
    assert before == [([2, 3, 4], [2, 4]), ([1, 2, 3, 4], [2, 4]), ([1, 2, 3], [2]), ([2], [2]), ([], [])]


def test_a_renamed_table_is_in_order_once_its_old_ids_are_gone(old: Path) -> None:
    """Each migration looks again."""
    migrate(old, *KINDS)
    with opened(old) as app:
        for person in app.read(lambda db: db.query(Person).collect())[:2]:
            assert person.id.startswith("users_")
            app.write(lambda db, gone=person.id: db.delete(gone))  # type: ignore[misc]
    [step] = migrate(old, *KINDS)
    assert "by_creation_time of people" in step
    with opened(old) as app:
        assert [one.name for one in app.read(lambda db: db.query(Person).with_index("by_name").collect())] == [
            "Cid",
            "Dan",
        ]


def test_a_move_keeps_the_order(old: Path) -> None:
    """The tables of the target are ordered as those of the source, and a migration of the target looks at them."""
    with opened(old) as app:
        before = contents(app)
        with app.backend.move(database_url=f"sqlite:///{old / 'new.db'}", storage_url=None) as run:
            assert run.run(lambda label: contextlib.nullcontext(lambda done, total: None)).is_same
    settings = Settings(database_url=f"sqlite:///{old / 'new.db'}")
    with closing((moved := Deployment(*KINDS, folder=old, settings=settings)).backend) as backend:
        assert contents(moved) == before and "orders" in backend.engine.ordered_by_time()
        backend.migrate()
        assert contents(moved) == before and "orders" not in backend.engine.ordered_by_time()
