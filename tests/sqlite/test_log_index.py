"""The header of the index of the write-ahead log, by which a process sees that any process has committed."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flask_convex_http.sqlite.log_index import LogIndex, open_index, release


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS items (name TEXT)")
    return connection


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "convex.db"


@pytest.fixture(name="connection")
def _connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(path)) as connection:
        yield connection


@pytest.fixture(name="index")
def _index(path: Path, connection: sqlite3.Connection) -> Iterator[LogIndex]:
    index = open_index(path)
    assert index is not None
    yield index
    release(index)


def test_each_commit_changes_the_header(connection: sqlite3.Connection, index: LogIndex) -> None:
    """The header is the same until a commit, and another one after each."""
    seen = [index.header()]
    for _ in range(5):
        connection.execute("INSERT INTO items VALUES ('a')")
        assert index.header() == index.header()
        seen.append(index.header())
    assert None not in seen
    assert len(set(seen)) == 6


def test_reads_and_rollbacks_do_not_change_the_header(connection: sqlite3.Connection, index: LogIndex) -> None:
    """Only a commit changes the header."""
    before = index.header()
    connection.execute("SELECT * FROM items").fetchall()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO items VALUES ('a')")
    connection.execute("ROLLBACK")
    assert index.header() == before


def test_a_commit_of_another_process_changes_the_header(path: Path, index: LogIndex) -> None:
    """A commit of another process, here with no code of the package, changes the header."""
    before = index.header()
    code = f"import sqlite3; c = sqlite3.connect({str(path)!r}); c.execute('INSERT INTO items VALUES (1)'); c.commit()"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert index.header() not in (None, before)


def test_an_empty_log_has_no_header(connection: sqlite3.Connection, index: LogIndex) -> None:
    """After a checkpoint that empties the log nothing tells it from an earlier empty log, so there is no header."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert index.header() is None


def test_the_log_can_restart(connection: sqlite3.Connection, index: LogIndex) -> None:
    """A commit after a checkpoint, with which the log starts again, has another header than each before."""
    seen = set()
    for _ in range(4):
        connection.execute("DELETE FROM items")
        connection.execute("INSERT INTO items VALUES ('a')")
        seen.add(index.header())
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
    assert len(seen) == 4


def test_closing_keeps_the_locks_of_other_connections(path: Path, connection: sqlite3.Connection) -> None:
    """The end of one user drops no lock on the index, which connections of this process still have."""
    first, second = open_index(path), open_index(path)
    assert first is not None
    assert first is second
    release(first)
    release(first)
    connection.execute("BEGIN IMMEDIATE")
    code = (
        f"import sqlite3; c = sqlite3.connect({str(path)!r}, timeout=0)\n"
        "try: c.execute('BEGIN IMMEDIATE')\nexcept sqlite3.OperationalError: print('locked')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "locked\n"
    connection.execute("ROLLBACK")


def test_an_index_that_cannot_be_opened_is_none(tmp_path: Path) -> None:
    """Without a file there is no index, and every read goes to the database."""
    assert open_index(tmp_path / "convex.db") is None
