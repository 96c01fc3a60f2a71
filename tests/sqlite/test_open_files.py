"""Database files that are deleted, replaced or moved while they are open: no write is acknowledged into nowhere."""

import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.engines.sqlite.transactions import SQLiteTransaction
from flask_convex_http.errors import MigrationRequiredError, UnavailableError
from flask_convex_http.sqlite.connections import sqlite3
from flask_convex_http.storage.blobs import SQLiteBlobs
from tests.engines.members import ITEMS, SCHEMA, insert, migrate, price, set_price
from tests.sqlite.crews import PATIENCE, adding, crew

_LOOK = """
import sys
from flask_convex_http.sqlite.connections import sqlite3
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM items").fetchall()
connection.close()
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """Return the folder of the database."""
    return tmp_path / "data"


@pytest.fixture(name="path")
def _path(folder: Path) -> Path:
    """Return the path of the database."""
    return folder / "convex.db"


@pytest.fixture(name="engine", params=["fresh", "settled"])
def _engine(path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQLiteEngine]:
    """Return a database with the item "a", in a folder that has just changed, or that has not for a while."""
    if request.param == "settled":
        monkeypatch.setattr("flask_convex_http.sqlite.open_files._SETTLED_NS", -1)
    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        migrate(engine)
        engine.write(lambda transaction: insert(transaction, "a", 1))
        yield engine


def delete(path: Path) -> None:
    """Delete the database with everything beside it."""
    for name in os.listdir(path.parent):
        if name.startswith(path.name):
            (path.parent / name).unlink()


def begin_anew(path: Path) -> None:
    """Delete the database and create another one, as an administrator does."""
    delete(path)
    with closing(SQLiteEngine(path, SCHEMA)) as other:
        migrate(other)
        other.write(lambda transaction: insert(transaction, "a", 5))


def replace(path: Path) -> None:
    """Rename a copy of the database over it."""
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.rename(path)


def move_away(path: Path) -> None:
    """Move the folder of the database away."""
    path.parent.rename(path.parent.with_name("moved"))


def stored(path: Path) -> list[tuple[str, int]]:
    """Return the items that would be there if all processes were killed now."""
    copy = path.parent.with_name("power-cut")
    shutil.copytree(path.parent, copy)
    with closing(sqlite3.connect(copy / path.name)) as connection:
        rows = connection.execute("SELECT _id, price FROM items ORDER BY _id").fetchall()
    shutil.rmtree(copy)
    return [(row[0], row[1]) for row in rows]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (delete, "convex.db was deleted or moved away"),
        (begin_anew, "convex.db was replaced by another file"),
        (replace, "convex.db was replaced by another file"),
        (move_away, "convex.db was deleted or moved away"),
        (lambda path: Path(f"{path}-wal").unlink(), "convex.db-wal was deleted or moved away"),
        (lambda path: Path(f"{path}-shm").unlink(), "convex.db-shm was deleted or moved away"),
    ],
)
def test_no_write_is_acknowledged_into_files_that_are_not_at_the_path(
    engine: SQLiteEngine, path: Path, change: Callable[[Path], None], cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A write after a change of the files is refused, and the log names the path, the cause and the remedy."""
    change(path)
    with pytest.raises(UnavailableError, match="its files were replaced or removed"):
        engine.write(set_price(2))
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"{path.parent}/{cause}" in record.getMessage()
    assert "flask convex restore" in record.getMessage()


