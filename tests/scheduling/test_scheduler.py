"""`ctx.scheduler`: jobs of mutations and actions, the time of their run, and times that are rejected."""

import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from flask_convex_http import (
    ActionCtx,
    MutationCtx,
    SchedulingError,
    UserIdentity,
    internal_action,
    internal_mutation,
    internal_query,
)
from flask_convex_http.scheduling.job_writer import MAX_JOBS
from flask_convex_http.scheduling.scheduler import MAX_YEARS
from flask_convex_http.testing import Clock, run_scheduled
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, memory_backend
from tests.notes import FUNCTIONS, SCHEMA, Boom, Note, call, later, note, noted_texts, row, rows, scheduled_texts, texts

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
YEARS = timedelta(days=365.25 * MAX_YEARS)
ADA = UserIdentity(subject="ada", issuer="test")


# --- from mutations --------------------------------------------------------------------------------------------------


def test_scheduled_with_the_commit() -> None:
    """A job that a mutation schedules exists after the commit, and runs after it."""

    @internal_mutation
    def outer(ctx: MutationCtx) -> list[str]:
        ctx.run_mutation(later, text="a")
        ctx.scheduler.run_after(0, call, text="b")
        return ctx.run_query(texts)

    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        assert backend.ctx().run_mutation(outer) == []
        assert noted_texts(backend) == []
        assert [job.state for job in backend.ctx().run_query(rows)] == ["pending", "pending"]
        assert [(job.name, job.state) for job in run_scheduled(backend)] == [
            ("notes:note", "success"),
            ("notes:call", "success"),
        ]
        assert noted_texts(backend) == ["a", "b"]
        assert run_scheduled(backend) == []


def test_failed_mutation_schedules_nothing() -> None:
    """A mutation that fails has scheduled no job."""
    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        with pytest.raises(Boom):
            backend.ctx().run_mutation(later, text="a", fail=True)
        assert scheduled_texts(backend) == []
        assert run_scheduled(backend) == []


def test_rolled_back_mutation_schedules_nothing() -> None:
    """Jobs of an inner mutation that was rolled back do not exist. Those around it do."""

    @internal_mutation
    def outer(ctx: MutationCtx) -> None:
        ctx.run_mutation(later, text="before")
        with pytest.raises(Boom):
            ctx.run_mutation(later, text="inside", fail=True)
        ctx.run_mutation(later, text="after")

    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        backend.ctx().run_mutation(outer)
        run_scheduled(backend)
        assert noted_texts(backend) == ["before", "after"]


def test_failed_job_leaves_nothing() -> None:
    """A scheduled mutation that fails leaves no write and no job, does not run again, and has an error."""

    @internal_mutation
    def fail(ctx: MutationCtx) -> None:
        ctx.db.insert(Note(text="a"))
        ctx.scheduler.run_after(0, note, text="b")
        raise Boom("no luck")

    with memory_backend(SCHEMA, [*FUNCTIONS, fail]) as backend:
        backend.ctx().scheduler.run_after(0, fail)
        (job,) = run_scheduled(backend)
        assert job.state == "failed"
        assert "no luck" in (job.error or "")
        assert job.completed_time is not None
        assert noted_texts(backend) == []
        assert run_scheduled(backend) == []


def test_chain() -> None:
    """A job may schedule the next one without a limit, since that is no nesting."""

    @internal_mutation
    def count_down(ctx: MutationCtx, *, number: int) -> None:
        ctx.db.insert(Note(text=str(number)))
        if number:
            ctx.scheduler.run_after(1, "test_scheduler:count_down", number=number - 1)

    clock = Clock(START)
    with memory_backend(SCHEMA, [*FUNCTIONS, count_down], clock=clock) as backend:
        backend.ctx().scheduler.run_after(1, count_down, number=20)
        assert len(run_scheduled(backend, advance=timedelta(seconds=20))) == 20
        assert noted_texts(backend) == [str(number) for number in range(20, 0, -1)]


# --- from actions ----------------------------------------------------------------------------------------------------


