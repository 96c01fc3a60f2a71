"""Backups of a SQLite file and restores from them, with interruptions and concurrent access."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.errors import EngineError, OverloadedError
from flask_convex_http.sqlite.connections import sqlite3
from flask_convex_http.sqlite.process_lock import ProcessLock
from tests.child_processes import ROOT, child_environment
from tests.engines.members import ITEMS, SCHEMA, increment, insert, migrate, price, price_of, set_price

#: More than one step copies, so that a backup can be interrupted in its middle.
LARGE = 5 * 2**20

_RESTORE = """
import sys, time
from pathlib import Path
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from tests.engines.members import SCHEMA

def stop(done, total):
    assert 0 < done < total, (done, total)
    print("half", flush=True)
    time.sleep(60)

SQLiteEngine(Path(sys.argv[1]), SCHEMA).backups.prepare_restore(Path(sys.argv[2])).run(stop)
"""
_HOLD_OPEN = """
import sys
from flask_convex_http.sqlite.connections import sqlite3
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM items").fetchall()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture(name="live")
def _live(tmp_path: Path) -> Path:
    return tmp_path / "live" / "contract.db"


@pytest.fixture(name="open_engine")
def _open_engine(live: Path) -> Iterator[Callable[..., SQLiteEngine]]:
    """Return a function that opens the live database; all engines are closed at the end."""
    engines = []

    def make(**options: float) -> SQLiteEngine:
        engines.append(SQLiteEngine(live, SCHEMA, **options))  # type: ignore[arg-type]  # only numbers are needed
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(name="engine")
def _engine(open_engine: Callable[..., SQLiteEngine]) -> SQLiteEngine:
    """Return a database with one item, "a", of price 1, and enough bytes for several steps."""
    engine = open_engine()
    migrate(engine)
    engine.write(lambda transaction: insert(transaction, "a", 1))
    engine.write(lambda transaction: insert(transaction, "large", note=os.urandom(LARGE), name="large"))
    return engine


@pytest.fixture(name="copy")
def _copy(engine: SQLiteEngine, tmp_path: Path) -> Path:
    """Return a backup in which "a" costs 1; in the database it costs 2 now."""
    copy = tmp_path / "copies" / "copy.db"
    copy.parent.mkdir()
    engine.backups.create(copy)
    engine.write(set_price(2))
    return copy


