"""Queries on PostgreSQL see one snapshot, though their first read has no transaction; and prepared statements."""

import enum
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flask_convex_http import Document, Id, QueryCtx, Schema, internal_query
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.engines import Snapshot
from flask_convex_http.engines.postgres.engine import PostgresEngine
from flask_convex_http.engines.postgres.snapshots import SnapshotChangedError
from tests.databases import PostgresServer, databases_from, memory_backend
from tests.engines.members import ITEMS, MEMBERS, increment, insert, insert_all, migrate, price_of, segment


@pytest.fixture(name="engine")
def _engine(postgres: PostgresServer, tmp_path: Path) -> Iterator[PostgresEngine]:
    """Yield an engine whose database has the items "a" and "b", with the price 1."""
    with databases_from(postgres):
        engine = MEMBERS["postgres"](tmp_path)
        assert isinstance(engine, PostgresEngine)
        with closing(engine):
            migrate(engine)
            insert_all(engine, "a", "b", price=1)
            yield engine


def test_reads_of_one_query(engine: PostgresEngine) -> None:
    """All reads of a query show one moment, though others commit after the second."""

    def query(snapshot: Snapshot) -> list[int | None]:
        first = [price_of(snapshot, key) for key in "ab"]
        increment(engine, "a")
        increment(engine, "b")
        return first + [price_of(snapshot, key) for key in "ab"]

    assert engine.read(query) == [1, 1, 1, 1]


def test_write_of_other_rows_between_reads(engine: PostgresEngine) -> None:
    """A row that is written between the first and the second read does not make the query run again."""
    runs: list[int | None] = []

    def query(snapshot: Snapshot) -> int | None:
        runs.append(price_of(snapshot, "a"))
        increment(engine, "b")
        return price_of(snapshot, "b")

    assert engine.read(query) == 2
    assert runs == [1]


READS: list[Callable[[Snapshot], object]] = [
    lambda snapshot: price_of(snapshot, "b"),
    lambda snapshot: snapshot.count(ITEMS),
    lambda snapshot: snapshot.select(ITEMS, segment(), descending=False, limit=1),
    lambda snapshot: snapshot.select(ITEMS, segment(), descending=False, limit=None),
    lambda snapshot: list(snapshot.stream(ITEMS, segment(), descending=False)),
]


@pytest.mark.parametrize("read", READS)
def test_first_read_has_changed(engine: PostgresEngine, read: Callable[[Snapshot], object]) -> None:
    """A query whose first read has another result by its second read runs again, even if it has caught the error."""
    runs: list[int | None] = []

    def query(snapshot: Snapshot) -> int | None:
        runs.append(price_of(snapshot, "a"))
        if len(runs) == 1:
            increment(engine, "a")
            for _ in range(2):
                with pytest.raises(SnapshotChangedError):
                    read(snapshot)
        return price_of(snapshot, "a") if len(runs) > 1 else None

    assert engine.read(query) == 2
    assert runs == [1, 2]


def test_query_that_raises_because_of_a_change(engine: PostgresEngine) -> None:
    """A query that turns the error into one of its own runs again too."""
    runs: list[int | None] = []

    def query(snapshot: Snapshot) -> int | None:
        runs.append(price_of(snapshot, "a"))
        if len(runs) == 1:
            increment(engine, "a")
        try:
            return price_of(snapshot, "b")
        except Exception as error:
            raise ValueError from error

    assert engine.read(query) == 1
    assert runs == [1, 2]


class Note(Document, table="notes"):
    number: int


@internal_query
def twice(ctx: QueryCtx, *, id: Id[Note], seen: list[int]) -> list[int]:
    """Read a note twice. In the first run it is written to in between."""
    for _ in range(2):
        note = ctx.db.get(id)
        seen.append(-1 if note is None else note.number)
        if len(SEEN) == 0:
            SEEN.append(seen[-1])
            WRITE[0]()
    return seen


SEEN: list[int] = []
WRITE: list[Callable[[], object]] = []


def test_query_function_runs_again(postgres: PostgresServer) -> None:
    """A query function whose reads would show two moments runs again, with its arguments as they were given."""
    SEEN.clear()
    with databases_from(postgres), memory_backend(Schema(Note), [twice]) as backend:
        table = backend.schema.table_for(Note)
        backend.engine.write(lambda transaction: transaction.insert(table, [f"notes_{'0' * 32}", 0.0, 1]))
        note = Id[Note](f"notes_{'0' * 32}")
        WRITE[:] = [
            lambda: backend.engine.write(lambda transaction: transaction.update(table, note, {"number": 2})),
        ]
        assert backend.ctx().run_query(twice, id=note, seen=[]) == [2, 2]
        assert SEEN == [1]


class Colour(enum.StrEnum):
    odd = "red\0ish"


def test_text_of_a_subclass_of_str(engine: PostgresEngine) -> None:
    """Text of a subclass of str is encoded like other text."""
    engine.write(lambda transaction: insert(transaction, "c", name=Colour.odd))
    row = engine.lookup(ITEMS, {"name": "red\0ish"})
    assert row is not None and row[2] == "red\0ish"


def test_conflicts_leak_no_prepared_statements(engine: PostgresEngine) -> None:
    """A statement stays prepared after its transaction has conflicted, and is not prepared again."""
    other = PostgresEngine(engine._connections._conninfo, engine.schema)
    with closing(other):
        for number in range(10):
            runs: list[int] = []

            def work(transaction: object, number: int = number, runs: list[int] = runs) -> None:
                runs.append(1)
                price_of(transaction, "a")  # type: ignore[arg-type]
                if len(runs) == 1:
                    increment(other, "a")
                transaction.update(ITEMS, "a", {"price": number})  # type: ignore[attr-defined]

            engine.write(work)
            assert len(runs) == 2
        with engine._connections.borrow() as connection:
            [(count,)] = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchall()
    assert 0 < count < 10


def test_settings_reach_the_engine(postgres: PostgresServer) -> None:
    """CONVEX_DURABILITY sets synchronous_commit."""
    url = postgres.make()
    for durability, expected in (("full", "on"), ("normal", "off")):
        settings = Settings.from_mapping({"CONVEX_DATABASE_URL": url, "CONVEX_DURABILITY": durability})
        backend = Backend(settings, Schema(Note), folder=Path())
        try:
            assert isinstance(backend.engine, PostgresEngine)
            with backend.engine._connections.borrow() as connection:
                assert connection.execute("SHOW synchronous_commit").fetchall() == [(expected,)]
        finally:
            backend.close()
    postgres.drop(url)