def by_sqlite(path: Path, copy: Path) -> None:
    """Make a backup with SQLite's backup API."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def by_vacuum(path: Path, copy: Path) -> None:
    """Make a backup with VACUUM INTO."""
    with closing(sqlite3.connect(path)) as source:
        source.execute("VACUUM INTO ?", (str(copy),))


def by_command(path: Path, copy: Path) -> None:
    """Make a backup as `flask convex backup` does."""
    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        engine.backups.create(copy)


def empty(path: Path, copy: Path) -> None:
    """Make an empty file."""
    copy.touch()


@pytest.mark.parametrize("backup", [by_sqlite, by_vacuum, by_command, shutil.copyfile, empty])
def test_no_write_is_acknowledged_after_a_backup_was_copied_over_the_file(
    engine: SQLiteEngine, path: Path, backup: Callable[[Path, Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    """No write is accepted after an earlier backup was copied over the database, and the log says it once."""
    engine._file.checkpoint()
    copy = path.with_name("backup")
    backup(path, copy)
    insert_many(engine, "more")
    engine._file.checkpoint()
    engine.write(set_price(2))
    shutil.copyfile(copy, path)
    for _ in range(3):
        with pytest.raises(UnavailableError, match="its files were replaced or removed"):
            engine.write(set_price(3))
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"The content of {path} was replaced" in record.getMessage()
    assert "flask convex restore" in record.getMessage()


def insert_many(engine: SQLiteEngine, prefix: str) -> None:
    """Insert so many items that the database has more pages."""

    def work(transaction: SQLiteTransaction) -> None:
        for number in range(500):
            insert(transaction, f"{prefix}{number}", number)

    engine.write(work)


def test_checkpoints_and_compaction_keep_the_content(engine: SQLiteEngine, path: Path) -> None:
    """Checkpoints, also of other programs, and a VACUUM do not look like another content."""
    for number in range(5):
        insert_many(engine, f"n{number}-")
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            other.execute("DELETE FROM items WHERE _id LIKE 'n%'")
            other.commit()
            other.execute("VACUUM")
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.write(set_price(number))
        engine._file.checkpoint()
    assert stored(path) == [("a", 4)]


@pytest.mark.parametrize("change", [delete, begin_anew, replace, move_away])
def test_no_write_is_acknowledged_if_the_files_change_during_it(
    engine: SQLiteEngine, path: Path, change: Callable[[Path], None]
) -> None:
    """A commit is not acknowledged if the files were changed during its transaction."""

    def work(transaction: SQLiteTransaction) -> None:
        transaction.update(ITEMS, "a", {"price": 2})
        change(path)

    with pytest.raises(UnavailableError):
        engine.write(work)


def test_queued_writes_are_refused_together(engine: SQLiteEngine, path: Path) -> None:
    """No member of a batch is acknowledged if the files were deleted."""
    with crew(engine) as members:
        first = members.hold()
        others = members.queue(adding("b"), adding("c"))
        delete(path)
        members.let_go()
        errors = [future.exception(PATIENCE) for future in (first, *others)]
    assert [type(error) for error in errors] == [UnavailableError] * 3


def test_the_next_write_goes_to_the_new_database(engine: SQLiteEngine, path: Path) -> None:
    """After the refused write, reads and writes use the database that is at the path."""
    begin_anew(path)
    with pytest.raises(UnavailableError):
        engine.write(set_price(2))
    assert price(engine) == 5
    engine.write(set_price(6))
    assert stored(path) == [("a", 6)]


def test_a_deleted_database_is_not_created_silently(engine: SQLiteEngine, path: Path) -> None:
    """Without a database every response names the command to run, and nothing is created until someone migrates."""
    delete(path)
    with pytest.raises(UnavailableError):
        engine.write(set_price(2))
    with pytest.raises(MigrationRequiredError, match="flask convex migrate"):
        price(engine)
    with pytest.raises(MigrationRequiredError, match="flask convex migrate"):
        engine.write(set_price(2))
    assert not path.exists()
    migrate(engine)
    assert price(engine) is None


def test_a_deleted_database_is_restored_under_the_app(engine: SQLiteEngine, path: Path) -> None:
    """A restore of the deleted database works while the app runs, which uses it after one refusal."""
    engine.backups.create(path.with_name("backup.db"))
    engine.write(set_price(2))
    delete(path)
    with closing(SQLiteEngine(path, SCHEMA)) as other:
        other.backups.prepare_restore(path.with_name("backup.db")).run()
    with pytest.raises(UnavailableError):
        engine.write(set_price(3))
    assert price(engine) == 1
    engine.write(set_price(4))
    assert stored(path) == [("a", 4)]


def test_a_folder_that_comes_back(engine: SQLiteEngine, path: Path) -> None:
    """When the folder is moved back, the database works again with all acknowledged rows."""
    move_away(path)
    with pytest.raises(UnavailableError):
        engine.write(set_price(2))
    path.parent.with_name("moved").rename(path.parent)
    assert price(engine) == 1
    engine.write(set_price(3))
    assert stored(path) == [("a", 3)]


@pytest.mark.parametrize("ending", ["-wal", "-shm"])
def test_acknowledged_rows_survive_the_loss_of_the_log(engine: SQLiteEngine, path: Path, ending: str) -> None:
    """When the log or its index is deleted, the next write is refused, and no acknowledged row is lost."""
    Path(f"{path}{ending}").unlink()
    with pytest.raises(UnavailableError):
        engine.write(lambda transaction: insert(transaction, "b", 2))
    assert stored(path) == [("a", 1)]
    engine.write(lambda transaction: insert(transaction, "c", 3))
    assert stored(path) == [("a", 1), ("c", 3)]


def test_a_program_that_takes_itself_for_the_last_one(engine: SQLiteEngine, path: Path) -> None:
    """After an open() and close() of the file in this process, another program does not remove the log."""
    path.read_bytes()  # drops SQLite's locks of this process
    subprocess.run([sys.executable, "-c", _LOOK, path], check=True)
    engine.write(lambda transaction: insert(transaction, "b", 2))
    assert stored(path) == [("a", 1), ("b", 2)]


def test_a_program_that_has_removed_the_log(engine: SQLiteEngine, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system lacks the lock against it, a commit after the removal of the log is not acknowledged."""
    monkeypatch.setattr("flask_convex_http.sqlite.shared_lock._COMMAND", None)
    engine._file.close()
    assert price(engine) == 1
    path.read_bytes()
    subprocess.run([sys.executable, "-c", _LOOK, path], check=True)
    if sqlite3.sqlite_version_info >= (3, 53) and Path(f"{path}-wal").exists():
        pytest.skip("the locks of this SQLite are not dropped when a program closes the file")
    with pytest.raises(UnavailableError):
        engine.write(lambda transaction: insert(transaction, "b", 2))
    engine.write(lambda transaction: insert(transaction, "c", 3))
    assert stored(path) == [("a", 1), ("c", 3)]


