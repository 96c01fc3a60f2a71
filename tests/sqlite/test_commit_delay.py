"""After a batch the writer waits a moment for its members, and never for long."""

import threading
import time
from concurrent.futures import wait
from threading import Barrier

import pytest

from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.sqlite import commit_delay
from tests.engines.members import increment, price
from tests.sqlite.crews import PATIENCE, adding, crew, raising, tell_statements, together
from tests.timing import is_below

THREADS, TIMES = 8, 25
#: Seconds that a slow disk takes for a sync.
SYNC = 0.004


def test_those_who_come_back_are_committed_together(engine: SQLiteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that write again at once are committed together, not in two alternating halves."""
    # On a busy machine they need longer than a millisecond to come back. The delay ends when they have.
    monkeypatch.setattr(commit_delay, "_SECONDS", 0.5)
    monkeypatch.setattr(commit_delay, "_PART_OF_COMMIT", 0.5 / SYNC)
    engine.write(adding("a", price=0))
    commits: list[str] = []

    def tell(statement: str) -> None:
        if statement == "COMMIT":
            commits.append(statement)
            time.sleep(SYNC)

    tell_statements(engine, tell)
    barrier = Barrier(THREADS)

    def write_often() -> None:
        barrier.wait(PATIENCE)
        for _ in range(TIMES):
            increment(engine, "a")

    with crew(engine) as members:
        for future in [members.submit(write_often) for _ in range(THREADS)]:
            future.result()
    assert price(engine) == THREADS * TIMES
    # Two halves need twice as many. A busy machine keeps a thread away for longer than the delay now and then.
    assert TIMES <= len(commits) <= TIMES * 3 // 2, len(commits)


def test_nobody_waits_long_for_those_who_do_not_come_back(engine: SQLiteEngine) -> None:
    """If the members of a batch do not return, the next write waits about a millisecond at most, on any disk."""
    slow: list[str] = []
    is_slow = threading.Event()

    def tell(statement: str) -> None:
        if statement == "COMMIT" and threading.current_thread().name == "convex-writer" and is_slow.is_set():
            is_slow.clear()
            slow.append(statement)
            time.sleep(1.2)

    def seconds_of_next_write() -> float:
        is_slow.set()
        wait(together(engine, *(raising(1) for _ in range(4))))
        start = time.monotonic()
        increment(engine, "a")
        return time.monotonic() - start

    engine.write(adding("a", price=0))
    tell_statements(engine, tell)
    assert is_below(0.15, seconds_of_next_write)
    assert slow
