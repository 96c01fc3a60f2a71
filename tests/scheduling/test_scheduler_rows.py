"""Jobs as rows that functions read, and their cancellation."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flask_convex_http import (
    ActionCtx,
    ArgumentValidationError,
    Document,
    Id,
    MutationCtx,
    ScheduledFunction,
    Schema,
    internal_action,
    internal_mutation,
)
from flask_convex_http.schema.system_tables import CronJob
from flask_convex_http.testing import Clock, run_scheduled
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, memory_backend
from tests.notes import FUNCTIONS, SCHEMA, Boom, Note, call, later, note, noted_texts, row, rows, state

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


# --- rows ------------------------------------------------------------------------------------------------------------


def test_row() -> None:
    """A job can be read as a document, by its id and by a query, before it runs and after."""
    clock = Clock(START)
    now = START.timestamp() * 1000
    with memory_backend(SCHEMA, FUNCTIONS, clock=clock) as backend:
        job_id = backend.ctx().scheduler.run_after(HOUR, note, text="a")
        job: ScheduledFunction = backend.ctx().run_query(row, job=job_id)
        assert backend.ctx().run_query(rows) == [job]
        assert (job.id, job.name, job.args, job.kind) == (job_id, "notes:note", {"text": "a"}, "mutation")
        assert (job.state, job.scheduled_time, job.completed_time) == ("pending", now + 3_600_000, None)
        assert job.creation_time == pytest.approx(now, abs=1)
        run_scheduled(backend, advance=2 * HOUR)
        job = backend.ctx().run_query(row, job=job_id)
        assert (job.state, job.scheduled_time, job.completed_time) == ("success", now + 3_600_000, now + 3_600_000)
        assert (job.error, job.attempts) == (None, [])


def test_action_in_progress() -> None:
    """An action sees itself in progress, and its attempt is recorded afterwards."""
    seen: list[Any] = []

    @internal_action
    def look(ctx: ActionCtx) -> None:
        seen.extend(ctx.run_query(rows))
        seen.append((ctx.idempotency_token, ctx.attempt))

    with memory_backend(SCHEMA, [*FUNCTIONS, look], clock=Clock(START)) as backend:
        job_id = backend.ctx().scheduler.run_after(0, look)
        (job,) = run_scheduled(backend)
    assert [seen[0].id, seen[0].state, seen[1]] == [job_id, "inProgress", (job_id, 1)]
    assert [attempt.outcome for attempt in job.attempts] == ["success"]


def test_rows_cannot_be_written() -> None:
    """Applications read jobs through `ctx.db.system`, and change them through the scheduler only."""

    @internal_mutation
    def write(ctx: MutationCtx, *, job: Id[ScheduledFunction]) -> None:
        now = ctx.now
        row = ScheduledFunction(name="a", args={}, kind="mutation", state="pending", scheduled_time=now, due=now)
        uses: list[Callable[[], object]] = [
            lambda: ctx.db.get(job),
            lambda: ctx.db.query(ScheduledFunction),
            lambda: ctx.db.patch(job, state="success"),
            lambda: ctx.db.delete(job),
            lambda: ctx.db.insert(row),
            lambda: ctx.db.replace(job, row),
        ]
        for use in uses:
            with pytest.raises(ArgumentValidationError, match=r"read it with ctx\.db\.system"):
                use()
        with pytest.raises(ArgumentValidationError, match=r"ctx\.db\.system reads"):
            ctx.db.system.query(CronJob)

    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        job_id = backend.ctx().scheduler.run_after(60, note)
        backend.ctx().run_mutation(write, job=job_id)
        assert state(backend, job_id) == "pending"


def test_id_in_a_document() -> None:
    """A document can hold the id of a job."""

    class Reminder(Document, table="reminders"):
        job: Id[ScheduledFunction] | None = None

    @internal_mutation
    def remind(ctx: MutationCtx) -> Id[Reminder]:
        return ctx.db.insert(Reminder(job=ctx.scheduler.run_after(60, note)))

    @internal_mutation
    def forget(ctx: MutationCtx, *, id: Id[Reminder]) -> None:
        reminder = ctx.db.get(id)
        assert reminder is not None
        assert reminder.job is not None
        ctx.scheduler.cancel(reminder.job)

    with memory_backend(Schema(Note, Reminder), FUNCTIONS) as backend:
        ctx = backend.ctx()
        ctx.run_mutation(forget, id=ctx.run_mutation(remind))
        assert [job.state for job in ctx.run_query(rows)] == ["canceled"]


# --- cancellation ----------------------------------------------------------------------------------------------------


@internal_mutation
def cancel(ctx: MutationCtx, *, job: Id[ScheduledFunction], fail: bool = False) -> None:
    ctx.scheduler.cancel(job)
    if fail:
        raise Boom


@pytest.mark.parametrize("kind", [note, call], ids=["mutation", "action"])
@pytest.mark.parametrize("by", ["mutation", "action"])
def test_cancel_pending(kind: Any, by: str) -> None:
    """A job that is canceled before its time does not run, and has a completed time."""
    clock = Clock(START)
    with memory_backend(SCHEMA, FUNCTIONS, clock=clock) as backend:
        ctx = backend.ctx()
        job = ctx.scheduler.run_after(HOUR, kind, text="a")
        ctx.scheduler.run_after(HOUR, note, text="b")
        clock.advance(HOUR / 2)
        if by == "mutation":
            ctx.run_mutation(cancel, job=job)
        else:
            ctx.scheduler.cancel(job)
        found = ctx.run_query(row, job=job)
        assert (found.state, found.completed_time) == ("canceled", (START + HOUR / 2).timestamp() * 1000)
        run_scheduled(backend, advance=HOUR)
        assert noted_texts(backend) == ["b"]
        ctx.scheduler.cancel(job)
        assert ctx.run_query(row, job=job) == found


def test_cancel_is_part_of_the_mutation() -> None:
    """A mutation that fails has canceled no job."""
    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        job = backend.ctx().scheduler.run_after(0, note, text="a")
        with pytest.raises(Boom):
            backend.ctx().run_mutation(cancel, job=job, fail=True)
        run_scheduled(backend)
        assert (state(backend, job), noted_texts(backend)) == ("success", ["a"])


def test_schedule_and_cancel_in_one_mutation() -> None:
    """A job that a mutation schedules and cancels does not run."""

    @internal_mutation
    def outer(ctx: MutationCtx) -> None:
        ctx.scheduler.cancel(ctx.scheduler.run_after(0, note))

    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        backend.ctx().run_mutation(outer)
        assert run_scheduled(backend) == []
        assert [job.state for job in backend.ctx().run_query(rows)] == ["canceled"]


@pytest.mark.parametrize("fails", [False, True])
def test_cancel_an_ended_job(fails: bool) -> None:
    """Canceling an ended job changes nothing."""

    @internal_mutation
    def end(ctx: MutationCtx) -> None:
        if fails:
            raise Boom

    with memory_backend(SCHEMA, [*FUNCTIONS, end]) as backend:
        backend.ctx().scheduler.run_after(0, end)
        (job,) = run_scheduled(backend)
        backend.ctx().scheduler.cancel(job.id)
        assert backend.ctx().run_query(row, job=job.id) == job
        assert job.state == ("failed" if fails else "success")


def test_cancel_a_purged_job() -> None:
    """Canceling a purged job does nothing."""
    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        backend.ctx().scheduler.cancel(Id("_scheduled_functions_" + 32 * "0"))


@pytest.mark.parametrize("wrong", ["", "x", None, 7, "notes_" + 32 * "0", "_scheduled_functions_1", b"bytes"])
def test_cancel_another_value(wrong: Any) -> None:
    """A value that is not the id of a job is rejected as the client's fault."""
    message = "Expected the id of a scheduled function"
    with memory_backend(SCHEMA, FUNCTIONS) as backend, pytest.raises(ArgumentValidationError, match=message):
        backend.ctx().scheduler.cancel(wrong)


