"""What is SQLite's own: its plans, its failures and its files."""

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
    """No segment makes SQLite scan the table or sort: each is one run of its own index."""
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


def test_a_document_is_found_by_its_key(engine: SQLiteEngine) -> None:
    """get is a search in the primary key."""
    with engine._connections.lend() as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {SQLiteStatements().get(ITEMS)}", ("a",)).fetchall()
    assert [row[3] for row in plan] == ["SEARCH items USING INDEX sqlite_autoindex_items_1 (_id=?)"]


def test_commits_are_durable(engine: SQLiteEngine) -> None:
    """Connections write ahead and wait for the disk; only an engine that is told so does not."""
    with engine._connections.lend() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    with closing(SQLiteEngine(None, SCHEMA, durability="off")) as hasty, hasty._connections.lend() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (0,)


def test_a_stream_nobody_reads_is_over(engine: SQLiteEngine) -> None:
    """A stream that was dropped half-way is not read to its end by the next write."""

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


def test_a_full_disk_undoes_the_whole_transaction(engine: SQLiteEngine) -> None:
    """When SQLite has undone everything by itself, nothing of the rest is committed, even if the error is caught."""
    engine.write(lambda transaction: insert(transaction, "before"))
    with engine._connections.lend() as connection:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def work(transaction: SQLiteTransaction) -> None:
        insert(transaction, "small")
        with pytest.raises(EngineError, match="full"), transaction.savepoint():
            insert(transaction, "large", note=b"x" * 10_000_000)
        with pytest.raises(EngineError, match="undone the whole transaction"):
            insert(transaction, "after")
        with pytest.raises(EngineError, match="undone the whole transaction"):
            price_of(transaction, "before")

    with pytest.raises(EngineError, match="undone the whole transaction"):
        engine.write(work)
    assert prices(engine) == {"before": 0}
    with engine._connections.lend() as connection:
        connection.execute("PRAGMA max_page_count = 4294967294")
    engine.write(lambda transaction: insert(transaction, "later"))
    assert prices(engine) == {"before": 0, "later": 0}


@pytest.mark.parametrize("content", [b"this is no database, but it is long enough to be taken for one" * 99, b"short"])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    """A file of something else is an EngineError, and stays as it is."""
    path = tmp_path / "convex.db"
    path.write_bytes(content)
    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        for use in (lambda: prices(engine), lambda: increment(engine, "a"), lambda: migrate(engine)):
            with pytest.raises(EngineError, match="not a database"):
                use()
    assert path.read_bytes() == content


def test_a_path_that_cannot_be_opened(tmp_path: Path) -> None:
    """A folder in place of the file is an error that names it, and so is a folder that cannot be made."""
    with closing(SQLiteEngine(tmp_path, SCHEMA)) as engine, pytest.raises(EngineError, match=str(tmp_path)):
        prices(engine)
    (tmp_path / "file").touch()
    with (
        closing(SQLiteEngine(tmp_path / "file" / "convex.db", SCHEMA)) as engine,
        pytest.raises(ConfigurationError, match="cannot be made"),
    ):
        migrate(engine)


def test_tables_changed_behind_its_back(engine: SQLiteEngine, tmp_path: Path) -> None:
    """What fails since somebody has dropped or changed a table fails with an EngineError."""
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
        with pytest.raises(EngineError, match="SQLite: no such table"):
            use()


def test_another_program_that_holds_the_lock(tmp_path: Path) -> None:
    """A lock of another program is waited for and then said to be one, when writing and when migrating."""
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
    """Values SQLite or its driver cannot take are errors of this package, in reading as well."""

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
    """The file is made by the first migration; asking before says so and makes nothing."""
    path = tmp_path / "deep" / "down" / "convex.db"
    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        with pytest.raises(MigrationRequiredError):
            prices(engine)
        assert list(tmp_path.iterdir()) == []
        migrate(engine)
        assert path.exists()


def test_a_temporary_database_goes_when_it_is_closed() -> None:
    """Without a path the database is in a folder of its own, which close() removes; a child of fork() leaves it."""
    engine = SQLiteEngine(None, SCHEMA)
    migrate(engine)
    assert in_child(engine.close) is None
    increment(engine, "a")
    engine.close()
    assert not engine.path.parent.exists()
    engine.close()


@pytest.mark.parametrize("statement", ["CREATE TABLE items (name TEXT)", "CREATE VIEW Items AS SELECT 1 AS _id"])
def test_a_table_of_somebody_else_is_not_taken_over(tmp_path: Path, statement: str) -> None:
    """A table or view that has a name of the schema but is not one of ours is left alone, and the message says so."""
    path = tmp_path / "convex.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute(statement)
        other.commit()
    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        with pytest.raises(MigrationRefusedError, match="that this package has not made"):
            migrate(engine)
        with pytest.raises(MigrationRequiredError, match="that this package has not made"):
            prices(engine)


def test_connections_are_used_again(engine: SQLiteEngine) -> None:
    """One thread needs one connection, however often it reads and writes."""
    for _ in range(5):
        increment(engine, "a")
        prices(engine)
    assert len(engine._connections.here().idle) == 1
    with engine.snapshot(), engine.snapshot():
        pass
    assert len(engine._connections.here().idle) == 2


def test_forking_closes_what_is_idle(engine: SQLiteEngine) -> None:
    """No connection is open across a fork(), so that nothing of the parent's locks is in the child."""
    prices(engine)
    assert in_child(lambda: len(engine._connections._process.idle)) == 0
    assert os.getpid() == engine._connections.here().pid
    assert prices(engine) == {}


# --- copies ----------------------------------------------------------------------------------------------------


def test_a_backup_is_a_database_of_its_own(engine: SQLiteEngine, tmp_path: Path) -> None:
    """A backup holds what was committed when it was made, even while a transaction is open."""
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "contract.db"
    told: list[tuple[int, int]] = []
    engine.write(lambda transaction: insert(transaction, "a", 1))

    def work(transaction: SQLiteTransaction) -> None:
        transaction.update(ITEMS, "a", {"price": 5})
        engine.backups.create(copy, lambda done, total: told.append((done, total)))

    engine.write(work)
    with closing(SQLiteEngine(copy, SCHEMA)) as restored:
        assert (price(restored), price(engine)) == (1, 5)
        increment(restored, "a")
    assert told and told[-1][0] == told[-1][1]


def test_a_backup_replaces_nothing(engine: SQLiteEngine, tmp_path: Path) -> None:
    """A backup goes into a new file only."""
    taken = tmp_path / "notes.txt"
    taken.write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already"):
        engine.backups.create(taken)
    assert taken.read_text() == "mine"
