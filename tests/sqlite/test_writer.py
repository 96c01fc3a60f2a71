"""Group commit: waiting writes are committed together, and each is a transaction of its own."""

import contextvars
import threading
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import EngineError, FunctionCallError, UnavailableError, UniqueConstraintError
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.engines.sqlite.transactions import SQLiteTransaction
from flask_convex_http.sqlite import writer
from tests.engines.members import ITEMS, increment, insert, price, price_of
from tests.sqlite.crews import Work, adding, crew, keys, raising, together
from tests.sqlite.limits import no_longer_files

CALLER: contextvars.ContextVar[str] = contextvars.ContextVar("CALLER")


def results(futures: list[Future[Any]]) -> list[Any]:
    """Return the result of each write, or the class of its error."""
    return [type(future.exception()) if future.exception() else future.result() for future in futures]


def commits(path: Path) -> int:
    """Return the number of commits in a database's log: the last frame of a commit has the size of the database."""
    log = Path(f"{path}-wal").read_bytes()
    page, salt = int.from_bytes(log[8:12]), log[16:24]
    frames = [log[start : start + 24] for start in range(32, len(log), 24 + page)]
    return sum(frame[8:16] == salt and frame[4:8] != b"\0\0\0\0" for frame in frames)


def test_who_waits_together_is_committed_together(engine: SQLiteEngine) -> None:
    """Waiting writes need far fewer commits than there are writes, and each gets its own result."""
    engine.write(adding("a", price=0))
    before = commits(engine.path)
    futures = together(engine, *[raising(1)] * 30)
    assert [future.result() for future in futures] == list(range(1, 31))
    assert price(engine) == 30
    assert commits(engine.path) - before <= 10


def test_a_lone_writer_needs_nobody(engine: SQLiteEngine) -> None:
    """A lone writer writes in its own thread, with a commit for each write; no thread is started."""
    before, threads = commits(engine.path), threading.enumerate()
    writers = {engine.write(lambda _: threading.get_ident()) for _ in range(3)}
    for number in range(10):
        engine.write(adding(f"k{number}"))
    assert writers == {threading.get_ident()}
    assert set(threading.enumerate()) <= set(threads)  # an earlier writer may end meanwhile
    assert commits(engine.path) - before == 10


