"""Behaviour of the SQLite engine alone: query plans, failures, files and backups."""

import gc
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import (
    ConfigurationError,
    ConvexHTTPError,
    EngineError,
    MigrationRefusedError,
    MigrationRequiredError,
    OverloadedError,
    UnavailableError,
)
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.engines.sqlite.statements import SQLiteStatements
from flask_convex_http.engines.sqlite.transactions import SQLiteTransaction
from flask_convex_http.sqlite.connections import sqlite3
from tests.engines.members import ITEMS, SCHEMA, in_child, increment, insert, migrate, price, price_of, segment
from tests.engines.scans import scans


@pytest.fixture(name="engine")
def _engine(tmp_path: Path) -> Iterator[SQLiteEngine]:
    with closing(SQLiteEngine(tmp_path / "convex.db", SCHEMA)) as engine:
        migrate(engine)
        yield engine


def prices(engine: SQLiteEngine) -> dict[str, int]:
    with engine.snapshot() as snapshot:
        return {row[0]: row[3] for row in snapshot.select(ITEMS, segment(), descending=False, limit=None)}


# --- plans -----------------------------------------------------------------------------------------------------


def test_every_segment_is_read_from_its_index(engine: SQLiteEngine) -> None:
    """Each segment is read from its index in order, without a scan of the table or a sort."""
    statements = SQLiteStatements()
    seen = set()
    with engine._connections.lend() as connection:
        for index, part, descending in scans():
            sql, values = statements.scan(ITEMS, part, descending, 5)
            if sql in seen:
                continue
            seen.add(sql)
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
            assert len(plan) == 1, (sql, plan)
            assert f"USING INDEX items.{index}" in plan[0] or "USING INDEX sqlite_autoindex_items" in plan[0], (
                sql,
                plan,
            )
    assert len(seen) > 100


def test_get_searches_the_primary_key(engine: SQLiteEngine) -> None:
    """`get` is a search in the primary key."""
    with engine._connections.lend() as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {SQLiteStatements().get(ITEMS)}", ("a",)).fetchall()
    assert [row[3] for row in plan] == ["SEARCH items USING INDEX sqlite_autoindex_items_1 (_id=?)"]


def test_commits_are_durable(engine: SQLiteEngine) -> None:
    """Connections use a write-ahead log and sync each commit, unless the durability is "off"."""
    with engine._connections.lend() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    with closing(SQLiteEngine(None, SCHEMA, durability="off")) as hasty:
        migrate(hasty)
        with hasty._connections.lend() as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (0,)


def test_a_dropped_stream_is_closed(engine: SQLiteEngine) -> None:
    """A write does not fetch the rest of a stream that has no references any more."""

    def work(transaction: SQLiteTransaction) -> int:
        for number in range(5):
            insert(transaction, f"k{number}", number)
        stream = transaction.stream(ITEMS, segment(), descending=False)
        next(stream)
        assert len(transaction._streams or ()) == 1
        del stream
        gc.collect()
        return len(transaction._streams or ())

    assert engine.write(work) == 0


# --- failures --------------------------------------------------------------------------------------------------


def test_a_full_disk_rolls_back_the_whole_transaction(engine: SQLiteEngine) -> None:
    """After SQLite has rolled back by itself, no later statement is committed, even if the errors are caught."""
    engine.write(lambda transaction: insert(transaction, "before"))
    with engine._connections.lend() as connection:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def work(transaction: SQLiteTransaction) -> None:
        insert(transaction, "small")
        with pytest.raises(EngineError, match="cannot be used at the moment"), transaction.savepoint():
            insert(transaction, "large", note=b"x" * 10_000_000)
        with pytest.raises(EngineError, match="rolled back the whole transaction"):
            insert(transaction, "after")
        with pytest.raises(EngineError, match="rolled back the whole transaction"):
            price_of(transaction, "before")

    with pytest.raises(EngineError, match="rolled back the whole transaction"):
        engine.write(work)
    assert prices(engine) == {"before": 0}
    with engine._connections.lend() as connection:
        connection.execute("PRAGMA max_page_count = 4294967294")
    engine.write(lambda transaction: insert(transaction, "later"))
    assert prices(engine) == {"before": 0, "later": 0}