def test_action_schedules_at_once() -> None:
    """A job that an action schedules exists at once, and stays if the action fails."""

    @internal_action
    def outer(ctx: ActionCtx) -> None:
        job = ctx.scheduler.run_after(0, note, text="a")
        assert ctx.run_query(row, job=job).state == "pending"
        raise Boom

    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        with pytest.raises(Boom):
            backend.ctx().run_action(outer)
        run_scheduled(backend)
        assert noted_texts(backend) == ["a"]


def test_action_schedules_without_limit() -> None:
    """The limit of jobs is a mutation's. An action schedules each in its own transaction."""
    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        ctx = backend.ctx()
        for _ in range(MAX_JOBS + 1):
            ctx.scheduler.run_after(60, note)
        assert len(ctx.run_query(rows)) == MAX_JOBS + 1


def test_queries_schedule_nothing() -> None:
    """A query has no scheduler, even inside a mutation."""

    @internal_query
    def sly(ctx: Any) -> bool:
        return hasattr(ctx, "scheduler")

    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        assert not backend.ctx().run_query(sly)


def test_identity_is_not_kept() -> None:
    """A job runs without the identity of the caller that scheduled it."""
    seen: list[Any] = []

    @internal_mutation
    def look(ctx: MutationCtx) -> None:
        seen.append(ctx.auth.get_user_identity())

    @internal_action
    def look_too(ctx: ActionCtx) -> None:
        seen.append(ctx.auth.get_user_identity())
        ctx.run_mutation(look)

    @internal_mutation
    def outer(ctx: MutationCtx) -> None:
        assert ctx.auth.get_user_identity() == ADA
        ctx.scheduler.run_after(0, look)

    with memory_backend(SCHEMA, [look, look_too]) as backend:
        ctx = backend.ctx(ADA)
        ctx.run_mutation(outer)
        ctx.scheduler.run_after(0, look_too)
        assert [job.error for job in run_scheduled(backend)] == [None, None]
    assert seen == [None, None, None]


# --- times -----------------------------------------------------------------------------------------------------------


def test_order_of_time() -> None:
    """Jobs run in the order of their times, and none before its time."""
    clock = Clock(START)
    with memory_backend(SCHEMA, FUNCTIONS, clock=clock) as backend:
        scheduler = backend.ctx().scheduler
        scheduler.run_after(timedelta(hours=3), note, text="third")
        scheduler.run_at(START + 2 * HOUR, note, text="second")
        scheduler.run_after(3600, note, text="first")
        scheduler.run_after(0.5, note, text="at once")
        assert run_scheduled(backend) == []
        for number, text in enumerate(["at once", "first", "second", "third"]):
            run_scheduled(backend, advance=timedelta(seconds=1) if number == 0 else HOUR)
            assert noted_texts(backend)[-1] == text
            assert len(noted_texts(backend)) == number + 1


@pytest.mark.parametrize("kind", [note, call], ids=["mutation", "action"])
def test_not_a_millisecond_early(kind: Any) -> None:
    """A job does not run a millisecond before its time, and runs at it."""
    clock = Clock(START)
    with memory_backend(SCHEMA, FUNCTIONS, clock=clock) as backend:
        backend.ctx().scheduler.run_after(60, kind, text="a")
        assert run_scheduled(backend, advance=timedelta(seconds=59, milliseconds=999)) == []
        assert len(run_scheduled(backend, advance=timedelta(milliseconds=1))) == 1


def test_same_time() -> None:
    """Jobs of one time run in the order in which they were scheduled."""
    clock = Clock(START)
    with memory_backend(SCHEMA, FUNCTIONS, clock=clock) as backend:
        for number in range(20):
            backend.ctx().scheduler.run_at(START + HOUR, note, text=str(number))
        run_scheduled(backend, advance=HOUR)
        assert noted_texts(backend) == [str(number) for number in range(20)]


def test_delay_counts_from_the_start_of_the_mutation() -> None:
    """In a mutation a delay counts from `ctx.now`, which does not change."""

    @internal_mutation
    def slow(ctx: MutationCtx) -> float:
        clock.advance(HOUR)
        ctx.scheduler.run_after(60, note)
        return ctx.now

    clock = Clock(START)
    with memory_backend(SCHEMA, FUNCTIONS, clock=clock) as backend:
        now = backend.ctx().run_mutation(slow)
        (job,) = backend.ctx().run_query(rows)
    assert now == START.timestamp() * 1000
    assert job.scheduled_time == now + 60_000


