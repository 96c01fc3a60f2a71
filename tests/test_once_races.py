"""`ctx.once` with concurrent threads and processes, crashes, busy databases, and the passage of time."""

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import CallInProgressError, OverloadedError, UnavailableError
from flask_convex_http.backend import Backend
from flask_convex_http.once import LOST_AFTER, OnceCalls
from flask_convex_http.testing import Clock
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, memory_backend, settings_in
from tests.lengths import LONG
from tests.services import SCHEMA, Boom, BusyEngine, HookedEngine, Service, SlowService, insert_started_call, rows

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

DAY = timedelta(days=1)
LOST = timedelta(milliseconds=LOST_AFTER)


def purge(backend: Backend, limit: int = 100) -> int:
    return backend.engine.write(lambda transaction: backend.once.purge(transaction, backend.clock(), limit))


# --- concurrent calls ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [None, "job"], ids=["each by itself", "in one job"])
def test_concurrent_calls(owner: str | None) -> None:
    """Of concurrent threads one makes the call; the others raise CallInProgressError, and get the result later."""
    service = SlowService("paid")
    with memory_backend(SCHEMA) as backend:

        def call_once(number: int) -> Any:
            return backend.once.run("charge:1", service, DAY, owner or f"owner {number}")

        def call_once_in_progress(number: int) -> int | None:
            with pytest.raises(CallInProgressError) as caught:
                call_once(number)
            return caught.value.retry_after

        with ThreadPoolExecutor(8) as threads:
            first = threads.submit(call_once, 0)
            assert service.begun.wait(30)
            waits = list(threads.map(call_once_in_progress, range(1, 8)))
            service.end.set()
            assert first.result() == "paid"
            assert list(threads.map(call_once, range(8))) == ["paid"] * 8
    assert all(waits)
    assert len(service.tokens) == 1


def test_calls_that_start_at_one_moment() -> None:
    """Threads that start at one moment make one call for each key."""
    keys = [f"key {number}" for number in range(20)]
    services = {key: Service(key) for key in keys}
    barrier = threading.Barrier(4)
    with memory_backend(SCHEMA) as backend:

        def call_once(_: int) -> int:
            rejected = 0
            for key in keys:
                barrier.wait(30)
                try:
                    assert backend.ctx().once(key, services[key]) == key
                except CallInProgressError:
                    rejected += 1
            return rejected

        with ThreadPoolExecutor(4) as threads:
            rejected = sum(threads.map(call_once, range(4)))
    assert rejected <= 3 * len(keys)
    assert [len(service.tokens) for service in services.values()] == [1] * len(keys)


def test_slow_call_in_this_process() -> None:
    """While a call runs, no other thread of the process makes it, however long it takes."""
    service, clock = SlowService("paid"), Clock()
    with memory_backend(SCHEMA, clock=clock) as backend, ThreadPoolExecutor(1) as threads:
        first = threads.submit(backend.ctx().once, "charge:1", service)
        assert service.begun.wait(30)
        clock.advance(10 * LOST)
        with pytest.raises(CallInProgressError):
            backend.ctx().once("charge:1", service)
        service.end.set()
        assert first.result() == "paid"
    assert len(service.tokens) == 1


def other_process(backend: Backend) -> OnceCalls:
    """Return the calls of another process, which does not know this process's threads."""
    return OnceCalls(backend.engine, backend.schema, backend.signing, backend.clock)


def test_slow_call_in_another_process() -> None:
    """A call of another process is lost after a minute and made again with the same token.

    All callers get the result that was recorded first.
    """
    slow, fast, clock = SlowService("slow"), Service("fast"), Clock()
    with memory_backend(SCHEMA, clock=clock) as backend, ThreadPoolExecutor(1) as threads:
        first = threads.submit(other_process(backend).run, "charge:1", slow, DAY, "them")
        assert slow.begun.wait(30)
        clock.advance(LOST - timedelta(seconds=1))
        with pytest.raises(CallInProgressError):
            backend.ctx().once("charge:1", fast)
        clock.advance(timedelta(seconds=1))
        assert backend.ctx().once("charge:1", fast) == "fast"
        slow.end.set()
        assert first.result() == "fast"
        assert backend.ctx().once("charge:1", fast) == "fast"
    assert slow.tokens == fast.tokens


