"""`run_scheduled` and `Clock` of `flask_convex_http.testing`: due jobs run in the test's thread."""

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app

from flask_convex_http import (
    ActionCtx,
    ConvexHTTP,
    ConvexHTTPError,
    Crons,
    Id,
    MutationCtx,
    Retry,
    internal_action,
    internal_mutation,
)
from flask_convex_http.backend import Backend
from flask_convex_http.config import MEMORY
from flask_convex_http.functions.function import Function
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.testing import Clock, run_scheduled, use_clock
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, memory_backend
from tests.web.apps import backend_of, deployed
from tests.worker.workers import SCHEMA, Boom, Note, all_jobs, notes, write_note, written_notes

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)


@internal_mutation
def tick(ctx: MutationCtx, *, every: float, text: str = "tick") -> None:
    """Insert the time of this run, and run again later."""
    ctx.db.insert(Note(text=f"{text} {(ctx.now - NOON.timestamp() * 1000) / 1000:g}"))
    ctx.scheduler.run_after(every, tick, every=every, text=text)


@internal_action
def act(ctx: ActionCtx, *, text: str) -> None:
    """Insert the name of this thread, and schedule a mutation."""
    ctx.run_mutation(write_note, text=f"{text} in {threading.current_thread().name}")
    ctx.scheduler.run_after(0, write_note, text=f"after {text}")


@internal_action(retry=Retry(max_attempts=4, backoff=1 / 3))
def stubborn(ctx: ActionCtx) -> None:
    """Fail three times."""
    if ctx.attempt < 4:
        raise Boom(str(ctx.attempt))


@internal_mutation
def cancel(ctx: MutationCtx, *, job: Id[ScheduledFunction]) -> None:
    """Cancel a job."""
    ctx.scheduler.cancel(job)


FUNCTIONS: list[Function[Any, Any]] = [tick, act, stubborn, cancel, write_note, notes]


@pytest.fixture(name="backend")
def _backend() -> Iterator[Backend]:
    with memory_backend(SCHEMA, FUNCTIONS, clock=Clock(NOON)) as backend:
        yield backend


def now(backend: Backend) -> float:
    """Return the seconds since noon."""
    return (backend.clock() - NOON.timestamp() * 1000) / 1000


def test_order(backend: Backend) -> None:
    """Due mutations and actions run in the order of their time, and are returned in that order."""
    scheduler = backend.ctx().scheduler
    third = scheduler.run_at(NOON - timedelta(seconds=1), write_note, text="third")
    first = scheduler.run_at(NOON - timedelta(seconds=3), write_note, text="first")
    second = scheduler.run_at(NOON - timedelta(seconds=2), act, text="second")
    later = scheduler.run_after(1, write_note, text="later")
    ran = run_scheduled(backend)
    assert [job.id for job in ran[:3]] == [first, second, third]
    assert [job.state for job in ran] == ["success"] * 4  # the fourth is the job that the action scheduled
    assert written_notes(backend) == ["first", "second in MainThread", "third", "after second"]
    assert [job.state for job in all_jobs(backend) if job.id == later] == ["pending"]


def test_nothing_is_due(backend: Backend) -> None:
    """Without due jobs none runs, and the result is empty."""
    backend.ctx().scheduler.run_after(0.001, write_note, text="later")
    assert (run_scheduled(backend), written_notes(backend)) == ([], [])


def test_a_clock_stands_still(backend: Backend) -> None:
    """Running jobs does not move the clock."""
    for number in range(50):
        backend.ctx().scheduler.run_after(0, write_note, text=str(number))
    assert len(run_scheduled(backend)) == 50
    assert now(backend) == 0


def test_advance_stops_at_each_time(backend: Backend) -> None:
    """Each job runs at its own time, even if it is scheduled on the way. The clock ends where it should."""
    backend.ctx().scheduler.run_after(10, tick, every=10)
    backend.ctx().scheduler.run_after(15, write_note, text="between")
    ran = run_scheduled(backend, advance=timedelta(seconds=35))
    assert written_notes(backend) == ["tick 10", "between", "tick 20", "tick 30"]
    assert len(ran) == 4
    assert now(backend) == 35


@pytest.mark.parametrize("every", [1 / 3, 0.1, 1e-3, 2 / 7])
def test_times_between_microseconds(every: float, backend: Backend) -> None:
    """The clock reaches due times that are not whole microseconds."""
    backend.ctx().scheduler.run_after(every, tick, every=every)
    run_scheduled(backend, advance=timedelta(seconds=20.5 * every))
    assert len(written_notes(backend)) == 20


