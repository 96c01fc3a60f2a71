"""The last attempt of a job: `ctx.attempt.max_attempts`, `NoRetry`, and `on_failure` of actions."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import (
    ActionCtx,
    DeadLetterError,
    Document,
    Id,
    MutationCtx,
    NoRetry,
    QueryCtx,
    RegistrationError,
    Retry,
    Schema,
    action,
    internal_action,
    internal_mutation,
    internal_query,
)
from flask_convex_http.backend import Backend
from flask_convex_http.functions.function import Function
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.testing import Clock, run_scheduled
from flask_convex_http.worker import ActionRunner
from flask_convex_http.worker.lost_actions import end_interrupted_attempt
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, memory_backend
from tests.sqlite.crews import PATIENCE, wait_until
from tests.worker.workers import open_backend

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

DAY = timedelta(days=1)
TWICE = Retry(max_attempts=2, backoff=1)


class Alarm(Document, table="alarms"):
    text: str
    state: str | None = None


@internal_mutation
def alarm(ctx: MutationCtx, error: str, *, order: int, since: datetime | None = None) -> None:
    """Record the failure of an order, and the state of its job at that moment."""
    jobs = [job for job in ctx.db.system.query(ScheduledFunction) if job.kind == "action"]
    ctx.db.insert(Alarm(text=f"{order} {since and since.year}: {error}", state=jobs[0].state))
    ctx.scheduler.run_after(0, follow_up)


@internal_mutation
def follow_up(ctx: MutationCtx) -> None:
    """Do nothing, after a failure."""


@internal_query
def alarms(ctx: QueryCtx) -> list[tuple[str, str | None]]:
    """Return all alarms."""
    return [(each.text, each.state) for each in ctx.db.query(Alarm)]


@contextmanager
def opened(*functions: Function[Any, Any]) -> Iterator[Backend]:
    """Open a backend with these functions and a clock."""
    with memory_backend(Schema(Alarm), [follow_up, alarms, *functions], clock=Clock()) as backend:
        yield backend


# --- ctx.attempt -----------------------------------------------------------------------------------------------------


def test_attempt_knows_the_last_one() -> None:
    """`ctx.attempt.max_attempts` is the number of the last attempt, and the attempt itself is a number."""
    seen = []

    @internal_action(retry=Retry(max_attempts=3))
    def fail(ctx: ActionCtx) -> None:
        seen.append((ctx.attempt, ctx.attempt.max_attempts, ctx.attempt == ctx.attempt.max_attempts))
        raise ValueError

    with opened(fail) as backend:
        backend.ctx().scheduler.run_after(0, fail)
        run_scheduled(backend, advance=DAY)
    assert seen == [(1, 3, False), (2, 3, False), (3, 3, True)]


def test_last_attempt_without_a_retry() -> None:
    """Without a retry, and in a direct call, the first attempt is the last one."""

    @action
    def attempt(ctx: ActionCtx) -> int:
        seen.append((ctx.attempt, ctx.attempt.max_attempts))
        return ctx.attempt

    seen: list[tuple[int, int]] = []
    with opened(attempt) as backend:
        backend.ctx().scheduler.run_after(0, attempt)
        run_scheduled(backend)
        assert backend.ctx().run_action(attempt) == 1
    assert seen == [(1, 1), (1, 1)]


def test_last_attempt_after_an_operator_s_retry() -> None:
    """An attempt that an operator adds is the last one."""
    seen = []

    @internal_action(retry=TWICE)
    def fail(ctx: ActionCtx) -> None:
        seen.append((ctx.attempt, ctx.attempt.max_attempts))
        raise ValueError

    with opened(fail) as backend:
        job_id = backend.ctx().scheduler.run_after(0, fail)
        run_scheduled(backend, advance=DAY)
        backend.job_control.retry([job_id])
        run_scheduled(backend, advance=DAY)
    assert seen == [(1, 2), (2, 2), (3, 3)]


# --- NoRetry ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [NoRetry, DeadLetterError])
def test_no_retry(error: type[NoRetry], caplog: pytest.LogCaptureFixture) -> None:
    """An action that raises NoRetry has failed at once, with its own words and an ERROR in the log."""

    @internal_action(retry=Retry(max_attempts=5))
    def charge(ctx: ActionCtx) -> None:
        raise error("The card was stolen")

    with opened(charge) as backend:
        backend.ctx().scheduler.run_after(0, charge)
        [job] = run_scheduled(backend, advance=DAY)
    assert (job.state, job.error, len(job.attempts)) == ("failed", "The card was stolen", 1)
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]


def test_no_retry_from_a_mutation() -> None:
    """NoRetry from a mutation rolls the mutation back and ends the action that ran it."""

    @internal_mutation
    def book(ctx: MutationCtx) -> None:
        ctx.db.insert(Alarm(text="rolled back"))
        raise NoRetry("There is no such account")

    @internal_action(retry=Retry(max_attempts=5))
    def pay(ctx: ActionCtx) -> None:
        ctx.run_mutation(book)

    with opened(book, pay) as backend:
        backend.ctx().scheduler.run_after(0, pay)
        [job] = run_scheduled(backend, advance=DAY)
        assert backend.ctx().run_query(alarms) == []
    assert (job.state, job.error) == ("failed", "There is no such account")


# --- on_failure ------------------------------------------------------------------------------------------------------


def failing(error: Exception | None = None, retry: Retry | None = TWICE) -> Function[Any, Any]:
    """Return an action that fails in all attempts and then raises an alarm."""

    @internal_action(retry=retry, on_failure=alarm)
    def ship(ctx: ActionCtx, *, order: int, since: datetime | None = None) -> None:
        raise error or ValueError(f"no truck in attempt {ctx.attempt}")

    return ship


def run_one(ship: Any, **arguments: Any) -> tuple[list[ScheduledFunction], Any]:
    """Run one action to its end, and return its job, the jobs after it, and the alarms."""
    with opened(ship) as backend:
        backend.ctx().scheduler.run_after(0, ship, **arguments)
        jobs = run_scheduled(backend, advance=DAY)
        return jobs, backend.ctx().run_query(alarms)


def test_on_failure_runs_after_the_last_attempt() -> None:
    """`on_failure` runs once, after the last attempt, in the commit that records the failure."""
    jobs, found = run_one(failing(), order=7, since=datetime(2027, 1, 1, tzinfo=UTC))
    assert found == [("7 2027: ValueError: no truck in attempt 2", "failed")]
    assert [(job.name, job.state) for job in jobs][1:] == [("test_final_failures:follow_up", "success")]


def test_on_failure_gets_defaults() -> None:
    """`on_failure` gets the arguments that the action would have got, defaults included."""
    assert run_one(failing(retry=None), order=7)[1] == [("7 None: ValueError: no truck in attempt 1", "failed")]


def test_on_failure_after_no_retry() -> None:
    """`on_failure` runs at once after NoRetry, and gets its words."""
    assert run_one(failing(NoRetry("The truck is sold")), order=7)[1] == [("7 None: The truck is sold", "failed")]


def test_on_failure_is_not_for_a_success() -> None:
    """`on_failure` does not run after an attempt that is retried successfully."""

    @internal_action(retry=TWICE, on_failure=alarm)
    def ship(ctx: ActionCtx, *, order: int, since: datetime | None = None) -> None:
        if ctx.attempt == 1:
            raise ValueError

    jobs, found = run_one(ship, order=7)
    assert ([job.state for job in jobs], found) == (["success"], [])


def test_on_failure_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """An `on_failure` that raises leaves nothing but a line in the log, and the job has failed."""

    @internal_mutation
    def break_down(ctx: MutationCtx, error: str) -> None:
        ctx.db.insert(Alarm(text=error))
        raise KeyError("nobody is there")

    @internal_action(on_failure=break_down)
    def ship(ctx: ActionCtx) -> None:
        raise ValueError("no truck")

    [job], found = run_one(ship)
    assert (job.state, job.error, found) == ("failed", "ValueError: no truck", [])
    assert any("on_failure" in record.message and record.exc_info for record in caplog.records)


def test_on_failure_of_a_canceled_action() -> None:
    """`on_failure` does not run for an action that was canceled while it ran."""

    @internal_mutation
    def cancel(ctx: MutationCtx, *, job: Id[ScheduledFunction]) -> None:
        ctx.scheduler.cancel(job)

    @internal_action(on_failure=alarm)
    def ship(ctx: ActionCtx, *, order: int, since: datetime | None = None) -> None:
        ctx.run_mutation(cancel, job=Id(ctx.idempotency_token))
        raise ValueError

    with opened(cancel, ship) as backend:
        backend.ctx().scheduler.run_after(0, ship, order=7)
        [job] = run_scheduled(backend)
        assert (job.state, backend.ctx().run_query(alarms)) == ("canceled", [])


def test_on_failure_of_a_stopped_action() -> None:
    """`on_failure` runs for an action without a retry whose worker was stopped."""
    begun, end, ended = threading.Event(), threading.Event(), threading.Event()

    @internal_action(on_failure=alarm)
    def ship(ctx: ActionCtx, *, order: int, since: datetime | None = None) -> None:
        begun.set()
        end.wait(PATIENCE)

    with opened(ship) as backend:
        backend.ctx().scheduler.run_after(0, ship, order=7)
        runner = ActionRunner(backend, nullcontext, ended.set)
        runner.start_due()
        wait_until(begun.is_set)
        runner.interrupt()
        end.set()
        assert ended.wait(PATIENCE)  # it would record its end in a closed database, and log that in a later test
        assert backend.ctx().run_query(alarms) == [("7 None: The worker that ran it was stopped", "failed")]


def test_on_failure_of_a_lost_action() -> None:
    """After its worker died, `on_failure` is a job of its own, so that it cannot kill each worker that finds it."""
    begun, end, ended = threading.Event(), threading.Event(), threading.Event()

    @internal_action(on_failure=alarm)
    def ship(ctx: ActionCtx, *, order: int, since: datetime | None = None) -> None:
        begun.set()
        end.wait(PATIENCE)

    with opened(ship) as backend:
        backend.ctx().scheduler.run_after(0, ship, order=7)
        ActionRunner(backend, nullcontext, ended.set).start_due()
        wait_until(begun.is_set)
        [job] = backend.job_control.list_jobs("inProgress", limit=1)
        backend.runtime.write(
            lambda calls: end_interrupted_attempt(backend, nullcontext, calls, job, "lost"), backend.caller()
        )
        end.set()
        assert ended.wait(PATIENCE)
        assert backend.ctx().run_query(alarms) == []
        assert [each.name for each in run_scheduled(backend)] == [alarm.name, "test_final_failures:follow_up"]
        assert backend.ctx().run_query(alarms) == [("7 None: The worker that ran it died", "failed")]


def test_on_failure_that_takes_too_long(tmp_path: Path) -> None:
    """An `on_failure` over the time limit of mutations does not keep its action from failing, and runs as a job."""
    runs = []

    @internal_mutation
    def linger(ctx: MutationCtx, error: str) -> None:
        runs.append(error)
        while len(runs) == 1:
            time.sleep(0.01)

    @internal_action(on_failure=linger)
    def ship(ctx: ActionCtx) -> None:
        raise ValueError("no truck")

    with open_backend(tmp_path, [ship], mutation_timeout=0.5) as backend:
        backend.ctx().scheduler.run_after(0, ship)
        jobs = run_scheduled(backend)
    assert [(job.name, job.state) for job in jobs] == [(ship.name, "failed"), (linger.name, "success")]
    assert runs == ["ValueError: no truck"] * 2


@pytest.mark.parametrize("wrong", ["no error", "misspelt", "one more", "no mutation"])
def test_on_failure_takes_the_arguments(wrong: str) -> None:
    """An `on_failure` that does not take the error and the action's arguments is rejected, with the right line."""

    @internal_mutation
    def no_error(ctx: MutationCtx, *, order: int) -> None: ...

    @internal_mutation
    def misspelt(ctx: MutationCtx, error: str, *, ordr: int) -> None: ...

    @internal_mutation
    def one_more(ctx: MutationCtx, error: str, *, order: int, why: str) -> None: ...

    def ship(ctx: ActionCtx, *, order: int) -> None: ...

    functions: dict[str, Any] = {"no error": no_error, "misspelt": misspelt, "one more": one_more, "no mutation": ship}
    decorate: Any = internal_action
    expected = (
        "@internal_mutation" if wrong == "no mutation" else r"\(ctx: MutationCtx, error: str, \*, order: \.\.\.\)"
    )
    with pytest.raises(RegistrationError, match=expected):
        decorate(on_failure=functions[wrong])(ship)
