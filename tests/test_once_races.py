"""`ctx.once` among threads and processes that die or find the database busy, and as time passes."""

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
from tests.services import SCHEMA, Boom, BusyEngine, LateEngine, Service, SlowService, begin, rows

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

DAY = timedelta(days=1)
LOST = timedelta(milliseconds=LOST_AFTER)


def sweep(backend: Backend, limit: int = 100) -> int:
    return backend.engine.write(lambda transaction: backend.once.purge(transaction, backend.clock(), limit))


# --- several at the same time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [None, "job"], ids=["each by itself", "in one job"])
def test_race(owner: str | None) -> None:
    """Of threads that ask at the same time one makes the call; the others are told to come back, and then get it."""
    service = SlowService("paid")
    with memory_backend(SCHEMA) as backend:

        def ask(number: int) -> Any:
            return backend.once.run("charge:1", service, DAY, owner or f"owner {number}")

        def ask_in_vain(number: int) -> int | None:
            with pytest.raises(CallInProgressError) as caught:
                ask(number)
            return caught.value.retry_after

        with ThreadPoolExecutor(8) as threads:
            first = threads.submit(ask, 0)
            assert service.begun.wait(30)
            waits = list(threads.map(ask_in_vain, range(1, 8)))
            service.end.set()
            assert first.result() == "paid"
            assert list(threads.map(ask, range(8))) == ["paid"] * 8
    assert all(waits)
    assert len(service.tokens) == 1


def test_start_together() -> None:
    """Threads that start at one moment make one call for each key, whoever comes first."""
    keys = [f"key {number}" for number in range(20)]
    services = {key: Service(key) for key in keys}
    gate = threading.Barrier(4)
    with memory_backend(SCHEMA) as backend:

        def ask(_: int) -> int:
            refused = 0
            for key in keys:
                gate.wait(30)
                try:
                    assert backend.ctx().once(key, services[key]) == key
                except CallInProgressError:
                    refused += 1
            return refused

        with ThreadPoolExecutor(4) as threads:
            refused = sum(threads.map(ask, range(4)))
    assert refused <= 3 * len(keys)
    assert [len(service.tokens) for service in services.values()] == [1] * len(keys)


def test_slow_call_in_this_process() -> None:
    """However long a call takes, no thread of the same process makes it too: it is known to go on."""
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
    """The same calls, as a process has them that knows nothing of this one's threads."""
    return OnceCalls(backend.engine, backend.schema, backend.signing, backend.clock)


def test_slow_call_in_another_process() -> None:
    """A call that another process has not ended for a minute is made again with the same token; the first result to be
    recorded is the one that all get."""
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


@pytest.mark.parametrize("answers_first", [True, False])
def test_failure_after_it_was_taken_over(answers_first: bool) -> None:
    """Who was taken for lost, or has taken over, and fails removes nothing that the other has begun or recorded."""
    slow, fast, clock = SlowService("slow"), SlowService("fast"), Clock()
    slow.is_down, fast.is_down = not answers_first, answers_first
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
        assert backend.ctx().once("a", Service("again")) == ("slow" if answers_first else "fast")


def test_recorded_at_the_last_moment() -> None:
    """A result that another process records after this one has looked for it, and before it calls, is the result."""
    theirs, ours = Service("theirs"), Service("ours")
    with memory_backend(SCHEMA) as backend:
        engine: Any = LateEngine(backend.engine, lambda: backend.ctx().once("a", theirs))
        calls = OnceCalls(engine, backend.schema, backend.signing, backend.clock)
        assert calls.run("a", ours, DAY, "us") == "theirs"
    assert (len(theirs.tokens), ours.tokens) == (1, [])


# --- death and busy databases ----------------------------------------------------------------------------------------


def call_and_die(folder: Path, owner: str) -> None:
    """Make a call, and die before its result can be recorded."""
    with closing(Backend(settings_in(folder), SCHEMA, folder=folder)) as backend:

        def call(token: str) -> None:
            (folder / "tokens").open("a").write(f"{token}\n")
            os._exit(9)

        backend.once.run("charge:1", call, DAY, owner)


@pytest.mark.parametrize("next_one", ["the job", "another job"])
def test_death_between_call_and_record(tmp_path: Path, next_one: str) -> None:
    """If a process dies between the call and its record, the same job calls again at once with the same token, and
    others once the call is taken for lost."""
    clock, service = Clock(), Service("paid")
    with closing(Backend(settings_in(tmp_path), SCHEMA, folder=tmp_path, clock=clock)) as backend:
        backend.migrate()
        for _ in range(2):  # the second one, of the same job, is not kept from it by the first
            process = multiprocessing.get_context("spawn").Process(target=call_and_die, args=(tmp_path, "the job"))
            process.start()
            process.join(60)
            assert process.exitcode == 9
        with pytest.raises(CallInProgressError):
            backend.once.run("charge:1", service, DAY, "another job")
        if next_one == "another job":
            clock.advance(3 * LOST)  # the dead ones had the system's clock
        assert backend.once.run("charge:1", service, DAY, next_one) == "paid"
        assert backend.once.run("charge:1", service, DAY, "a third one") == "paid"
    assert (tmp_path / "tokens").read_text().split() == service.tokens * 2