def test_the_last_connection_removes_the_log(engine: SQLiteEngine, path: Path) -> None:
    """Closing everything moves the log into the database and deletes it, so that the file alone has all rows."""
    engine.write(set_price(2))
    engine.close()
    assert not Path(f"{path}-wal").exists()
    assert price(engine) == 2


def test_a_process_that_only_reads_finds_the_new_database(engine: SQLiteEngine, path: Path) -> None:
    """A process without writes looks at the files every second, and reads the new database after one refusal."""
    begin_anew(path)
    engine._connections.process.next_look = 0.0
    with pytest.raises(UnavailableError):
        price(engine)
    assert price(engine) == 5


def test_a_query_that_still_reads_the_old_database(engine: SQLiteEngine, path: Path) -> None:
    """A new connection waits for queries that still read the old files."""
    with engine.snapshot() as snapshot:
        snapshot.count(SCHEMA.tables["items"])
        begin_anew(path)
        with pytest.raises(UnavailableError):
            engine.write(set_price(2))
        found: list[int | None] = []
        reader = threading.Thread(target=lambda: found.append(price(engine)))
        reader.start()
        reader.join(0.05)
        assert found == []
    reader.join(PATIENCE)
    assert found == [5]


def test_a_symbolic_link_to_another_database(tmp_path: Path) -> None:
    """A symbolic link that names another database is found, although its folder has not changed."""
    databases = [tmp_path / name / "convex.db" for name in ("one", "two")]
    for database in databases:
        with closing(SQLiteEngine(database, SCHEMA)) as other:
            migrate(other)
    link = tmp_path / "links" / "convex.db"
    link.parent.mkdir()
    link.symlink_to(databases[0])
    with closing(SQLiteEngine(link, SCHEMA)) as engine:
        engine.write(lambda transaction: insert(transaction, "a", 1))
        link.unlink()
        link.symlink_to(databases[1])
        with pytest.raises(UnavailableError):
            engine.write(set_price(2))
        engine.write(lambda transaction: insert(transaction, "b", 2))
    assert [stored(database) for database in databases] == [[("a", 1)], [("b", 2)]]


def test_the_file_store_is_checked_too(tmp_path: Path) -> None:
    """Bytes are not acknowledged into a deleted file store, and it is not created anew by the running app."""
    path = tmp_path / "files" / "convex-files.db"
    with closing(SQLiteBlobs(path)) as store:
        store.write("a", [b"x"])
        delete(path)
        with pytest.raises(UnavailableError, match="its files were replaced or removed"):
            store.write("b", [b"y"])
        with pytest.raises(UnavailableError, match="has been removed") as caught:
            store.write("c", [b"z"])
        assert "flask convex restore --files" in caught.value.detail
        assert not path.exists()
    with closing(SQLiteBlobs(path)) as restarted:
        restarted.write("b", [b"y"])
        assert b"".join(restarted.read("b")) == b"y"