def start(code: str, *arguments: Path) -> subprocess.Popen[str]:
    """Run a program until it has printed a line."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = child_environment()
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def end(process: subprocess.Popen[str], number: int) -> None:
    """End a program by a signal."""
    with process:
        process.send_signal(number)


# --- making one ------------------------------------------------------------------------------------------------------


def test_a_copy_is_one_file_and_needs_no_other(copy: Path) -> None:
    """A backup is read without a log, by its owner only, and reading it leaves nothing beside it."""
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(f"{copy.as_uri()}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("SELECT price FROM items WHERE _id = 'a'").fetchone() == (1,)
        assert os.listdir(copy.parent) == ["copy.db"]
    assert os.listdir(copy.parent) == ["copy.db"]


def test_a_copy_is_on_the_disk_before_it_has_its_name(
    engine: SQLiteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes are synced first, then the file is renamed, then the folder is synced."""
    copy = tmp_path / "copy.db"
    synced: list[tuple[int, bool]] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        sync(descriptor)
        synced.append((os.fstat(descriptor).st_ino, copy.exists()))

    monkeypatch.setattr(os, "fsync", watched)
    engine.backups.create(copy)
    assert synced == [(copy.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def test_a_copy_is_of_one_moment_and_comes_to_an_end(
    engine: SQLiteEngine, open_engine: Callable[..., SQLiteEngine], tmp_path: Path
) -> None:
    """Writes after each step neither get into the backup nor make it start again."""
    other, steps = open_engine(), []

    def write(done: int, total: int) -> None:
        increment(other, "a")
        steps.append(done)

    engine.backups.create(tmp_path / "copy.db", write)
    assert len(steps) > 1
    assert steps == sorted(set(steps))
    assert price(engine) == 1 + len(steps)
    with closing(SQLiteEngine(tmp_path / "copy.db", SCHEMA)) as copy:
        assert price(copy) == 1


def test_a_copy_that_is_cut_short_leaves_nothing(engine: SQLiteEngine, tmp_path: Path) -> None:
    """An interrupted backup leaves no file that looks like one."""
    folder = tmp_path / "copies"
    folder.mkdir()

    def stop(done: int, total: int) -> None:
        assert done < total
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.backups.create(folder / "copy.db", stop)
    assert os.listdir(folder) == []
    increment(engine, "a")
    assert price(engine) == 2


# --- going back to one -----------------------------------------------------------------------------------------------


def test_who_reads_keeps_what_they_see(
    engine: SQLiteEngine, open_engine: Callable[..., SQLiteEngine], copy: Path
) -> None:
    """A snapshot survives a restore; after it all engines read and change the restored rows."""
    other = open_engine()
    with other.snapshot() as snapshot:
        assert price_of(snapshot, "a") == 2
        restore = engine.backups.prepare_restore(copy)
        assert (restore.rows, restore.replaces) == (3, 3)
        assert restore.run() is None
        assert price_of(snapshot, "a") == 2
        assert price(engine) == 1
    assert price(other) == 1
    increment(other, "a")
    assert price(engine) == 2
    assert engine.check() == []


def test_a_writer_waits_for_a_restore(
    engine: SQLiteEngine, open_engine: Callable[..., SQLiteEngine], copy: Path
) -> None:
    """A write during a restore comes after it and is kept."""
    other = open_engine()
    writer = threading.Thread(target=increment, args=(other, "a"))

    def write_meanwhile(done: int, total: int) -> None:
        if not writer.ident:
            writer.start()
        assert price(other) == 2 or done == total

    engine.backups.prepare_restore(copy).run(write_meanwhile)
    writer.join()
    assert price(engine) == 2  # the price in the backup, and one more


def test_a_restore_that_is_cut_short_changes_nothing(engine: SQLiteEngine, copy: Path) -> None:
    """An exception in the middle leaves the old rows, and the next write succeeds."""

    def stop(done: int, total: int) -> None:
        assert done < total
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.backups.prepare_restore(copy).run(stop)
    assert price(engine) == 2
    increment(engine, "a")
    assert price(engine) == 3
    assert engine.check() == []


def test_a_restore_that_is_killed_changes_nothing(engine: SQLiteEngine, live: Path, copy: Path) -> None:
    """A process that dies in the middle leaves the old rows, no lock and no damage."""
    end(start(_RESTORE, live, copy), signal.SIGKILL)
    assert price(engine) == 2
    increment(engine, "a")
    assert price(engine) == 3
    assert engine.check() == []


def test_a_restore_does_not_wait_for_ever(open_engine: Callable[..., SQLiteEngine], live: Path, copy: Path) -> None:
    """While another program holds SQLite's own lock, a restore ends as overloaded and has changed nothing."""
    engine = open_engine(writer_timeout=0.1)
    with closing(sqlite3.connect(live, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OverloadedError):
            engine.backups.prepare_restore(copy).run()
        other.execute("ROLLBACK")
    assert price(engine) == 2
    engine.backups.prepare_restore(copy).run()
    assert price(engine) == 1


def test_pages_of_another_size_are_taken(tmp_path: Path, copy: Path) -> None:
    """A database with larger pages keeps them and gets the rows of the backup."""
    path = tmp_path / "larger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = WAL")
    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        migrate(engine)
        engine.backups.prepare_restore(copy).run()
        assert price(engine) == 1
        assert engine.check() == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA page_size").fetchone() == (8192,)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_a_copy_with_a_log_is_read_with_it(engine: SQLiteEngine, live: Path, tmp_path: Path) -> None:
    """A copy of the file and its log, made by other means, includes the content of the log."""
    folder = tmp_path / "by hand"
    folder.mkdir()
    engine.write(set_price(7))
    for name in ("contract.db", "contract.db-wal"):
        shutil.copy(live.with_name(name), folder)
    engine.write(set_price(8))
    engine.backups.prepare_restore(folder / "contract.db").run()
    assert price(engine) == 7


def test_a_copy_of_another_making_is_left_as_it_is(engine: SQLiteEngine, tmp_path: Path) -> None:
    """A copy in WAL mode, as other tools make it, is restored without creating a file beside it."""
    copy = tmp_path / "other" / "copy.db"
    copy.parent.mkdir()
    with (
        closing(sqlite3.connect(engine.path)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    assert copy.read_bytes()[18:20] == b"\2\2"
    engine.write(set_price(2))
    engine.backups.prepare_restore(copy).run()
    assert price(engine) == 1
    assert os.listdir(copy.parent) == ["copy.db"]


# --- where the file is missing or damaged ----------------------------------------------------------------------------


def put_aside(live: Path) -> list[str]:
    """Return the endings of the names of files that were moved aside."""
    return sorted(name.partition("Z")[2] for name in os.listdir(live.parent) if ".damaged-" in name)


def test_a_missing_file_is_put_into_place(engine: SQLiteEngine, live: Path, copy: Path) -> None:
    """A backup becomes a missing database; a log that was left there is not treated as its own."""
    engine.close()
    log = Path(f"{live}-wal")
    live.rename(live.with_name("lost.db"))
    log.write_bytes(b"left behind")
    restore = engine.backups.prepare_restore(copy)
    assert restore.replaces == 0
    restore.run()
    assert put_aside(live) == ["-wal"]
    assert price(engine) == 1
    increment(engine, "a")
    assert engine.check() == []


@pytest.mark.parametrize("damage", ["cut off", "not a database"])
def test_a_damaged_file_is_put_aside(engine: SQLiteEngine, live: Path, copy: Path, damage: str) -> None:
    """A damaged file is kept under another name, and its successor has its owner and mode."""
    engine.close()
    broken = live.read_bytes()[: LARGE // 2] if damage == "cut off" else b"nonsense" * 1000
    live.write_bytes(broken)
    live.chmod(0o640)
    restore = engine.backups.prepare_restore(copy)
    assert restore.replaces is None
    aside = restore.run()
    assert aside is not None
    assert aside.read_bytes() == broken
    assert stat.S_IMODE(live.stat().st_mode) == 0o640
    assert price(engine) == 1
    assert engine.check() == []


def test_a_damaged_file_in_use_is_left_alone(engine: SQLiteEngine, live: Path, copy: Path) -> None:
    """A damaged file is not replaced while another process has it open; afterwards it is."""
    engine.close()
    user = start(_HOLD_OPEN, live)
    os.truncate(live, LARGE // 2)
    broken = live.read_bytes()
    with pytest.raises(EngineError, match="stop the app"):
        engine.backups.prepare_restore(copy).run()
    assert live.read_bytes() == broken
    assert put_aside(live) == []
    end(user, signal.SIGKILL)
    assert engine.backups.prepare_restore(copy).run() is not None
    assert price(engine) == 1


def test_a_damaged_file_that_is_written_to_is_left_alone(engine: SQLiteEngine, live: Path, copy: Path) -> None:
    """A damaged file is not replaced while another process holds the writer lock."""
    engine.close()
    live.write_bytes(b"nonsense" * 1000)
    lock = ProcessLock(live)
    assert lock.try_acquire()
    with pytest.raises(OverloadedError, match="stop the app"):
        engine.backups.prepare_restore(copy).run()
    assert put_aside(live) == []
    lock.release()
    assert engine.backups.prepare_restore(copy).run() is not None
    lock.close()
    assert price(engine) == 1


def test_damage_inside_is_overwritten_in_place(engine: SQLiteEngine, live: Path, copy: Path) -> None:
    """A file with damage within its pages is restored like a sound one."""
    with closing(sqlite3.connect(live)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (ITEMS.name,)).fetchone()
    engine.close()
    with live.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    assert engine.check() != []
    engine.close()
    assert engine.backups.prepare_restore(copy).run() is None
    assert price(engine) == 1
    assert engine.check() == []
