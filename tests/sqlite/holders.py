"""Other processes that hold a lock or a transaction: their functions, and how a test starts, stops and ends them.

Each creates a file when it has begun, and continues when another file exists.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from flask_convex_http import ConvexHTTPError
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.engines.sqlite.transactions import SQLiteTransaction
from flask_convex_http.sqlite.key_locks import KeyLocks
from flask_convex_http.sqlite.process_lock import ProcessLock
from tests.engines.members import SCHEMA, insert, price_of
from tests.sqlite.crews import PATIENCE, wait_until

# Children of a process that has imported all this once, with no threads and nothing open.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


@contextmanager
def process(body: Callable[..., None], *arguments: Any) -> Iterator[ForkServerProcess]:
    """Run a function in a process, and kill it at the end of the block if it still runs."""
    started = _PROCESSES.Process(target=body, args=arguments)
    started.start()
    try:
        yield started
    finally:
        started.kill()
        started.join(PATIENCE)


@contextmanager
def in_the_way(body: Callable[..., None], path: Path) -> Iterator[ForkServerProcess]:
    """Run a process that holds a resource. It releases it when killed or by `leave`."""
    begun = path.with_name("begun")
    with process(body, path, begun, path.with_name("leave")) as started:
        wait_until(begun.exists)
        yield started


def leave(path: Path) -> None:
    """Tell the holding process to release its resource."""
    path.with_name("leave").touch()


def _hold(begun: Path, gone: Path) -> None:
    begun.touch()
    while not gone.exists():
        time.sleep(0.002)


def hold_mutation(path: Path, begun: Path, gone: Path) -> None:
    """Stay inside a write after its first statement, and commit it at the end."""

    def work(transaction: SQLiteTransaction) -> None:
        insert(transaction, "other")
        _hold(begun, gone)

    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        engine.write(work)


def hold_lock(path: Path, begun: Path, gone: Path) -> None:
    """Hold the lock beside the file."""
    lock = ProcessLock(path)
    lock.acquire()
    _hold(begun, gone)
    lock.release()


def count_turns(path: Path, gate: Path, answer: Path, seconds: float) -> None:
    """Acquire the lock again and again without a pause, and record the number of turns and the longest wait."""
    lock = ProcessLock(path)
    answer.touch()
    while not gate.exists():
        time.sleep(0.002)
    turns, longest, end = 0, 0.0, time.monotonic() + seconds
    while (start := time.monotonic()) < end:
        lock.acquire()
        longest = max(longest, time.monotonic() - start)
        time.sleep(0.001)
        lock.release()
        turns += 1
    answer.write_text(f"{turns} {longest}")


def write_after_a_failed_read(path: Path) -> None:
    """Write, run out of memory while reading "large", continue, and write once more."""

    def work(transaction: SQLiteTransaction) -> None:
        insert(transaction, "before")
        with contextlib.suppress(Exception):
            price_of(transaction, "large")
        with contextlib.suppress(Exception):
            insert(transaction, "after")

    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        engine.write(lambda transaction: transaction._connection.execute("PRAGMA hard_heap_limit = 8000000"))
        with contextlib.suppress(ConvexHTTPError, MemoryError):
            engine.write(work)


def hold_key(path: Path, begun: Path, gone: Path) -> None:
    """Hold the lock of the key 7."""
    with closing(KeyLocks(path)) as locks:
        assert locks.acquire(7)
        _hold(begun, gone)
        locks.release(7)
        _hold(begun.with_name("released"), gone.with_name("end"))
