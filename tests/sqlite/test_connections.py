"""Connections and fork(): a child works or is refused, and never hangs, for any activity of the parent's threads."""

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.sqlite import connections as sqlite_connections
from flask_convex_http.sqlite.connections import Connection, Connections, sqlite3
from flask_convex_http.sqlite.shared_lock import SharedLock
from tests.engines.members import in_child, price
from tests.sqlite.crews import PATIENCE, adding, raising

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def test_a_connection_that_is_being_opened_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork() while another thread opens a connection waits for it, or the child is refused the file."""
    monkeypatch.setattr(sqlite_connections, "_FORK_PATIENCE", 0.1)
    path, opening, go_on = tmp_path / "a.db", threading.Event(), threading.Event()
    parent = os.getpid()

    def connect() -> Any:
        if os.getpid() == parent:
            opening.set()
            go_on.wait(PATIENCE)
        return sqlite3.connect(path, check_same_thread=False, factory=Connection)

    connections = Connections(connect, partial(SharedLock, path), lambda _: AssertionError("nothing was replaced"))

    def use() -> str:
        with connections.lend() as connection:
            return str(connection.execute("SELECT 'works'").fetchone()[0])

    with ThreadPoolExecutor(1) as pool:
        used = pool.submit(use)
        assert opening.wait(PATIENCE)
        answer = in_child(use)
        go_on.set()
        assert used.result() == "works"
    connections.close()
    assert "forked while its parent was using the database" in answer


def test_forks_among_readers_and_writers(engine: SQLiteEngine) -> None:
    """Children of a process with reading and writing threads read the file or are refused; no write is lost."""
    engine.write(adding("a", price=0))
    over = threading.Event()

    def write() -> int:
        count = 0
        while not over.is_set():
            engine.write(raising(1))
            count += 1
        return count

    def read() -> None:
        while not over.is_set():
            assert (price(engine) or 0) >= 0

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        readers = [pool.submit(read) for _ in range(2)]
        try:
            answers = [child_price(engine) for _ in range(10)]
        finally:
            over.set()
        total = sum(writer.result() for writer in writers)
        for reader in readers:
            reader.result()
    assert all(isinstance(answer, int) or "forked while its parent" in answer for answer in answers), answers
    assert price(engine) == total


def child_price(engine: SQLiteEngine) -> Any:
    """Read in a child; an alarm ends a child that hangs."""

    def body() -> Any:
        signal.alarm(int(PATIENCE))
        return price(engine)

    return in_child(body)


def test_threads_of_a_child_share_its_connections(engine: SQLiteEngine) -> None:
    """Threads of a child share one set of connections, so that the next fork() knows all of them."""
    assert price(engine) is None

    def body() -> int:
        sys.setswitchinterval(1e-6)
        barrier = threading.Barrier(8)

        def first() -> int:
            barrier.wait()
            return id(engine._connections.process)

        with ThreadPoolExecutor(8) as pool:
            return len({future.result() for future in [pool.submit(first) for _ in range(8)]})

    assert {in_child(body) for _ in range(8)} == {1}