def test_the_thread_of_the_writer_goes_when_it_has_nothing_to_do(
    engine: SQLiteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer's thread ends some time after the last queued write, and starts again when needed."""
    monkeypatch.setattr(writer, "_LINGER_SECONDS", 0.1)
    for _ in range(2):
        threads = set(threading.enumerate())
        futures = together(engine, lambda _: threading.current_thread())
        helper = futures[0].result()
        assert helper not in threads
        helper.join(30)
        assert not helper.is_alive()


def failing(key: str, error: BaseException) -> Work:
    """Return work that adds an item and raises."""

    def work(transaction: SQLiteTransaction) -> None:
        insert(transaction, key)
        raise error

    return work


def test_an_error_undoes_only_its_own_member(engine: SQLiteEngine) -> None:
    """A member that raises, even a BaseException, leaves nothing and gets its own error; the others are written."""
    mine = ValueError("mine")
    futures = together(
        engine,
        adding("a", name="Lamp"),
        failing("b", mine),
        adding("c", name="Lamp"),
        failing("d", SystemExit(3)),
        failing("e", KeyboardInterrupt()),
        adding("f", name="Chair"),
        adding("a", name="Stool"),
    )
    assert results(futures) == [
        "a",
        ValueError,
        UniqueConstraintError,
        SystemExit,
        KeyboardInterrupt,
        "f",
        UniqueConstraintError,
    ]
    assert futures[1].exception() is mine
    assert keys(engine) == ["a", "f"]


def test_a_caught_error_inside_a_member(engine: SQLiteEngine) -> None:
    """A member that catches the error of a part loses that part only, as a lone writer does."""

    def work(transaction: SQLiteTransaction) -> None:
        insert(transaction, "kept")
        with pytest.raises(UniqueConstraintError), transaction.savepoint():
            insert(transaction, "lost", name="Stool")
            insert(transaction, "refused", name="Lamp")
        insert(transaction, "later")

    for future in together(engine, adding("a", name="Lamp"), work, adding("b", name="Stool")):
        future.result()
    assert keys(engine) == ["a", "b", "kept", "later"]


def test_a_failed_commit_fails_everybody(engine: SQLiteEngine) -> None:
    """When the commit of a batch fails, each member gets its own error, nothing is kept, and later writes succeed."""
    engine.write(adding("before"))
    with crew(engine) as members:
        held = members.hold()
        futures = members.queue(*(adding(f"k{number}") for number in range(5)))
        with no_longer_files(Path(f"{engine.path}-wal")):
            members.let_go()
            wait([held, *futures])
    errors = [future.exception() for future in futures]
    assert all(isinstance(error, EngineError) for error in errors), errors
    assert len({id(error) for error in errors}) == 5
    assert keys(engine) == ["before"]
    assert [future.result() for future in together(engine, adding("x"), adding("y"))] == ["x", "y"]
    assert keys(engine) == ["before", "x", "y"]


def test_a_failed_commit_of_a_lone_writer(engine: SQLiteEngine) -> None:
    """When the commit of a lone write fails, it gets the error, nothing is kept, and the next write succeeds."""
    engine.write(adding("before"))
    with no_longer_files(Path(f"{engine.path}-wal")), pytest.raises(EngineError):
        engine.write(adding("lost"))
    engine.write(adding("after"))
    assert keys(engine) == ["after", "before"]


def test_who_fills_the_disk_fails_alone(engine: SQLiteEngine) -> None:
    """When SQLite rolls back all because of one member, the others are retried and written once."""
    engine.write(adding("a", price=0))
    runs: list[str] = []

    def counted(name: str) -> Work:
        def work(transaction: SQLiteTransaction) -> int | None:
            runs.append(name)
            transaction.update(ITEMS, "a", {"price": (price_of(transaction, "a") or 0) + 1})
            return price_of(transaction, "a")

        return work

    def greedy(transaction: SQLiteTransaction) -> None:
        runs.append("greedy")
        transaction.update(ITEMS, "a", {"price": 1000})
        transaction._connection.execute("PRAGMA max_page_count = 100")  # a full disk to SQLite
        insert(transaction, "large", note=b"x" * 10_000_000)

    with crew(engine) as members:
        members.hold()
        futures = members.queue(counted("first"), counted("second"), greedy, counted("last"))
        members.let_go()
        wait(futures)
    assert results(futures) == [1, 2, UnavailableError, 3]
    assert price(engine) == 3
    assert keys(engine) == ["a"]
    assert runs.count("greedy") == 1 and runs[-1] == "last"


def test_a_member_sees_what_its_caller_sees(engine: SQLiteEngine) -> None:
    """The work sees the context variables of its caller, in any thread."""

    def ask(_: SQLiteTransaction) -> tuple[str, int]:
        return CALLER.get(), threading.get_ident()

    def call(name: str) -> tuple[str, int]:
        CALLER.set(name)
        return engine.write(ask)

    with crew(engine) as members:
        members.hold()
        futures = members.queue_calls(*(partial(call, name) for name in ("ada", "bob", "eve")))
        members.let_go()
        answers = [future.result() for future in futures]
    assert [name for name, _ in answers] == ["ada", "bob", "eve"]
    assert len({thread for _, thread in answers}) == 1


@pytest.mark.parametrize("waits", [True, False])
def test_a_write_inside_a_write_is_refused(engine: SQLiteEngine, waits: bool) -> None:
    """A write inside another one is refused at once with a hint, and the outer one continues."""

    def outer(transaction: SQLiteTransaction) -> str:
        insert(transaction, "outer")
        with pytest.raises(FunctionCallError, match=r"use ctx\.run_mutation"):
            engine.write(adding("inner"))
        return "written"

    answer = together(engine, outer)[0].result() if waits else engine.write(outer)
    assert answer == "written"
    assert keys(engine) == ["outer"]


def test_increments_that_wait_add_up(engine: SQLiteEngine) -> None:
    """Twenty threads with ten increments each, some of which fail, count every successful one."""
    engine.write(adding("a", price=0))

    def often() -> None:
        for _ in range(10):
            increment(engine, "a")
            with pytest.raises(ZeroDivisionError):
                engine.write(lambda transaction: raising(100)(transaction) / 0)

    with crew(engine) as members:
        wait([members.submit(often) for _ in range(20)])
    assert price(engine) == 200
