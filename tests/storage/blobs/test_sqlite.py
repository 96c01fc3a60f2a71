"""The SQLite store: locks, the write-ahead log, errors, and the private temporary file."""

import fcntl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flask_convex_http.errors import BlobNotFoundError, EngineError, OverloadedError
from flask_convex_http.sqlite.checkpoints import LOG_BYTES
from flask_convex_http.sqlite.connections import sqlite3
from flask_convex_http.storage.blobs import SQLiteBlobs
from tests.storage.blobs.members import MIB, content, list_keys


def test_nothing_is_opened_before_the_first_call(tmp_path: Path) -> None:
    """A store that is never used creates no file."""
    SQLiteBlobs(tmp_path / "folder" / "blobs.sqlite").close()
    assert list(tmp_path.iterdir()) == []


def test_folder_is_created(tmp_path: Path) -> None:
    """The folder of the file is created."""
    with closing(SQLiteBlobs(tmp_path / "a" / "b" / "blobs.sqlite")) as store:
        store.write("a", [b"x"])
    assert (tmp_path / "a" / "b" / "blobs.sqlite").exists()


def test_without_a_path_the_file_is_private() -> None:
    """Without a path each store has its own temporary file, which close() deletes."""
    one, two = SQLiteBlobs(), SQLiteBlobs()
    one.write("a", [b"x"])
    assert not two.exists("a")
    one.close()
    two.close()
    assert not one.path.parent.exists()


def test_collected_without_close() -> None:
    """A store that is garbage-collected closes itself and deletes its temporary file."""
    store = SQLiteBlobs()
    store.write("a", [b"x"])
    folder = store.path.parent
    del store
    assert not folder.exists()


def test_closed_store_raises(tmp_path: Path) -> None:
    """Using a store after close() raises an error with the fix."""
    store = SQLiteBlobs(tmp_path / "blobs.sqlite")
    store.close()
    with pytest.raises(EngineError, match="make a new store"):
        store.exists("a")


def test_half_read_blob_holds_no_snapshot(tmp_path: Path) -> None:
    """Between two pieces of a read no transaction is open, so that a checkpoint can truncate the WAL."""
    path = tmp_path / "blobs.sqlite"
    with closing(SQLiteBlobs(path)) as store, closing(sqlite3.connect(path)) as other:
        store.write("a", [bytes(2 * MIB)])
        pieces = store.read("a")
        next(pieces)
        busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0
        assert sum(len(piece) for piece in pieces) < 2 * MIB


def test_write_ahead_log_stays_small(tmp_path: Path) -> None:
    """A large write or delete checkpoints on the way, so that the WAL stays small."""
    path = tmp_path / "blobs.sqlite"
    with closing(SQLiteBlobs(path)) as store:
        store.write("a", (bytes(MIB) for _ in range(32)))
        store.delete("a")
        assert (tmp_path / "blobs.sqlite-wal").stat().st_size < 12 * MIB


def test_space_is_reused(tmp_path: Path) -> None:
    """A write reuses the space of deleted blobs, so that the file does not grow."""
    path = tmp_path / "blobs.sqlite"
    with closing(SQLiteBlobs(path)) as store:
        for number in range(5):
            store.write(str(number), [bytes(8 * MIB)])
            store.delete(str(number))
    assert path.stat().st_size < 10 * MIB


def test_clean_close_leaves_one_database_file(tmp_path: Path) -> None:
    """Closing the last store checkpoints the WAL into the file and removes it."""
    path = tmp_path / "blobs.sqlite"
    with closing(SQLiteBlobs(path)) as store:
        store.write("a", [bytes(MIB)])
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "blobs.sqlite",
        "blobs.sqlite.lock",
        "blobs.sqlite.queue",
    ]


