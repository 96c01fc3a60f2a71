"""`run_scheduled` and `Clock`, which tests of applications use: everything that is due runs, here and now."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app

from flask_convex_http import (
    ActionCtx,
    ConvexHTTPError,
    Crons,
    Id,
    MutationCtx,
    Retry,
    internal_action,
    internal_mutation,
)
from flask_convex_http.backend import Backend
from flask_convex_http.functions.function import Function
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.testing import Clock, run_scheduled
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, memory_backend
from tests.web.apps import backend_of, deployed
from tests.worker.runs import SCHEMA, Boom, Note, notes, rows, write_down, written

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)


@internal_mutation
def tick(ctx: MutationCtx, *, every: float, text: str = "tick") -> None:
    """Write down when it runs, and run again later."""
    ctx.db.insert(Note(text=f"{text} {(ctx.now - NOON.timestamp() * 1000) / 1000:g}"))
    ctx.scheduler.run_after(every, tick, every=every, text=text)


@internal_action
def act(ctx: ActionCtx, *, text: str) -> None:
    """Write down in which thread it runs, and schedule a mutation."""
    ctx.run_mutation(write_down, text=f"{text} in {threading.current_thread().name}")
    ctx.scheduler.run_after(0, write_down, text=f"after {text}")


@internal_action(retry=Retry(max_attempts=4, backoff=1 / 3))
def stubborn(ctx: ActionCtx) -> None:
    if ctx.attempt < 4:
        raise Boom(str(ctx.attempt))


@internal_mutation
def cancel(ctx: MutationCtx, *, job: Id[ScheduledFunction]) -> None:
    ctx.scheduler.cancel(job)


FUNCTIONS: list[Function[Any, Any]] = [tick, act, stubborn, cancel, write_down, notes]


@pytest.fixture(name="backend")
def _backend() -> Iterator[Backend]:
    with memory_backend(SCHEMA, FUNCTIONS, clock=Clock(NOON)) as backend:
        yield backend


def now(backend: Backend) -> float:
    """Seconds since noon."""
    return (backend.clock() - NOON.timestamp() * 1000) / 1000


def test_what_is_due_runs_in_order(backend: Backend) -> None:
    """What is due runs in the order of its time, mutations and actions alike, and is answered in that order."""
    scheduler = backend.ctx().scheduler
    third = scheduler.run_at(NOON - timedelta(seconds=1), write_down, text="third")
    first = scheduler.run_at(NOON - timedelta(seconds=3), write_down, text="first")
    second = scheduler.run_at(NOON - timedelta(seconds=2), act, text="second")
    later = scheduler.run_after(1, write_down, text="later")
    ran = run_scheduled(backend)
    assert [job.id for job in ran[:3]] == [first, second, third]
    assert [job.state for job in ran] == ["success"] * 4  # what the action scheduled is the fourth
    assert written(backend) == ["first", "second in MainThread", "third", "after second"]
    assert [job.state for job in rows(backend) if job.id == later] == ["pending"]


def test_nothing_is_due(backend: Backend) -> None:
    """Where nothing is due nothing runs, and the answer is empty."""
    backend.ctx().scheduler.run_after(0.001, write_down, text="later")
    assert (run_scheduled(backend), written(backend)) == ([], [])


def test_a_clock_stands_still(backend: Backend) -> None:
    """The clock is where it was, however much runs."""
    for number in range(50):
        backend.ctx().scheduler.run_after(0, write_down, text=str(number))
    assert len(run_scheduled(backend)) == 50
    assert now(backend) == 0


def test_advance_stops_at_each_time(backend: Backend) -> None:
    """Each function runs at its own time, also those that are scheduled on the way; then the clock is where it should
    be."""
    backend.ctx().scheduler.run_after(10, tick, every=10)
    backend.ctx().scheduler.run_after(15, write_down, text="between")
    ran = run_scheduled(backend, advance=timedelta(seconds=35))
    assert written(backend) == ["tick 10", "between", "tick 20", "tick 30"]
    assert len(ran) == 4
    assert now(backend) == 35


@pytest.mark.parametrize("every", [1 / 3, 0.1, 1e-3, 2 / 7])
def test_times_that_are_no_whole_microseconds(every: float, backend: Backend) -> None:
    """Whatever fraction of a second something is due at, the clock gets there."""
    backend.ctx().scheduler.run_after(every, tick, every=every)
    run_scheduled(backend, advance=timedelta(seconds=20.5 * every))
    assert len(written(backend)) == 20


def test_retries_while_time_passes(backend: Backend) -> None:
    """An action is tried again when its time has come."""
    backend.ctx().scheduler.run_after(0, stubborn)
    run_scheduled(backend)
    assert [job.state for job in rows(backend)] == ["pending"]
    run_scheduled(backend, advance=timedelta(minutes=1))
    [job] = rows(backend)
    assert (job.state, len(job.attempts)) == ("success", 4)


def test_what_is_canceled_on_the_way(backend: Backend) -> None:
    """What another function cancels before its time does not run."""
    victim = backend.ctx().scheduler.run_after(20, write_down, text="never")
    backend.ctx().scheduler.run_after(10, cancel, job=victim)
    assert len(run_scheduled(backend, advance=timedelta(seconds=30))) == 1
    assert written(backend) == []


def test_what_never_ends(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """What schedules itself at once, for ever, is an error that says so."""
    monkeypatch.setattr("flask_convex_http.testing._MOST_RUNS", 100)
    backend.ctx().scheduler.run_after(0, tick, every=0)
    with pytest.raises(RuntimeError, match="does one schedule itself at once"):
        run_scheduled(backend)


def test_a_failure_is_answered_not_raised(backend: Backend) -> None:
    """What fails is told by its row, and the rest runs."""
    backend.ctx().scheduler.run_after(0, "runs:write_down", text="a")
    with memory_backend(SCHEMA, [failing, *FUNCTIONS], clock=Clock(NOON)) as own:
        own.ctx().scheduler.run_after(0, failing)
        own.ctx().scheduler.run_after(0, write_down, text="next")
        failed, succeeded = run_scheduled(own)
        assert (failed.state, failed.error) == ("failed", "tests.worker.runs.Boom: no")
        assert (succeeded.state, written(own)) == ("success", ["next"])


@internal_mutation
def failing(ctx: MutationCtx) -> None:
    raise Boom("no")


def test_only_a_clock_can_be_moved() -> None:
    """A backend with the real time cannot be moved on, and the error says what to do; what is due runs there, too."""
    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        backend.ctx().scheduler.run_after(0, write_down, text="now")
        with pytest.raises(TypeError, match=r"clock=Clock\(\)"):
            run_scheduled(backend, advance=timedelta(seconds=1))
        assert len(run_scheduled(backend)) == 1


def test_crons_fire_as_time_passes() -> None:
    """Crons fire at their ticks, between what is scheduled."""
    crons = Crons()
    crons.interval("often", timedelta(minutes=20), write_down, text="often")
    crons.hourly("hourly", 30, write_down, text="hourly")
    with memory_backend(SCHEMA, FUNCTIONS, crons=crons, clock=Clock(NOON)) as backend:
        run_scheduled(backend)
        before = written(backend)
        run_scheduled(backend, advance=timedelta(minutes=65))
        assert written(backend)[len(before) :] == ["often", "hourly", "often", "often"]


def test_an_app(tmp_path: Path) -> None:
    """An app is run like a backend, in its context."""
    clock = Clock(NOON)
    with deployed(tmp_path, schema=SCHEMA, functions=[named, *FUNCTIONS], clock=clock, TESTING=True) as app:
        backend_of(app).ctx().scheduler.run_after(60, named)
        [job] = run_scheduled(app, advance=timedelta(minutes=2))
        assert (job.state, written(backend_of(app))) == ("success", ["test_app"])


@internal_mutation
def named(ctx: MutationCtx) -> None:
    ctx.db.insert(Note(text=current_app.name))


def test_an_app_without_a_backend() -> None:
    """An app that was not set up is an error that says so."""
    with pytest.raises((RuntimeError, ConvexHTTPError), match="ConvexHTTP"):
        run_scheduled(Flask("bare"))


def test_an_app_that_is_not_for_tests(tmp_path: Path) -> None:
    """What is pending in the database of an app that is not for tests is not run, and the error says what to set."""
    url = f"sqlite:///{tmp_path}/real.db"
    with deployed(tmp_path, schema=SCHEMA, functions=list(FUNCTIONS), CONVEX_DATABASE_URL=url) as app:
        backend_of(app).ctx().scheduler.run_after(0, write_down, text="a letter")
        with pytest.raises(RuntimeError, match=r"real\.db, for real; give the app TESTING=True"):
            run_scheduled(app)
        assert written(backend_of(app)) == []


@pytest.mark.parametrize(("target", "advance"), [("app", None), (None, 5), (None, timedelta(seconds=-1))])
def test_wrong_arguments(backend: Backend, target: Any, advance: Any) -> None:
    """Something else than a backend or an app, and a time that is none, are errors that say what is taken."""
    with pytest.raises(TypeError, match="takes a"):
        run_scheduled(target or backend, advance=advance)


@pytest.mark.parametrize("kind", ["mutation", "action"])
def test_what_is_no_exception_goes_on(kind: str) -> None:
    """Ctrl-C, and pytest.fail() inside of a function, end the test; the function has failed."""

    @internal_mutation
    def interrupt(ctx: MutationCtx) -> None:
        raise KeyboardInterrupt

    @internal_action
    def interrupt_too(ctx: ActionCtx) -> None:
        pytest.fail("from inside")

    function: Any = interrupt if kind == "mutation" else interrupt_too
    with memory_backend(SCHEMA, [function, *FUNCTIONS]) as backend:
        job = backend.ctx().scheduler.run_after(0, function)
        with pytest.raises(KeyboardInterrupt if kind == "mutation" else pytest.fail.Exception):
            run_scheduled(backend)
        with backend.engine.snapshot() as snapshot:
            found = backend.jobs.get(snapshot, job)
        assert found is not None and found.state == "failed"