@pytest.mark.parametrize("when", [START - HOUR, START - YEARS, START])
def test_past(when: datetime) -> None:
    """A job with a past time runs at once."""
    with memory_backend(SCHEMA, FUNCTIONS, clock=Clock(START)) as backend:
        backend.ctx().scheduler.run_at(when, note, text="a")
        (job,) = run_scheduled(backend)
    assert (job.state, job.scheduled_time) == ("success", when.timestamp() * 1000)


def test_zones() -> None:
    """A time in any zone means the same moment."""
    when = datetime(2026, 3, 1, 9, tzinfo=timezone(timedelta(hours=9)))
    with memory_backend(SCHEMA, FUNCTIONS, clock=Clock(START)) as backend:
        backend.ctx().scheduler.run_at(when, note)
        (job,) = backend.ctx().run_query(rows)
    assert job.scheduled_time == datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1000


@pytest.mark.parametrize("delay", [0, 0.0, 1e-9, 7, timedelta(0), YEARS, YEARS.total_seconds()])
def test_delays(delay: Any) -> None:
    """A delay is a timedelta or seconds, from zero to five years."""
    with memory_backend(SCHEMA, FUNCTIONS, clock=Clock(START)) as backend:
        backend.ctx().scheduler.run_after(delay, note)
        (job,) = backend.ctx().run_query(rows)
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    assert job.scheduled_time == pytest.approx(START.timestamp() * 1000 + seconds * 1000, abs=0.01)


@pytest.mark.parametrize(
    ("delay", "message"),
    [
        (-1, "must not be negative"),
        (-1e-300, "must not be negative"),
        (timedelta(microseconds=-1), "must not be negative"),
        (math.nan, "must be a timedelta or a finite number of seconds"),
        (math.inf, "finite number"),
        (-math.inf, "finite number"),
        (True, "finite number"),
        ("1", "finite number"),
        (None, "finite number"),
        (START, "finite number"),
        (YEARS + timedelta(seconds=1), "more than 5 years in the future"),
        (timedelta.max, "more than 5 years in the future"),
        (1e300, "more than 5 years in the future"),
        pytest.param(10**400, "more than 5 years in the future", id="larger than any float"),
        pytest.param(-(10**400), "must not be negative", id="less than any float"),
    ],
)
def test_wrong_delay(delay: Any, message: str) -> None:
    """Other delays are rejected, in a mutation and in an action."""

    @internal_mutation
    def inside(ctx: MutationCtx) -> None:
        ctx.scheduler.run_after(delay, note)

    with memory_backend(SCHEMA, FUNCTIONS, clock=Clock(START)) as backend:
        ctx = backend.ctx()
        for schedule in (lambda: ctx.run_mutation(inside), lambda: ctx.scheduler.run_after(delay, note)):
            with pytest.raises(SchedulingError, match=message):
                schedule()
        assert scheduled_texts(backend) == []


@pytest.mark.parametrize(
    ("when", "message"),
    [
        (START.replace(tzinfo=None), "must be an aware datetime"),
        (date(2026, 2, 1), "must be an aware datetime"),
        (1769860800, "must be an aware datetime"),
        ("2026-02-01T00:00:00Z", "must be an aware datetime"),
        (None, "must be an aware datetime"),
        (START + YEARS + timedelta(seconds=1), "more than 5 years in the future"),
        (START - YEARS - timedelta(seconds=1), "more than 5 years in the past"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))), "more than 5 years in the future"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=12))), "more than 5 years in the past"),
    ],
)
def test_wrong_time(when: Any, message: str) -> None:
    """A time that is not aware or not within five years is rejected."""
    with memory_backend(SCHEMA, FUNCTIONS, clock=Clock(START)) as backend:
        with pytest.raises(SchedulingError, match=message):
            backend.ctx().scheduler.run_at(when, note)
        assert scheduled_texts(backend) == []
