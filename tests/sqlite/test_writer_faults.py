"""Results of writers during faults: never less, and never more, than the disk has."""

import gc
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path

import pytest

from flask_convex_http import ConvexHTTPError, EngineError, UniqueConstraintError
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.engines.sqlite.transactions import SQLiteTransaction
from flask_convex_http.sqlite.log_index import open_index
from tests.engines.members import SCHEMA, migrate
from tests.sqlite.crews import PATIENCE, adding, crew, keys
from tests.sqlite.holders import process, write_after_a_failed_read
from tests.sqlite.limits import no_longer_files, no_more_threads, one_more_file


def test_a_refusal_waits_for_what_it_is_based_on(engine: SQLiteEngine) -> None:
    """A failed member gets its error with its batch, since it may depend on another member's unsynced write."""
    begun, end = threading.Event(), threading.Event()

    def last(_: SQLiteTransaction) -> None:
        begun.set()
        assert end.wait(PATIENCE)

    with crew(engine) as members:
        members.hold()
        first, second, _ = members.queue(adding("a", name="Lamp"), adding("b", name="Lamp"), last)
        members.let_go()
        assert begun.wait(PATIENCE)
        answered, _ = wait([first, second], timeout=0.3)
        end.set()
    assert answered == set()
    assert first.result() == "a"
    with pytest.raises(UniqueConstraintError):
        second.result()


def test_nobody_is_refused_for_what_was_never_written(engine: SQLiteEngine, tmp_path: Path) -> None:
    """When a commit fails, no member's error reports a row that was never written."""
    begun, end = threading.Event(), threading.Event()

    def last(_: SQLiteTransaction) -> None:
        begun.set()
        assert end.wait(PATIENCE)

    with crew(engine) as members:
        members.hold()
        futures = members.queue(adding("a", name="Lamp"), adding("b", name="Lamp"), last)
        members.let_go()
        assert begun.wait(PATIENCE)
        with no_longer_files(tmp_path / "contract.db-wal"):
            end.set()
            wait(futures)
    assert keys(engine) == []
    errors = [future.exception() for future in futures]
    assert not any(isinstance(error, UniqueConstraintError) for error in errors)
    assert all(isinstance(error, EngineError) for error in errors)


def test_a_committed_write_is_answered_though_no_checkpoint_can_be_made(engine: SQLiteEngine) -> None:
    """When no file can be opened for a checkpoint, writes are still committed and get their results."""
    engine.write(adding("first"))
    with one_more_file():
        for number in range(24):
            assert engine.write(adding(f"k{number}", note=b"x" * 500_000)) == f"k{number}"
    assert len(keys(engine)) == 25


def test_those_who_wait_do_not_fail_with_a_checkpoint(engine: SQLiteEngine) -> None:
    """A checkpoint that fails is no error of concurrently waiting writes."""
    engine.write(adding("first"))

    def fill(transaction: SQLiteTransaction) -> str:
        time.sleep(0.05)  # its group accepts no other member, so that the others wait
        return str(adding("large", note=b"x" * 5_000_000)(transaction))

    with crew(engine) as members:
        members.hold()
        futures = members.queue(fill, adding("k1"), adding("k2"), adding("k3"))
        with one_more_file():
            members.let_go()
            wait(futures)
    assert [future.result() for future in futures] == ["large", "k1", "k2", "k3"]


def test_a_writer_without_threads_goes_on(open_engine: Callable[..., SQLiteEngine], engine: SQLiteEngine) -> None:
    """Without threads a write still gets its result, and with threads again everything works."""
    impatient = open_engine(writer_timeout=0.5)
    with crew(impatient) as members:
        first = members.hold()
        [second] = members.queue(adding("second"))
        with no_more_threads():
            members.let_go()
            wait([first, second], PATIENCE)
    assert first.result() == "held"
    assert second.exception() is None or isinstance(second.exception(), ConvexHTTPError)
    assert impatient.write(adding("third")) == "third"
    expected = ["third"] if second.exception() else ["second", "third"]
    assert keys(engine) == expected


def test_a_read_that_fails_may_undo_everything(engine: SQLiteEngine) -> None:
    """When SQLite rolls back because a read ran out of memory, the function's later writes are dropped as well.

    This holds even if the error is caught: a transaction is kept as a whole or not at all.
    """
    engine.write(adding("large", note=b"x" * 10_000_000))
    with process(write_after_a_failed_read, engine.path) as child:
        child.join(PATIENCE)
        assert child.exitcode == 0
    assert keys(engine) in (["large"], ["after", "before", "large"])


def test_an_engine_that_nobody_has_any_more_keeps_no_files(tmp_path: Path) -> None:
    """An engine that was never closed closes its files when it is collected, and the log's index when one is opened."""
    engine = SQLiteEngine(tmp_path / "dropped.db", SCHEMA)
    migrate(engine)
    del engine
    gc.collect()
    assert open_index(tmp_path / "other.db") is None  # the index is closed after the connections, at the next chance
    open_files = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_open(name)]
    assert [path for path in open_files if path.startswith(str(tmp_path))] == []


def _is_open(name: str) -> bool:
    return os.path.exists(f"/proc/self/fd/{name}")
