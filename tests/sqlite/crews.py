"""Threads that meet at the writer: one holds it, others wait, and a test decides when they continue."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Any

import pytest

from flask_convex_http.engines import Row
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.engines.sqlite.transactions import SQLiteTransaction
from flask_convex_http.sqlite import writer
from tests.engines.members import ITEMS, insert, price_of, segment

#: Seconds after which an event that should be immediate counts as missing.
PATIENCE = 30.0

Work = Callable[[SQLiteTransaction], Any]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true, and look less often the longer it takes."""
    end = time.monotonic() + PATIENCE
    pause = 0.001
    while not condition():
        assert time.monotonic() < end, "It did not come about"
        time.sleep(pause)
        pause = min(pause * 1.2, 0.02)


def waiting(engine: SQLiteEngine) -> int:
    """Return the number of waiting writes, which only these tests need to know."""
    return len(engine._file._writer._queue)


class Crew:
    """Threads that write to one engine.

    Args:
        engine: The engine.
        pool: The threads.
    """

    def __init__(self, engine: SQLiteEngine, pool: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._pool = pool
        self._leave = Event()

    def hold(self) -> Future[Any]:
        """Hold the writer until `let_go` is called."""
        begun = Event()

        def work(_: SQLiteTransaction) -> str:
            begun.set()
            assert self._leave.wait(PATIENCE)
            return "held"

        future = self._pool.submit(self._engine.write, work)
        assert begun.wait(PATIENCE)
        return future

    def submit(self, body: Callable[[], Any]) -> Future[Any]:
        """Run a function in a thread."""
        return self._pool.submit(body)

    def queue(self, *works: Work) -> list[Future[Any]]:
        """Write from one thread each, and return when all wait in this order."""
        return self.queue_calls(*(partial(self._engine.write, work) for work in works))

    def queue_calls(self, *calls: Callable[[], Any]) -> list[Future[Any]]:
        """Call functions that write from one thread each, and return when all wait in this order."""
        futures = []
        for call in calls:
            futures.append(self.submit(call))
            wait_until(partial(self._are_waiting, len(futures)))
        return futures

    def _are_waiting(self, count: int) -> bool:
        return waiting(self._engine) >= count

    def let_go(self) -> None:
        """Release the writer."""
        self._leave.set()


@contextmanager
def crew(engine: SQLiteEngine) -> Iterator[Crew]:
    """Yield a crew whose threads have ended after the block.

    The writes that wait together are one group, however long they take: a busy machine would divide them otherwise.
    """
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(40) as pool:  # whose threads end before the patch
        patch.setattr(writer, "_BATCH_SECONDS", PATIENCE)
        made = Crew(engine, pool)
        try:
            yield made
        finally:
            made.let_go()


def tell_statements(engine: SQLiteEngine, tell: Callable[[str], object]) -> None:
    """Call a function with each statement before SQLite runs it, on every connection from now on."""
    connections = engine._file.connections
    connect = connections._connect

    def connect_and_tell() -> Any:
        connection = connect()
        connection.set_trace_callback(tell)
        return connection

    connections._connect = connect_and_tell
    engine.close()  # connections that are open already are not traced


def together(engine: SQLiteEngine, *works: Work) -> list[Future[Any]]:
    """Write works that all waited, in this order, while another was written, and return when they are done."""
    with crew(engine) as members:
        members.hold()
        return members.queue(*works)


def adding(key: str, **fields: Any) -> Work:
    """Return work that adds an item and returns its key."""

    def work(transaction: SQLiteTransaction) -> str:
        insert(transaction, key, **fields)
        return key

    return work


def raising(price: int) -> Work:
    """Return work that raises the price of "a" and returns the new price."""

    def work(transaction: SQLiteTransaction) -> int:
        raised = (price_of(transaction, "a") or 0) + price
        transaction.update(ITEMS, "a", {"price": raised})
        return raised

    return work


def keys(engine: SQLiteEngine) -> list[str]:
    """Return the keys of all items, sorted."""
    with engine.snapshot() as snapshot:
        rows: list[Row] = snapshot.select(ITEMS, segment(), descending=False, limit=None)
    return sorted(str(row[0]) for row in rows)
