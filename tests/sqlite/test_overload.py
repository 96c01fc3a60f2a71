"""Waiting for the writer is limited in number and in time with a clear error, and reads never wait."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from flask_convex_http import OverloadedError, UnavailableError
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.engines.sqlite.transactions import SQLiteTransaction
from flask_convex_http.sqlite.connections import sqlite3
from flask_convex_http.sqlite.process_lock import ProcessLock
from tests.engines.members import insert, price, price_of
from tests.engines.model import Gate
from tests.sqlite.crews import PATIENCE, Work, adding, crew, keys, raising
from tests.sqlite.holders import hold_lock, hold_mutation, in_the_way, leave

#: Seconds for which a write waits in these tests, and within which it must fail: less than the ten of the default.
TIMEOUT, MARGIN = 0.3, 8.0


@pytest.fixture(name="impatient")
def _impatient(engine: SQLiteEngine, open_engine: Callable[..., SQLiteEngine]) -> SQLiteEngine:
    return open_engine(writer_timeout=TIMEOUT)


def assert_refused(engine: SQLiteEngine, key: str) -> None:
    """Assert that a write fails after about its timeout."""
    start = time.monotonic()
    with pytest.raises(OverloadedError, match="busy with other writes"):
        engine.write(adding(key))
    assert TIMEOUT * 0.9 <= time.monotonic() - start < MARGIN


def test_more_than_may_wait(engine: SQLiteEngine, open_engine: Callable[..., SQLiteEngine]) -> None:
    """With a full queue the next write fails at once and writes nothing; when the queue is empty there is room."""
    narrow = open_engine(writer_queue=3)
    with crew(narrow) as members:
        members.hold()
        futures = members.queue(*(adding(f"k{number}") for number in range(3)))
        start = time.monotonic()
        for _ in range(3):
            with pytest.raises(OverloadedError, match="Too many writes wait"):
                narrow.write(adding("refused"))
        assert time.monotonic() - start < MARGIN
        members.let_go()
        wait(futures)
    assert narrow.write(adding("later")) == "later"
    assert keys(engine) == ["k0", "k1", "k2", "later"]


def test_waiting_too_long(engine: SQLiteEngine, impatient: SQLiteEngine) -> None:
    """A write that waited too long behind another thread fails, and is not written later."""
    with crew(impatient) as members:
        held = members.hold()
        start = time.monotonic()
        late = [members.submit(partial(impatient.write, adding(key))) for key in ("late1", "late2")]
        wait(late)
        assert time.monotonic() - start < MARGIN
        assert [type(future.exception()) for future in late] == [OverloadedError] * 2
        [patient] = members.queue_calls(partial(impatient.write, adding("patient"), timeout=PATIENCE))
        members.let_go()
        assert (held.result(), patient.result()) == ("held", "patient")
    assert impatient.write(adding("next")) == "next"
    assert keys(engine) == ["next", "patient"]


@contextmanager
def foreign_transaction(path: Path) -> Iterator[None]:
    """Hold SQLite's lock in a program that does not know the package's lock."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def another_mutation(path: Path) -> Iterator[None]:
    """Stay inside a write in another process of the app."""
    with in_the_way(hold_mutation, path):
        yield


@contextmanager
def stopped_mutation(path: Path) -> Iterator[None]:
    """Stop another process of the app inside a write."""
    with in_the_way(hold_mutation, path) as holder:
        assert holder.pid
        os.kill(holder.pid, signal.SIGSTOP)
        yield


@contextmanager
def another_lock(path: Path) -> Iterator[None]:
    """Hold only the lock beside the file in another process."""
    with in_the_way(hold_lock, path):
        yield


