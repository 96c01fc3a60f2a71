"""Checkpoints: only the package's own, when they are due, and without concurrent commits."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.sqlite.checkpoints import CHECKPOINT_BYTES, LOG_BYTES, RETRY_BYTES, Checkpoints
from flask_convex_http.sqlite.connections import sqlite3
from flask_convex_http.sqlite.process_lock import ProcessLock
from tests.sqlite.crews import adding, crew, keys, tell_statements, together, wait_until

MIB = 2**20
#: The number of bytes that makes a checkpoint due.
MUCH = CHECKPOINT_BYTES + MIB


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """Return a file in WAL mode that this package has not opened, so that the tests own the log."""
    path = tmp_path / "plain.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE notes (note BLOB)")
    return path


@pytest.fixture(name="connect")
def _connect(path: Path) -> Iterator[Callable[[], Any]]:
    """Return a function that opens that file without automatic checkpoints and without a timeout."""
    with ExitStack() as stack:

        def connect() -> Any:
            connection = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None, timeout=0.05)))
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            return connection

        yield connect


def write(connection: Any, size: int) -> None:
    """Commit a number of bytes."""
    connection.execute("INSERT INTO notes VALUES (zeroblob(?))", (size,))


def can_write(path: Path) -> bool:
    """Return whether another program could begin a write at once."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


def test_no_connection_makes_checkpoints_by_itself(engine: SQLiteEngine) -> None:
    """SQLite's automatic checkpoints are off on all connections: for readers, lone writers and groups."""
    found: list[int] = []

    def ask(connection: Any) -> None:
        found.append(connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0])

    with engine.snapshot() as first, engine.snapshot() as second:
        ask(first._own)
        ask(second._own)
        engine.write(lambda transaction: ask(transaction._connection))
        together(engine, lambda transaction: ask(transaction._connection))
    assert found == [0] * 4


def test_due_when_much_was_written(path: Path, connect: Callable[[], Any]) -> None:
    """A checkpoint is due after many writes since the last one, which another process may have made."""
    checkpoints, others = Checkpoints(path), Checkpoints(path)
    writer, other = connect(), connect()
    assert not checkpoints.are_due()
    for _ in range(4):
        write(writer, MIB)
        assert not checkpoints.are_due() and not others.are_due()
        write(writer, MUCH)
        assert checkpoints.are_due() and others.are_due()
        checkpoints.make(writer, other)
        assert not checkpoints.are_due()
    assert path.stat().st_size > 4 * MUCH
    assert Path(f"{path}-wal").stat().st_size < 2 * LOG_BYTES


def test_due_again_while_a_reader_keeps_the_log(path: Path, connect: Callable[[], Any]) -> None:
    """While a snapshot keeps the log from restarting, the next checkpoint is due after some more writes."""
    checkpoints = Checkpoints(path)
    writer, other, reader = connect(), connect(), connect()
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM notes").fetchone() == (0,)
    write(writer, MUCH)
    for _ in range(3):
        assert checkpoints.are_due()
        checkpoints.make(writer, other)
        assert not checkpoints.are_due() and checkpoints.await_restart
        write(writer, RETRY_BYTES // 2)
        assert not checkpoints.are_due()
        write(writer, RETRY_BYTES)
        assert checkpoints.are_due()
    assert reader.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def test_without_a_log_none_is_due(tmp_path: Path) -> None:
    """Without a log, or with an empty one, no checkpoint is due."""
    checkpoints = Checkpoints(tmp_path / "some.db")
    assert not checkpoints.are_due()
    (tmp_path / "some.db-wal").touch()
    assert not checkpoints.are_due()


@pytest.mark.parametrize("waits", [True, False])
def test_nobody_writes_during_a_checkpoint(engine: SQLiteEngine, waits: bool) -> None:
    """During a checkpoint neither another program nor another process of the app can write; afterwards they can."""
    during: list[tuple[bool, bool]] = []

    def look() -> tuple[bool, bool]:
        with closing(ProcessLock(engine.path)) as lock:
            return can_write(engine.path), lock.try_acquire()

    def tell(statement: str) -> None:
        if "wal_checkpoint" in statement:
            during.append(look())

    tell_statements(engine, tell)
    for number in range(9):  # a lone writer does not check each time whether one is due
        work = adding(f"k{number}", note=b"x" * (0 if number else MUCH))
        assert (together(engine, work)[0].result() if waits else engine.write(work)) == f"k{number}"
    assert during and set(during) == {(False, False)}
    wait_until(lambda: look() == (True, True))  # a group gets its results before the checkpoint that it makes due


def test_those_who_are_committed_do_not_wait_for_a_checkpoint(
    engine: SQLiteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group gets its results before the checkpoint that it makes due."""
    monkeypatch.setattr("flask_convex_http.sqlite.writer._LOOK_EVERY", 1)
    answered: list[bool] = []

    def tell(statement: str) -> None:
        if "wal_checkpoint" in statement:
            answered.extend(future.result(30) == "large" for future in futures)

    tell_statements(engine, tell)
    with crew(engine) as members:
        members.hold()
        futures = members.queue(adding("large", note=b"x" * MUCH))
    assert engine.write(adding("next")) == "next"
    assert answered == [True]


def test_a_checkpoint_that_cannot_be_made(
    path: Path, connect: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A checkpoint that another program prevents is a warning, and the next one catches up."""
    checkpoints = Checkpoints(path)
    writer, other, foreign = connect(), connect(), connect()
    write(writer, MUCH)
    assert checkpoints.are_due()
    foreign.execute("BEGIN IMMEDIATE")
    with caplog.at_level(logging.WARNING):
        checkpoints.make(writer, other)
    foreign.execute("ROLLBACK")
    assert ["plain.db-wal could not be folded" in message for message in caplog.messages] == [True]
    assert not writer.in_transaction
    assert not checkpoints.are_due()
    before = path.stat().st_size
    write(writer, MUCH)
    assert checkpoints.are_due()
    checkpoints.make(writer, other)
    assert path.stat().st_size > before + 2 * CHECKPOINT_BYTES
    assert not checkpoints.are_due()


def test_a_closed_database_has_no_log(engine: SQLiteEngine) -> None:
    """When the last connection closes the database, all data is in its file, and the log is gone."""
    engine.write(adding("a"))
    assert Path(f"{engine.path}-wal").exists()
    engine.close()
    assert not Path(f"{engine.path}-wal").exists()
    assert keys(engine) == ["a"]
