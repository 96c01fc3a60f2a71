"""What is SQLite's own: locks, the write-ahead log, errors, and the private temporary file."""

import fcntl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flask_convex_http.errors import BlobNotFoundError, EngineError, OverloadedError
from flask_convex_http.sqlite.connections import sqlite3
from flask_convex_http.storage.blobs import SQLiteBlobs
from tests.storage.blobs.members import MIB, content, listed


def test_nothing_is_opened_before_the_first_call(tmp_path: Path) -> None:
    """A store that is made but not used leaves no trace on the disk."""
    SQLiteBlobs(tmp_path / "folder" / "blobs.sqlite").close()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made(tmp_path: Path) -> None:
    """The folder of the file need not exist."""
    with closing(SQLiteBlobs(tmp_path / "a" / "b" / "blobs.sqlite")) as store:
        store.write("a", [b"x"])
    assert (tmp_path / "a" / "b" / "blobs.sqlite").exists()


def test_without_a_path_the_file_is_private() -> None:
    """Without a path each store has a temporary file of its own, gone when it is closed."""
    one, two = SQLiteBlobs(), SQLiteBlobs()
    one.write("a", [b"x"])
    assert not two.exists("a")
    one.close()
    two.close()
    assert not one.path.parent.exists()


def test_collected_without_close() -> None:
    """A store that is dropped without being closed closes itself, and its temporary file goes too."""
    store = SQLiteBlobs()
    store.write("a", [b"x"])
    folder = store.path.parent
    del store
    assert not folder.exists()


def test_closed_store_says_so(tmp_path: Path) -> None:
    """Using a store after close() is an error that says what to do."""
    store = SQLiteBlobs(tmp_path / "blobs.sqlite")
    store.close()
    with pytest.raises(EngineError, match="make a new store"):
        store.exists("a")


def test_half_read_blob_holds_no_snapshot(tmp_path: Path) -> None:
    """Between two pieces of a read there is no open transaction: the log can be emptied."""
    path = tmp_path / "blobs.sqlite"
    with closing(SQLiteBlobs(path)) as store, closing(sqlite3.connect(path)) as other:
        store.write("a", [bytes(2 * MIB)])
        pieces = store.read("a")
        next(pieces)
        busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0
        assert sum(len(piece) for piece in pieces) < 2 * MIB


def test_write_ahead_log_stays_small(tmp_path: Path) -> None:
    """A large upload and a large delete are checkpointed on the way, instead of doubling on the disk."""
    path = tmp_path / "blobs.sqlite"
    with closing(SQLiteBlobs(path)) as store:
        store.write("a", (bytes(MIB) for _ in range(32)))
        store.delete("a")
        assert (tmp_path / "blobs.sqlite-wal").stat().st_size < 12 * MIB


def test_space_is_used_again(tmp_path: Path) -> None:
    """What a delete frees, the next write takes: the file does not grow."""
    path = tmp_path / "blobs.sqlite"
    with closing(SQLiteBlobs(path)) as store:
        for number in range(5):
            store.write(str(number), [bytes(8 * MIB)])
            store.delete(str(number))
    assert path.stat().st_size < 10 * MIB


def test_clean_close_leaves_one_database_file(tmp_path: Path) -> None:
    """Closing the last store folds the write-ahead log into the file."""
    path = tmp_path / "blobs.sqlite"
    with closing(SQLiteBlobs(path)) as store:
        store.write("a", [bytes(MIB)])
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "blobs.sqlite",
        "blobs.sqlite.lock",
        "blobs.sqlite.queue",
    ]


def test_busy_file_is_an_overload(tmp_path: Path) -> None:
    """When somebody else keeps the file locked, a write gives up as overloaded and a read goes on."""
    path = tmp_path / "blobs.sqlite"
    with closing(SQLiteBlobs(path, timeout=0.05)) as store, closing(sqlite3.connect(path)) as other:
        store.write("a", [b"x"])
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OverloadedError, match="busy"):
            store.write("b", [b"y"])
        assert content(store, "a") == b"x"
        other.rollback()
        store.write("b", [b"y"])


def test_writers_queue_beside_the_file(tmp_path: Path) -> None:
    """A writer waits for the lock file that others hold, and gives up as overloaded; a read goes on."""
    with closing(SQLiteBlobs(tmp_path / "blobs.sqlite", timeout=0.05)) as store:
        store.write("a", [b"x"])
        with open(tmp_path / "blobs.sqlite.lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(OverloadedError, match="busy"):
                store.write("b", [b"y"])
            assert content(store, "a") == b"x"
        store.write("b", [b"y"])


def test_no_connection_checkpoints_by_itself(tmp_path: Path) -> None:
    """Automatic checkpoints are off on every connection, also when several are lent at once."""
    with closing(SQLiteBlobs(tmp_path / "blobs.sqlite")) as store:
        lend = store._file.connections.lend
        with lend() as one, lend() as two:
            pages = [connection.execute("PRAGMA wal_autocheckpoint").fetchall() for connection in (one, two)]
    assert pages == [[(0,)], [(0,)]]


def test_interrupted_delete_stays_deleted(tmp_path: Path) -> None:
    """A delete that stops half way leaves a key to sweep, not readable and never completed by a write."""
    path = tmp_path / "blobs.sqlite"
    with closing(SQLiteBlobs(path)) as store, closing(sqlite3.connect(path)) as other:

        def pieces() -> Iterator[bytes]:
            yield bytes(MIB)
            other.execute("CREATE TRIGGER stop BEFORE DELETE ON chunks BEGIN SELECT RAISE(ABORT, 'stopped'); END")
            for key in ("finished", "under way"):
                with pytest.raises(EngineError, match="stopped"):
                    store.delete(key)
            other.execute("DROP TRIGGER stop")
            assert not store.exists("finished")
            assert sorted(listed(store)) == ["finished", "under way"]
            yield bytes(MIB)

        store.write("finished", [bytes(MIB)])
        with pytest.raises(BlobNotFoundError, match="deleted while it was written"):
            store.write("under way", pieces())
        store.delete("finished")
        assert listed(store) == []
        assert other.execute("SELECT count(*) FROM chunks").fetchall() == [(0,)]


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A file that is something else is an error of the package, not of the driver."""
    path = tmp_path / "blobs.sqlite"
    path.write_bytes(b"certainly not a database " * 100)
    with closing(SQLiteBlobs(path)) as store, pytest.raises(EngineError, match="The file store failed: "):
        store.write("a", [b"x"])


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A path below a file is an error of the package, not of the file system."""
    (tmp_path / "file").write_bytes(b"")
    with closing(SQLiteBlobs(tmp_path / "file" / "blobs.sqlite")) as store, pytest.raises(EngineError):
        store.exists("a")


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """When the file may grow no further, the write fails as a whole and what was there stays."""
    path = tmp_path / "blobs.sqlite"
    with closing(SQLiteBlobs(path)) as store:
        store.write("a", [b"kept"])
        with store._file.connections.lend() as connection:
            connection.execute("PRAGMA max_page_count = 100")
        with pytest.raises(EngineError, match="The file store failed: "):
            store.write("b", [bytes(5 * MIB)])
        assert listed(store) == ["a"]
        assert content(store, "a") == b"kept"