@pytest.mark.parametrize("content", [b"this is no database, but it is long enough to be taken for one" * 99, b"short"])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    """A file that is no database raises an UnavailableError, whose detail names it and the remedy, and is kept."""
    path = tmp_path / "convex.db"
    path.write_bytes(content)
    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        for use in (lambda: prices(engine), lambda: increment(engine, "a"), lambda: migrate(engine)):
            with pytest.raises(
                UnavailableError, match="cannot be used at the moment: file is not a database"
            ) as caught:
                use()
            assert caught.value.detail.startswith(f"{path} is damaged or no database; `flask convex check` looks for")
    assert path.read_bytes() == content


def test_a_path_that_cannot_be_opened(tmp_path: Path) -> None:
    """A path that is a folder raises an error that names it, and so does a folder that cannot be created."""
    with closing(SQLiteEngine(tmp_path, SCHEMA)) as engine:
        with pytest.raises(UnavailableError, match="unable to open") as caught:
            prices(engine)
        assert str(tmp_path) in caught.value.detail
    (tmp_path / "file").touch()
    with (
        closing(SQLiteEngine(tmp_path / "file" / "convex.db", SCHEMA)) as engine,
        pytest.raises(ConfigurationError, match=r"file/convex\.db cannot be created"),
    ):
        migrate(engine)


def test_tables_that_another_program_has_changed(engine: SQLiteEngine, tmp_path: Path) -> None:
    """Reads and writes of a table that another program has renamed raise an UnavailableError."""
    engine.write(lambda transaction: insert(transaction, "a", 1))
    with closing(sqlite3.connect(tmp_path / "convex.db")) as other:
        other.execute("ALTER TABLE items RENAME TO moved")
        other.commit()
    for use in (
        lambda: prices(engine),
        lambda: engine.write(lambda transaction: insert(transaction, "b")),
        lambda: engine.write(lambda transaction: transaction.delete(ITEMS, "a")),
        lambda: engine.write(lambda transaction: list(transaction.stream(ITEMS, segment(), descending=True))),
    ):
        with pytest.raises(UnavailableError, match="another release"):
            use()


def test_another_program_that_holds_the_lock(tmp_path: Path) -> None:
    """A write and a migration wait for another program's lock and then raise an OverloadedError. Reads do not wait."""
    path = tmp_path / "convex.db"
    with closing(SQLiteEngine(path, SCHEMA, writer_timeout=0.02)) as engine:
        migrate(engine)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(OverloadedError):
                increment(engine, "a")
            with pytest.raises(OverloadedError):
                migrate(engine)
            assert prices(engine) == {}
        increment(engine, "a")


def test_errors_never_come_out_raw(engine: SQLiteEngine) -> None:
    """A value that SQLite or its driver does not accept raises an error of the package, in reads and in writes."""

    def prices_of(part: Any) -> Any:
        with engine.snapshot() as snapshot:
            return snapshot.select(ITEMS, part, descending=False, limit=None)

    for value in (2**64, object(), "\ud800", 5j):
        part = segment(equal=(("price", value),))
        for use in (
            lambda part=part: prices_of(part),
            lambda value=value: engine.write(lambda transaction: transaction.update(ITEMS, "a", {"name": value})),
        ):
            with pytest.raises(ConvexHTTPError):
                use()


# --- files -----------------------------------------------------------------------------------------------------


def test_making_an_engine_opens_nothing(tmp_path: Path) -> None:
    """The first migration creates the file. A read before it raises an error and creates nothing."""
    path = tmp_path / "deep" / "down" / "convex.db"
    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        with pytest.raises(MigrationRequiredError):
            prices(engine)
        assert list(tmp_path.iterdir()) == []
        migrate(engine)
        assert path.exists()