@pytest.mark.parametrize("error", [OverloadedError, UnavailableError])
@pytest.mark.parametrize("is_down", [False, True], ids=["answers", "fails"])
def test_database_is_busy_after_the_call(error: type[Exception], is_down: bool) -> None:
    """How a call ended is written down although the database refuses that at first."""
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
    """If the result cannot be recorded that is the error, and the same job makes the call again with the same token."""
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
    """If a failed call cannot be released its own error comes out, and the other one is in the log."""
    with memory_backend(SCHEMA) as backend:
        engine: Any = BusyEngine(backend.engine, OverloadedError)
        calls = OnceCalls(engine, backend.schema, backend.signing, backend.clock, lambda seconds: None)

        def call(token: str) -> None:
            engine.fails = 100
            raise Boom

        with pytest.raises(Boom):
            calls.run("a", call, DAY, "owner")
    assert "could not be written down" in caplog.text


def test_busy_before_the_call() -> None:
    """A database that refuses the row keeps the call from being made."""
    service = Service()
    with memory_backend(SCHEMA) as backend:
        engine: Any = BusyEngine(backend.engine, OverloadedError)
        engine.fails = 1
        calls = OnceCalls(engine, backend.schema, backend.signing, backend.clock)
        with pytest.raises(OverloadedError):
            calls.run("a", service, DAY, "owner")
        assert service.tokens == []
        assert calls.run("a", service, DAY, "owner") is None


# --- time ------------------------------------------------------------------------------------------------------------


def test_result_is_forgotten() -> None:
    """A result is remembered for as long as the call that recorded it said, from its end."""
    service, clock = Service(), Clock()
    with memory_backend(SCHEMA, clock=clock) as backend:

        def ask(keep: timedelta) -> int:
            backend.ctx().once("a", service, keep=keep)
            return len(service.tokens)

        assert ask(DAY) == 1
        clock.advance(DAY - timedelta(seconds=1))
        assert ask(timedelta(seconds=1)) == 1
        clock.advance(timedelta(seconds=1))
        assert ask(2 * DAY) == 2
        clock.advance(DAY)
        assert ask(DAY) == 2


def test_row() -> None:
    """The row says who began the call and when, and it is kept from the end of the call on."""
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


def test_short_memory_does_not_shorten_the_call() -> None:
    """A call that is to be remembered for a moment only is still one that others wait for."""
    service, clock = SlowService(), Clock()
    keep = timedelta(milliseconds=1)
    with memory_backend(SCHEMA, clock=clock) as backend, ThreadPoolExecutor(1) as threads:
        first = threads.submit(other_process(backend).run, "a", service, keep, "them")
        assert service.begun.wait(30)
        clock.advance(LOST / 2)
        assert sweep(backend) == 0
        with pytest.raises(CallInProgressError):
            backend.ctx().once("a", service, keep=keep)
        service.end.set()
        first.result()


def test_clock_that_was_set_back() -> None:
    """A call that began in the future, since the clock was set back, is lost and nobody waits for it for long."""
    clock = Clock()
    with memory_backend(SCHEMA, clock=clock) as backend:
        begin(backend, "a", "them")
        clock.advance(timedelta(days=-400))
        assert backend.ctx().once("a", Service(1)) == 1


@pytest.mark.parametrize("keep", [timedelta(microseconds=1), timedelta.max])
def test_shortest_and_longest_memory(keep: timedelta) -> None:
    """Any length of time will do for remembering."""
    with memory_backend(SCHEMA) as backend:
        assert backend.ctx().once("a", Service(1), keep=keep) == 1


def test_sweep() -> None:
    """What may be forgotten is removed, a part of it at a time: results, and calls that never ended."""
    clock = Clock()
    with memory_backend(SCHEMA, clock=clock) as backend:
        for number in range(5):
            backend.ctx().once(f"a {number}", Service(), keep=DAY)
        begin(backend, "lost", "them")
        backend.ctx().once("kept", Service(), keep=2 * DAY)
        assert sweep(backend) == 0
        clock.advance(DAY)
        assert [sweep(backend, limit=4), sweep(backend, limit=4), sweep(backend, limit=4)] == [4, 2, 0]
        assert [row.key for row in rows(backend)] == ["kept"]


def test_swept_in_the_midst() -> None:
    """The result of a call whose row was swept away while it was made is recorded nevertheless."""
    service, clock = SlowService("paid"), Clock()
    with memory_backend(SCHEMA, clock=clock) as backend, ThreadPoolExecutor(1) as threads:
        first = threads.submit(backend.ctx().once, "a", service, keep=DAY)
        assert service.begun.wait(30)
        clock.advance(DAY)
        assert sweep(backend) == 1
        service.end.set()
        assert first.result() == "paid"
        assert backend.ctx().once("a", service) == "paid"
    assert len(service.tokens) == 1