def test_mutation_cancels_itself() -> None:
    """A scheduled mutation that cancels itself keeps its writes, and is canceled."""
    own: list[Any] = []

    @internal_mutation
    def give_up(ctx: MutationCtx) -> None:
        ctx.scheduler.cancel(own[0])
        ctx.db.insert(Note(text="a"))
        own.append(ctx.scheduler.run_after(0, note, text="b"))

    with memory_backend(SCHEMA, [*FUNCTIONS, give_up]) as backend:
        own.append(backend.ctx().scheduler.run_after(0, give_up))
        run_scheduled(backend)
        assert [state(backend, job) for job in own] == ["canceled", "canceled"]
        assert noted_texts(backend) == ["a"]


@pytest.mark.parametrize("fails", [False, True])
def test_cancel_a_running_action(fails: bool) -> None:
    """An action that is canceled while it runs goes on. Jobs that it schedules from then on are canceled."""
    jobs: list[Any] = []

    @internal_action
    def go_on(ctx: ActionCtx) -> None:
        jobs.append(ctx.scheduler.run_after(0, note, text="before"))
        backend.ctx().scheduler.cancel(jobs[0])
        jobs.append(ctx.scheduler.run_after(0, note, text="after"))
        jobs.append(ctx.run_mutation(later, text="within"))
        jobs.append(backend.ctx().scheduler.run_after(0, note, text="by another"))
        ctx.run_mutation(note, text="directly")
        if fails:
            raise Boom

    with memory_backend(SCHEMA, [*FUNCTIONS, go_on]) as backend:
        jobs.append(backend.ctx().scheduler.run_after(0, go_on))
        run_scheduled(backend)
        assert [state(backend, job) for job in jobs] == ["canceled", "success", "canceled", "canceled", "success"]
        assert noted_texts(backend) == ["directly", "before", "by another"]
        assert backend.ctx().run_query(row, job=jobs[0]).completed_time is not None
