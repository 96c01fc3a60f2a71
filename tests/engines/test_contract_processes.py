"""The contract that every engine keeps between threads and processes, and for the database as a whole."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import ConvexHTTPError, MigrationRequiredError, OverloadedError
from flask_convex_http.engines import Engine, Transaction
from tests.engines.members import ITEMS, in_child, increment, increment_often, migrate, price, set_price

fork = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


# --- threads and processes -------------------------------------------------------------------------------------


def test_increments_of_threads_add_up(engine: Engine) -> None:
    """Threads that read and write the same row lose no update."""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(increment, [engine] * 100, ["a"] * 100))
    assert price(engine) == 101


def test_increments_of_processes_add_up(member: str, engine: Engine, tmp_path: Path) -> None:
    """Processes that read and write the same row lose no update."""
    gate = tmp_path / "gate"
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=increment_often, args=(member, tmp_path, "a", 100, gate)) for _ in range(2)]
    for process in processes:
        process.start()
    gate.touch()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert price(engine) == 201


def hold(engine: Engine) -> tuple[threading.Thread, threading.Event]:
    """Hold the row "a", or the only writer, in another thread until the returned event is set."""
    begun, release = threading.Event(), threading.Event()

    def work(transaction: Transaction) -> None:
        transaction.update(ITEMS, "a", {"price": 1})
        begun.set()
        release.wait(30)

    thread = threading.Thread(target=engine.write, args=(work,))
    thread.start()
    assert begun.wait(30)
    return thread, release


@pytest.mark.parametrize("same_process", [True, False])
def test_a_write_times_out(engine: Engine, open_engine: Callable[..., Engine], same_process: bool) -> None:
    """A write that has to wait for longer than its timeout raises an error. Reads work, and so does a later write."""
    hasty = open_engine(writer_timeout=1.0)  # long enough to connect on a busy machine
    thread, release = hold(hasty if same_process else engine)
    try:
        with pytest.raises(OverloadedError, match="try again"):
            hasty.write(set_price(2))
        assert price(hasty) == 1
    finally:
        release.set()
        thread.join()
    assert hasty.write(set_price(3))


@fork
def test_a_child_of_fork_has_connections_of_its_own(engine: Engine) -> None:
    """After fork() the child and the parent both read and write the database."""

    def child() -> Any:
        before = price(engine)
        increment(engine, "a")
        return [before, price(engine)]

    assert price(engine) == 1
    assert in_child(child) == [1, 2]
    increment(engine, "a")
    assert in_child(child) == [3, 4]
    assert price(engine) == 4


@fork
def test_fork_while_another_thread_writes(engine: Engine, open_engine: Callable[..., Engine]) -> None:
    """A child of fork() does not wait for a write of its parent: it reads, or raises an error that names the fork."""
    thread, release = hold(engine)
    result = in_child(lambda: price(engine))
    release.set()
    thread.join()
    assert result == 1 or "forked while its parent was using the database" in result
    increment(engine, "a")
    assert price(open_engine()) == 2


@fork
def test_a_child_leaving_the_parents_transaction_does_not_end_it(engine: Engine) -> None:
    """A child that was forked inside a transaction neither commits it nor rolls it back; the parent commits."""

    def fork_inside(transaction: Transaction) -> Any:
        transaction.update(ITEMS, "a", {"price": 7})
        reading, writing = os.pipe()
        return os.fork(), reading, writing

    child, reading, writing = engine.write(fork_inside)
    if child == 0:
        os.write(writing, b"left")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 9) == b"left"
    os.close(reading)
    os.close(writing)
    assert price(engine) == 7
    increment(engine, "a")
    assert price(engine) == 8


# --- the whole database ----------------------------------------------------------------------------------------


def test_without_tables_nothing_runs(open_engine: Callable[..., Engine]) -> None:
    """Before the first migration reads and writes raise an error that names the command. Afterwards they work."""
    engine = open_engine()
    uses: list[Callable[[], Any]] = [lambda: price(engine), lambda: engine.write(set_price(2))]
    for use in uses:
        with pytest.raises(MigrationRequiredError, match="flask convex migrate"):
            use()
    migrate(engine)
    assert engine.write(set_price(2)) is False


def test_values_that_cannot_be_stored(engine: Engine) -> None:
    """A value that the database cannot store raises an error of the package."""

    def setting(changes: dict[str, Any]) -> Callable[[Transaction], bool]:
        return lambda transaction: transaction.update(ITEMS, "a", changes)

    for changes in ({"price": 2**63}, {"price": "text"}, {"price": None}, {"price": object()}):
        with pytest.raises(ConvexHTTPError):
            engine.write(setting(changes))
    assert price(engine) == 1