def test_a_temporary_database_is_removed_at_close() -> None:
    """Without a path the database is in a temporary folder, which `close` removes, except in a child of fork()."""
    engine = SQLiteEngine(None, SCHEMA)
    migrate(engine)
    assert in_child(engine.close) is None
    increment(engine, "a")
    engine.close()
    assert not engine.path.parent.exists()
    engine.close()


@pytest.mark.parametrize("statement", ["CREATE TABLE items (name TEXT)", "CREATE VIEW Items AS SELECT 1 AS _id"])
def test_a_foreign_table_is_left_alone(tmp_path: Path, statement: str) -> None:
    """A table or view with a name of the schema that this package has not made raises an error and is not changed."""
    path = tmp_path / "convex.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute(statement)
        other.commit()
    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        with pytest.raises(MigrationRefusedError, match="that this package has not made"):
            migrate(engine)
        with pytest.raises(MigrationRequiredError, match="that this package has not made"):
            prices(engine)


def test_connections_are_reused(engine: SQLiteEngine) -> None:
    """A thread that reads and writes many times uses one connection, and two for two snapshots."""
    for _ in range(5):
        increment(engine, "a")
        prices(engine)
    assert len(engine._connections.process.idle) == 1
    with engine.snapshot(), engine.snapshot():
        pass
    assert len(engine._connections.process.idle) == 2


def test_fork_closes_idle_connections(engine: SQLiteEngine) -> None:
    """No idle connection survives a fork(), so that the child does not release locks of the parent."""
    prices(engine)
    assert in_child(lambda: len(engine._connections.process.idle)) == 0
    assert os.getpid() == engine._connections.process.pid
    assert prices(engine) == {}


# --- backups ---------------------------------------------------------------------------------------------------


def test_a_backup_is_a_database_of_its_own(engine: SQLiteEngine, tmp_path: Path) -> None:
    """A backup has the commits before it, and can be made while a transaction is open."""
    path = tmp_path / "backup.db"
    progress: list[tuple[int, int]] = []
    engine.write(lambda transaction: insert(transaction, "a", 1))

    def work(transaction: SQLiteTransaction) -> None:
        transaction.update(ITEMS, "a", {"price": 5})
        engine.backups.create(path, lambda done, total: progress.append((done, total)))

    engine.write(work)
    with closing(SQLiteEngine(path, SCHEMA)) as restored:
        assert (price(restored), price(engine)) == (1, 5)
        increment(restored, "a")
    assert progress and progress[-1][0] == progress[-1][1]


def test_a_backup_replaces_no_file(engine: SQLiteEngine, tmp_path: Path) -> None:
    """A backup to a file that exists raises an error."""
    taken = tmp_path / "notes.txt"
    taken.write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already"):
        engine.backups.create(taken)
    assert taken.read_text() == "mine"


def test_a_savepoint_is_made_at_the_first_write(engine: SQLiteEngine) -> None:
    """A nested part that only reads needs no statement of its own, and one that writes has a savepoint of its own."""
    statements: list[str] = []

    def work(transaction: SQLiteTransaction) -> None:
        transaction._connection.set_trace_callback(statements.append)
        with transaction.savepoint(), transaction.savepoint():
            assert transaction.get(ITEMS, "a") is None
        assert [text for text in statements if not text.startswith("SELECT")] == []
        with transaction.savepoint():
            with pytest.raises(ValueError, match="stop"), transaction.savepoint():
                insert(transaction, "a")
                raise ValueError("stop")
            insert(transaction, "b")
        transaction._connection.set_trace_callback(None)
        assert (transaction.get(ITEMS, "a"), transaction.get(ITEMS, "b") is None) == (None, False)

    engine.write(work)
    assert len([text for text in statements if text.startswith("SAVEPOINT")]) == 2