OBSTACLES = [foreign_transaction, another_mutation, stopped_mutation, another_lock]


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_whoever_is_in_the_way(
    obstacle: Callable[[Path], AbstractContextManager[None]], engine: SQLiteEngine, impatient: SQLiteEngine
) -> None:
    """While another program holds a lock, lone and grouped writes fail as busy, and queries work.

    Afterwards writes succeed, and no failed write is written.
    """
    engine.write(adding("a"))
    with obstacle(engine.path):
        assert_refused(impatient, "refused1")
        with crew(impatient) as members:
            futures = [members.submit(lambda: assert_refused(impatient, "refused2")) for _ in range(3)]
            assert keys(impatient) == ["a"]
            for future in futures:
                future.result()
    assert impatient.write(adding("after")) == "after"
    assert keys(engine) == ["a", "after"]


def test_a_process_that_goes_on_is_not_disturbed(engine: SQLiteEngine, impatient: SQLiteEngine) -> None:
    """A process that was stopped inside a write commits it when it continues, and then the others write."""
    with in_the_way(hold_mutation, engine.path) as holder:
        assert holder.pid
        os.kill(holder.pid, signal.SIGSTOP)
        assert_refused(impatient, "refused")
        os.kill(holder.pid, signal.SIGCONT)
        leave(engine.path)
        holder.join(PATIENCE)
        assert holder.exitcode == 0
    impatient.write(adding("after"))
    assert keys(engine) == ["after", "other"]


def test_waiting_too_long_to_be_run_again(engine: SQLiteEngine, open_engine: Callable[..., SQLiteEngine]) -> None:
    """A write that is retried after a full disk waits no longer than its timeout for another program."""
    impatient, running, end = open_engine(writer_timeout=2 * TIMEOUT), Event(), Event()

    def fill(transaction: SQLiteTransaction) -> None:
        running.set()
        assert end.wait(PATIENCE)
        transaction._connection.execute("PRAGMA max_page_count = 100")  # a full disk to SQLite
        insert(transaction, "large", note=b"x" * 10_000_000)

    with crew(impatient) as members, closing(ProcessLock(engine.path)) as other:
        members.hold()
        first, full = members.queue_calls(
            partial(impatient.write, adding("first")), partial(impatient.write, fill, timeout=PATIENCE)
        )
        members.let_go()
        assert running.wait(PATIENCE)
        next_turn = members.submit(other.acquire)
        time.sleep(TIMEOUT * 3)  # until the first one's timeout has passed, in the middle of the group
        end.set()
        assert isinstance(full.exception(PATIENCE), UnavailableError)
        next_turn.result(PATIENCE)
        answered, _ = wait([first], MARGIN)
        other.release()
    assert answered
    assert isinstance(first.exception(), OverloadedError)
    assert keys(engine) == []


def test_reading_while_a_mutation_is_open(engine: SQLiteEngine) -> None:
    """While a mutation has uncommitted writes, queries of other threads return the old state at once."""
    open_in_turn = [Gate(), Gate()]

    def work(gate: Gate) -> Work:
        def raise_price(transaction: SQLiteTransaction) -> None:
            raising(1)(transaction)
            gate.wait()

        return raise_price

    engine.write(adding("a", price=0))
    with crew(engine) as members:
        alone = members.submit(lambda: engine.write(work(open_in_turn[0])))
        assert open_in_turn[0].reached.wait(PATIENCE)
        [grouped] = members.queue(work(open_in_turn[1]))
        for before, gate, future in zip((0, 1), open_in_turn, (alone, grouped), strict=True):
            assert gate.reached.wait(PATIENCE)
            assert [price(engine) for _ in range(20)] == [before] * 20
            gate.opened.set()
            future.result(PATIENCE)
    assert price(engine) == 2


def test_waiting_for_another_process(engine: SQLiteEngine) -> None:
    """A write with a long enough timeout runs after the other process, and sees its writes."""

    def follow(transaction: SQLiteTransaction) -> str:
        assert price_of(transaction, "other") == 0
        insert(transaction, "after")
        return "written"

    with in_the_way(hold_mutation, engine.path), crew(engine) as members:
        futures = [*members.queue(follow), *members.queue(adding("later"))]
        assert not any(future.done() for future in futures)
        leave(engine.path)
        assert [future.result(PATIENCE) for future in futures] == ["written", "later"]
    assert keys(engine) == ["after", "later", "other"]