@pytest.mark.parametrize("slow_succeeds", [True, False])
def test_failure_after_a_takeover(slow_succeeds: bool) -> None:
    """A failure after a takeover, on either side, does not remove the row or the result of the other."""
    slow, fast, clock = SlowService("slow"), SlowService("fast"), Clock()
    slow.is_down, fast.is_down = not slow_succeeds, slow_succeeds
    with memory_backend(SCHEMA, clock=clock) as backend, ThreadPoolExecutor(2) as threads:
        first = threads.submit(other_process(backend).run, "a", slow, DAY, "them")
        assert slow.begun.wait(30)
        clock.advance(LOST)
        second = threads.submit(other_process(backend).run, "a", fast, DAY, "others")
        assert fast.begun.wait(30)
        slow.end.set()
        assert isinstance(first.exception(), Boom) == slow.is_down
        if slow.is_down:
            with pytest.raises(CallInProgressError):
                backend.ctx().once("a", Service())
        fast.end.set()
        assert isinstance(second.exception(), Boom) == fast.is_down
        assert backend.ctx().once("a", Service("again")) == ("slow" if slow_succeeds else "fast")


def test_result_recorded_just_before_the_call() -> None:
    """A result that another process records just before the call is returned, and the call is not made."""
    theirs, ours = Service("theirs"), Service("ours")
    with memory_backend(SCHEMA) as backend:
        engine: Any = HookedEngine(backend.engine, lambda: backend.ctx().once("a", theirs))
        calls = OnceCalls(engine, backend.schema, backend.signing, backend.clock)
        assert calls.run("a", ours, DAY, "us") == "theirs"
    assert (len(theirs.tokens), ours.tokens) == (1, [])


# --- crashes and busy databases --------------------------------------------------------------------------------------


def call_and_exit(folder: Path, owner: str) -> None:
    """Make a call, and exit before its result is recorded."""
    with closing(Backend(settings_in(folder), SCHEMA, folder=folder)) as backend:

        def call(token: str) -> None:
            (folder / "tokens").open("a").write(f"{token}\n")
            os._exit(9)

        backend.once.run("charge:1", call, DAY, owner)


@LONG
@pytest.mark.parametrize("caller", ["the job", pytest.param("another job", marks=LONG)])
def test_crash_between_call_and_record(tmp_path: Path, caller: str) -> None:
    """After a crash during the call the same job repeats it at once with the same token.

    Other callers wait until the call is lost.
    """
    clock, service = Clock(), Service("paid")
    with closing(Backend(settings_in(tmp_path), SCHEMA, folder=tmp_path, clock=clock)) as backend:
        backend.migrate()
        for _ in range(2):  # the second run, of the same job, does not wait for the first
            process = multiprocessing.get_context("spawn").Process(target=call_and_exit, args=(tmp_path, "the job"))
            process.start()
            process.join(60)
            assert process.exitcode == 9
        with pytest.raises(CallInProgressError):
            backend.once.run("charge:1", service, DAY, "another job")
        if caller == "another job":
            clock.advance(3 * LOST)  # the dead processes used the system's clock
        assert backend.once.run("charge:1", service, DAY, caller) == "paid"
        assert backend.once.run("charge:1", service, DAY, "a third job") == "paid"
    assert (tmp_path / "tokens").read_text().split() == service.tokens * 2


@pytest.mark.parametrize("error", [OverloadedError, UnavailableError])
@pytest.mark.parametrize("is_down", [False, True], ids=["succeeds", "fails"])
def test_database_busy_after_the_call(error: type[Exception], is_down: bool) -> None:
    """The end of a call is recorded with retries while the database is busy."""
    service, pauses = Service("paid"), list[float]()
    service.is_down = is_down
    with memory_backend(SCHEMA) as backend:
        engine: Any = BusyEngine(backend.engine, error)
        calls = OnceCalls(engine, backend.schema, backend.signing, backend.clock, pauses.append)

        def call(token: str) -> Any:
            engine.fails = 2
            return service(token)

        if is_down:
            with pytest.raises(Boom):
                calls.run("a", call, DAY, "owner")
            assert rows(backend) == []
        else:
            assert calls.run("a", call, DAY, "owner") == "paid"
            assert [row.state for row in rows(backend)] == ["done"]
    assert len(pauses) == 2
    assert 0 < sum(pauses) < 1


def test_database_stays_busy() -> None:
    """If the result cannot be recorded an error is raised, and the same job repeats the call with the same token."""
    service = Service("paid")
    with memory_backend(SCHEMA) as backend:
        engine: Any = BusyEngine(backend.engine, OverloadedError)
        calls = OnceCalls(engine, backend.schema, backend.signing, backend.clock, lambda seconds: None)

        def call(token: str) -> Any:
            engine.fails = 100
            return service(token)

        with pytest.raises(OverloadedError):
            calls.run("a", call, DAY, "owner")
        engine.fails = 0
        with pytest.raises(CallInProgressError):
            calls.run("a", service, DAY, "another")
        assert calls.run("a", service, DAY, "owner") == "paid"
    assert len(service.tokens) == 2
    assert len(set(service.tokens)) == 1