def test_retries_while_time_passes(backend: Backend) -> None:
    """An action is retried when its backoff is over."""
    backend.ctx().scheduler.run_after(0, stubborn)
    run_scheduled(backend)
    assert [job.state for job in all_jobs(backend)] == ["pending"]
    run_scheduled(backend, advance=timedelta(minutes=1))
    [job] = all_jobs(backend)
    assert (job.state, len(job.attempts)) == ("success", 4)


def test_a_job_that_is_canceled_on_the_way(backend: Backend) -> None:
    """A job that another one cancels before its time does not run."""
    victim = backend.ctx().scheduler.run_after(20, write_note, text="never")
    backend.ctx().scheduler.run_after(10, cancel, job=victim)
    assert len(run_scheduled(backend, advance=timedelta(seconds=30))) == 1
    assert written_notes(backend) == []


def test_an_endless_chain(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that schedules itself at once without end is an error that says so."""
    monkeypatch.setattr("flask_convex_http.testing.scheduled._MAX_RUNS", 100)
    backend.ctx().scheduler.run_after(0, tick, every=0)
    with pytest.raises(RuntimeError, match="does one schedule itself without a delay"):
        run_scheduled(backend)


def test_a_failure_is_returned_not_raised(backend: Backend) -> None:
    """The exception of a job is in its row and is not raised, and the other jobs run."""
    backend.ctx().scheduler.run_after(0, "workers:write_note", text="a")
    with memory_backend(SCHEMA, [failing, *FUNCTIONS], clock=Clock(NOON)) as own:
        own.ctx().scheduler.run_after(0, failing)
        own.ctx().scheduler.run_after(0, write_note, text="next")
        failed, succeeded = run_scheduled(own)
        assert (failed.state, failed.error) == ("failed", "tests.worker.workers.Boom: no")
        assert (succeeded.state, written_notes(own)) == ("success", ["next"])


@internal_mutation
def failing(ctx: MutationCtx) -> None:
    """Raise an exception."""
    raise Boom("no")


def test_only_a_clock_can_be_moved() -> None:
    """`advance` on a backend with a clock of another class is an error with a fix. Due jobs run there, too."""
    with memory_backend(SCHEMA, FUNCTIONS, clock=lambda: NOON.timestamp() * 1000) as backend:
        backend.ctx().scheduler.run_after(0, write_note, text="now")
        with pytest.raises(TypeError, match=r"use_clock\(\)"):
            run_scheduled(backend, advance=timedelta(seconds=1))
        assert len(run_scheduled(backend)) == 1


def test_the_time_of_the_system_can_be_moved() -> None:
    """`advance` on a backend that follows the system's time gives it a `Clock`, which every part of it uses."""
    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        backend.ctx().scheduler.run_after(3600, write_note, text="later")
        assert len(run_scheduled(backend, advance=timedelta(hours=1))) == 1
        clock = use_clock(backend)
        key, _ = backend.api_keys.create(name="ci", expires_at=clock() + 1000)
        assert backend.api_keys.verify(key) is not None
        clock.advance(timedelta(seconds=2))
        assert backend.api_keys.verify(key) is None
        assert use_clock(backend) is clock
        assert use_clock(backend, Clock(NOON))() == backend.clock() == NOON.timestamp() * 1000


def test_an_app_of_a_module(caplog: pytest.LogCaptureFixture) -> None:
    """Retries of an app that a module has created, without a clock, run when time is moved."""
    app = Flask(__name__)
    app.config.from_mapping(CONVEX_DATABASE_URL=MEMORY, TESTING=True)
    convex = ConvexHTTP(app, schema=SCHEMA, functions=[retrying])
    with app.app_context(), closing(convex.backend):
        convex.migrate()
        convex.ctx().scheduler.run_after(0, retrying)
        first = run_scheduled(app)
        assert [(job.name, job.state) for job in first.later] == [("test_run_scheduled:retrying", "pending")]
        assert first == first.later
        [line] = [record for record in caplog.records if "for later" in record.getMessage()]
        assert line.levelname == "WARNING" and "retrying" in line.getMessage()
        second = run_scheduled(app, advance=timedelta(minutes=1))
        assert ([job.state for job in second], second.later) == (["success"], [])


def test_each_app_may_have_a_clock() -> None:
    """`init_app` takes a clock for its app alone."""
    convex, apps = ConvexHTTP(schema=SCHEMA), [Flask(__name__), Flask(__name__)]
    for app, clock in zip(apps, (Clock(NOON), None), strict=True):
        app.config.from_mapping(CONVEX_DATABASE_URL=MEMORY, TESTING=True)
        convex.init_app(app, clock=clock)
    times = [backend_of(app).clock() for app in apps]
    assert times[0] == NOON.timestamp() * 1000 != times[1]


def test_jobs_for_later_are_listed(caplog: pytest.LogCaptureFixture) -> None:
    """Jobs that are due later are returned in the order of their time, and logged."""
    caplog.set_level("INFO", logger="flask_convex_http.jobs")
    with memory_backend(SCHEMA, FUNCTIONS, clock=Clock(NOON)) as backend:
        for delay in (7, 5):
            backend.ctx().scheduler.run_after(delay, write_note, text=str(delay))
        ran = run_scheduled(backend)
        assert (ran, [job.args["text"] for job in ran.later]) == ([], ["5", "7"])
    assert [record.getMessage() for record in caplog.records if "later" in record.getMessage()] == [
        "run_scheduled() leaves 2 jobs for later; the first, workers:write_note, is due in 5.000 s: "
        "advance= moves the clock"
    ]


@internal_action(retry=Retry(max_attempts=3))
def retrying(ctx: ActionCtx) -> None:
    """Fail twice."""
    if ctx.attempt < 3:
        raise Boom


def test_crons_fire_as_time_passes() -> None:
    """Crons fire at their ticks, in order with scheduled jobs."""
    crons = Crons()
    crons.interval("often", timedelta(minutes=20), write_note, text="often")
    crons.hourly("hourly", 30, write_note, text="hourly")
    with memory_backend(SCHEMA, FUNCTIONS, crons=crons, clock=Clock(NOON)) as backend:
        run_scheduled(backend)
        before = written_notes(backend)
        run_scheduled(backend, advance=timedelta(minutes=65))
        assert written_notes(backend)[len(before) :] == ["often", "hourly", "often", "often"]


def test_an_app(tmp_path: Path) -> None:
    """An app is accepted like a backend, and its functions run in its context."""
    clock = Clock(NOON)
    with deployed(tmp_path, schema=SCHEMA, functions=[insert_app_name, *FUNCTIONS], clock=clock, TESTING=True) as app:
        backend_of(app).ctx().scheduler.run_after(60, insert_app_name)
        [job] = run_scheduled(app, advance=timedelta(minutes=2))
        assert (job.state, written_notes(backend_of(app))) == ("success", ["test_app"])


@internal_mutation
def insert_app_name(ctx: MutationCtx) -> None:
    """Insert the name of the current app."""
    ctx.db.insert(Note(text=current_app.name))


def test_an_app_without_a_backend() -> None:
    """An app without ConvexHTTP is an error that says so."""
    with pytest.raises((RuntimeError, ConvexHTTPError), match="ConvexHTTP"):
        run_scheduled(Flask("bare"))


def test_an_app_that_is_not_for_tests(tmp_path: Path) -> None:
    """The jobs of an app without TESTING do not run, and the error says what to set."""
    url = f"sqlite:///{tmp_path}/real.db"
    with deployed(tmp_path, schema=SCHEMA, functions=list(FUNCTIONS), CONVEX_DATABASE_URL=url) as app:
        backend_of(app).ctx().scheduler.run_after(0, write_note, text="a letter")
        with pytest.raises(RuntimeError, match=r"real\.db, for real; give the app TESTING=True"):
            run_scheduled(app)
        assert written_notes(backend_of(app)) == []


@pytest.mark.parametrize(("target", "advance"), [("app", None), (None, 5), (None, timedelta(seconds=-1))])
def test_wrong_arguments(backend: Backend, target: Any, advance: Any) -> None:
    """A target or a duration of a wrong type is an error that names the right one."""
    with pytest.raises(TypeError, match="takes a"):
        run_scheduled(target or backend, advance=advance)


@pytest.mark.parametrize("kind", ["mutation", "action"])
def test_base_exceptions_are_raised(kind: str) -> None:
    """Ctrl-C and pytest.fail() inside a function fail the job and leave `run_scheduled`."""

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