def test_busy_file_is_an_overload(tmp_path: Path) -> None:
    """While another connection holds SQLite's write lock, a write raises OverloadedError and a read succeeds."""
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
    """A writer waits for the lock file until its timeout and raises OverloadedError; a read does not wait."""
    with closing(SQLiteBlobs(tmp_path / "blobs.sqlite", timeout=0.05)) as store:
        store.write("a", [b"x"])
        with open(tmp_path / "blobs.sqlite.lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(OverloadedError, match="busy"):
                store.write("b", [b"y"])
            assert content(store, "a") == b"x"
        store.write("b", [b"y"])


def test_no_connection_checkpoints_by_itself(tmp_path: Path) -> None:
    """Automatic checkpoints are off on every connection, also when several are in use."""
    with closing(SQLiteBlobs(tmp_path / "blobs.sqlite")) as store:
        store.write("a", [b"x"])
        lend = store._file.connections.lend
        with lend() as one, lend() as two:
            pages = [connection.execute("PRAGMA wal_autocheckpoint").fetchall() for connection in (one, two)]
    assert pages == [[(0,)], [(0,)]]


def test_interrupted_delete_stays_deleted(tmp_path: Path) -> None:
    """A delete that is interrupted leaves a key for the sweep, which is not readable and which no write completes."""
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
            assert sorted(list_keys(store)) == ["finished", "under way"]
            yield bytes(MIB)

        store.write("finished", [bytes(MIB)])
        with pytest.raises(BlobNotFoundError, match="deleted while it was written"):
            store.write("under way", pieces())
        store.delete("finished")
        assert list_keys(store) == []
        assert other.execute("SELECT count(*) FROM chunks").fetchall() == [(0,)]


def test_file_that_is_no_database(tmp_path: Path) -> None:
    """A file that is no database raises EngineError instead of the driver's error."""
    path = tmp_path / "blobs.sqlite"
    path.write_bytes(b"certainly not a database " * 100)
    with closing(SQLiteBlobs(path)) as store, pytest.raises(EngineError, match="The file store failed: "):
        store.write("a", [b"x"])


def test_folder_that_cannot_be_created(tmp_path: Path) -> None:
    """A path below a file raises EngineError instead of the file system's error."""
    (tmp_path / "file").write_bytes(b"")
    with closing(SQLiteBlobs(tmp_path / "file" / "blobs.sqlite")) as store, pytest.raises(EngineError):
        store.exists("a")


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A write to a full file fails as a whole and keeps the other blobs."""
    path = tmp_path / "blobs.sqlite"
    with closing(SQLiteBlobs(path)) as store:
        store.write("a", [b"kept"])
        with store._file.connections.lend() as connection:
            connection.execute("PRAGMA max_page_count = 100")
        with pytest.raises(EngineError, match="The file store failed: "):
            store.write("b", [bytes(5 * MIB)])
        assert list_keys(store) == ["a"]
        assert content(store, "a") == b"kept"


def bytes_of(path: Path) -> int:
    """Return the bytes that a database takes on the disk."""
    return sum(file.stat().st_size for file in path.parent.iterdir())


@pytest.mark.parametrize("is_old", [False, True])
def test_compacting_makes_the_file_smaller(tmp_path: Path, is_old: bool) -> None:
    """Compacting shrinks file and log to what the blobs need, also those of an earlier release."""
    path = tmp_path / "blobs.sqlite"
    if is_old:
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA page_size = 8192")
            other.execute("PRAGMA journal_mode = WAL")
    with closing(SQLiteBlobs(path)) as store:
        for number in range(24):
            store.write(str(number), [bytes(MIB)])
        for number in range(12):
            store.delete(str(number))
        assert store.free_bytes() > 11 * MIB
        assert store.compact(lambda done, total: None) > 11 * MIB
        assert bytes_of(path) < 13 * MIB + LOG_BYTES
        assert content(store, "12") == bytes(MIB)
        with store._file.connections.lend() as connection:
            assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert bytes_of(path) < 13 * MIB


def test_others_write_while_a_file_is_compacted(tmp_path: Path) -> None:
    """Between two steps of compacting, another writer gets its turn, and what it writes and deletes is right."""
    with closing(SQLiteBlobs(tmp_path / "blobs.sqlite")) as store:
        for number in range(12):
            store.write(str(number), [bytes([number]) * MIB])
        for number in range(8):
            store.delete(str(number))
        steps: list[int] = []

        def work(done: int, total: int) -> None:
            steps.append(done)
            if len(steps) == 1:
                store.write("new", [b"new" * MIB])
                store.delete("8")

        store.compact(work)
        assert len(steps) > 2
        assert content(store, "new") == b"new" * MIB
        assert content(store, "9") == bytes([9]) * MIB
        assert sorted(list_keys(store)) == ["10", "11", "9", "new"]


def test_a_store_that_does_not_exist_is_not_created(tmp_path: Path) -> None:
    """Asking for free space, or compacting, creates no file."""
    store = SQLiteBlobs(tmp_path / "blobs.sqlite")
    assert (store.free_bytes(), store.compact(lambda done, total: None)) == (0, 0)
    assert list(tmp_path.iterdir()) == []
    store.close()