def test_failure_that_cannot_be_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """If a failed call cannot be released its own error is raised, and the other one is logged."""
    with memory_backend(SCHEMA) as backend:
        engine: Any = BusyEngine(backend.engine, OverloadedError)
        calls = OnceCalls(engine, backend.schema, backend.signing, backend.clock, lambda seconds: None)

        def call(token: str) -> None:
            engine.fails = 100
            raise Boom

        with pytest.raises(Boom):
            calls.run("a", call, DAY, "owner")
    assert "could not record that the call failed" in caplog.text


def test_database_busy_before_the_call() -> None:
    """If the database is busy before the call, the call is not made."""
    service = Service()
    with memory_backend(SCHEMA) as backend:
        engine: Any = BusyEngine(backend.engine, OverloadedError)
        engine.fails = 1
        calls = OnceCalls(engine, backend.schema, backend.signing, backend.clock)
        with pytest.raises(OverloadedError):
            calls.run("a", service, DAY, "owner")
        assert service.tokens == []
        assert calls.run("a", service, DAY, "owner") is None


# --- expiry ----------------------------------------------------------------------------------------------------------


def test_result_expires() -> None:
    """A result expires after the `keep` of the call that recorded it, counted from its end."""
    service, clock = Service(), Clock()
    with memory_backend(SCHEMA, clock=clock) as backend:

        def call_once(keep: timedelta) -> int:
            backend.ctx().once("a", service, keep=keep)
            return len(service.tokens)

        assert call_once(DAY) == 1
        clock.advance(DAY - timedelta(seconds=1))
        assert call_once(timedelta(seconds=1)) == 1
        clock.advance(timedelta(seconds=1))
        assert call_once(2 * DAY) == 2
        clock.advance(DAY)
        assert call_once(DAY) == 2


def test_row() -> None:
    """The row has the call's owner and start, and expires `keep` after the end of the call."""
    clock = Clock()
    begin_time = clock()
    with memory_backend(SCHEMA, clock=clock) as backend:

        def call(token: str) -> str:
            (row,) = rows(backend)
            assert (row.state, row.owner, row.started, row.result) == ("started", "us", begin_time, None)
            clock.advance(timedelta(minutes=5))
            return "paid"

        backend.once.run("a", call, DAY, "us")
        (row,) = rows(backend)
    assert (row.state, row.owner, row.started, row.result) == ("done", "us", begin_time, '"paid"')
    assert row.expires == clock() + DAY.total_seconds() * 1000


def test_short_keep_does_not_shorten_the_call() -> None:
    """A short `keep` does not let a running call be purged or repeated."""
    service, clock = SlowService(), Clock()
    keep = timedelta(milliseconds=1)
    with memory_backend(SCHEMA, clock=clock) as backend, ThreadPoolExecutor(1) as threads:
        first = threads.submit(other_process(backend).run, "a", service, keep, "them")
        assert service.begun.wait(30)
        clock.advance(LOST / 2)
        assert purge(backend) == 0
        with pytest.raises(CallInProgressError):
            backend.ctx().once("a", service, keep=keep)
        service.end.set()
        first.result()


def test_clock_set_back() -> None:
    """A call that began in the future, because the clock was set back, is lost."""
    clock = Clock()
    with memory_backend(SCHEMA, clock=clock) as backend:
        insert_started_call(backend, "a", "them")
        clock.advance(timedelta(days=-400))
        assert backend.ctx().once("a", Service(1)) == 1


@pytest.mark.parametrize("keep", [timedelta(microseconds=1), timedelta.max])
def test_shortest_and_longest_keep(keep: timedelta) -> None:
    """`keep` may have any positive length."""
    with memory_backend(SCHEMA) as backend:
        assert backend.ctx().once("a", Service(1), keep=keep) == 1


def test_purge() -> None:
    """The purge deletes expired results and lost calls, up to its limit."""
    clock = Clock()
    with memory_backend(SCHEMA, clock=clock) as backend:
        for number in range(5):
            backend.ctx().once(f"a {number}", Service(), keep=DAY)
        insert_started_call(backend, "lost", "them")
        backend.ctx().once("kept", Service(), keep=2 * DAY)
        assert purge(backend) == 0
        clock.advance(DAY)
        assert [purge(backend, limit=4), purge(backend, limit=4), purge(backend, limit=4)] == [4, 2, 0]
        assert [row.key for row in rows(backend)] == ["kept"]


def test_row_purged_during_the_call() -> None:
    """The result of a call whose row was purged during the call is recorded."""
    service, clock = SlowService("paid"), Clock()
    with memory_backend(SCHEMA, clock=clock) as backend, ThreadPoolExecutor(1) as threads:
        first = threads.submit(backend.ctx().once, "a", service, keep=DAY)
        assert service.begun.wait(30)
        clock.advance(DAY)
        assert purge(backend) == 1
        service.end.set()
        assert first.result() == "paid"
        assert backend.ctx().once("a", service) == "paid"
    assert len(service.tokens) == 1
