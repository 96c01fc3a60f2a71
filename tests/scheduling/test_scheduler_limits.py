"""`ctx.scheduler`: the limits of one mutation, and functions that cannot be scheduled."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from flask_convex_http import (
    ActionCtx,
    ArgumentValidationError,
    FunctionCallError,
    FunctionNotFoundError,
    MutationCtx,
    SchedulingError,
    action,
    internal_mutation,
)
from flask_convex_http.scheduling.job_writer import MAX_ARGUMENT_BYTES, MAX_JOBS
from flask_convex_http.scheduling.submission import MAX_ARGUMENTS
from flask_convex_http.testing import memory_backend, run_scheduled
from tests.notes import FUNCTIONS, SCHEMA, Boom, later, note, rows, scheduled_texts, texts

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


# --- limits ----------------------------------------------------------------------------------------------------------


@internal_mutation
def schedule_many(ctx: MutationCtx, *, sizes: list[int], fail: bool = False) -> None:
    for size in sizes:
        ctx.scheduler.run_after(0, note, text="x" * size)
    if fail:
        raise Boom


def test_number_of_jobs() -> None:
    """A mutation schedules at most a thousand jobs, and the error of the next can be caught."""

    @internal_mutation
    def outer(ctx: MutationCtx) -> None:
        ctx.run_mutation(schedule_many, sizes=[1] * MAX_JOBS)
        with pytest.raises(SchedulingError, match=r"Too many functions scheduled by this mutation \(limit: 1000\)"):
            ctx.scheduler.run_after(0, note)
        with pytest.raises(SchedulingError, match="Too many"):
            ctx.run_mutation(later, text="")

    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        backend.ctx().run_mutation(outer)
        assert len(scheduled_texts(backend)) == MAX_JOBS


def test_rolled_back_jobs_do_not_count() -> None:
    """Jobs of an inner mutation that was rolled back count towards no limit."""
    large = (MAX_ARGUMENTS - 1000,) * 3

    @internal_mutation
    def outer(ctx: MutationCtx) -> None:
        for sizes in ([1] * 999, large):
            with suppress(Boom):
                ctx.run_mutation(schedule_many, sizes=list(sizes), fail=True)
        ctx.run_mutation(schedule_many, sizes=[*large, *[1] * (MAX_JOBS - 3)])
        with pytest.raises(SchedulingError):
            ctx.scheduler.run_after(0, note)

    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        backend.ctx().run_mutation(outer)
        assert len(scheduled_texts(backend)) == MAX_JOBS


def test_each_job_has_its_own_limits() -> None:
    """Each job of a batch has its own limits."""
    with memory_backend(SCHEMA, [*FUNCTIONS, schedule_many]) as backend:
        for _ in range(2):
            backend.ctx().scheduler.run_after(0, schedule_many, sizes=[1] * MAX_JOBS)
        ran = run_scheduled(backend)
        assert [job.state for job in ran] == ["success"] * (2 + 2 * MAX_JOBS)


def test_size_of_arguments() -> None:
    """The arguments of one job are at most 4 MiB of JSON, those of all jobs of a mutation 16 MiB."""
    largest = MAX_ARGUMENTS - len(b'{"text":""}')

    @internal_mutation
    def outer(ctx: MutationCtx) -> None:
        with pytest.raises(ArgumentValidationError, match=r"note: the arguments are too large .* limit 4194304; store"):
            ctx.scheduler.run_after(0, note, text="x" * (largest + 1))
        for _ in range(MAX_ARGUMENT_BYTES // MAX_ARGUMENTS):
            ctx.scheduler.run_after(0, note, text="x" * largest)
        with pytest.raises(SchedulingError, match=r"Too large total size .* \(limit: 16777216 bytes\)"):
            ctx.scheduler.run_after(0, note)

    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        backend.ctx().run_mutation(outer)
        assert [len(text) for text in scheduled_texts(backend)] == [largest] * 4


# --- functions -------------------------------------------------------------------------------------------------------


@action
def public(ctx: ActionCtx) -> None: ...


@pytest.mark.parametrize("function", ["test_scheduler_limits:public", public])
def test_by_name_and_by_reference(function: Any) -> None:
    """A public or internal function is scheduled by name or by reference."""
    with memory_backend(SCHEMA, [public]) as backend:
        backend.ctx().scheduler.run_after(0, function)
        assert [(job.name, job.kind, job.state) for job in run_scheduled(backend)] == [
            ("test_scheduler_limits:public", "action", "success")
        ]


def plain(ctx: Any) -> None: ...


@internal_mutation
def elsewhere(ctx: MutationCtx) -> None: ...


REJECTED: list[tuple[Any, type[Exception], str]] = [
    ("notes:nothing", FunctionNotFoundError, "Could not find function 'notes:nothing'"),
    ("", FunctionNotFoundError, "Could not find function ''"),
    (texts, FunctionCallError, "notes:texts is a query, and its result would be lost"),
    ("notes:texts", FunctionCallError, "notes:texts is a query"),
    (plain, FunctionCallError, "plain is not a registered function; decorate it"),
    (None, FunctionCallError, "None is not a registered function"),
    (elsewhere, FunctionCallError, "elsewhere .*functions="),
]


@pytest.mark.parametrize(("function", "error", "message"), REJECTED)
def test_functions_that_cannot_be_scheduled(function: Any, error: type[Exception], message: str) -> None:
    """Queries, plain functions and functions that no worker could find are rejected when scheduled."""

    @internal_mutation
    def inside(ctx: MutationCtx) -> None:
        ctx.scheduler.run_after(0, function)

    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        ctx: Any = backend.ctx()
        schedules: list[Callable[[], object]] = [
            lambda: ctx.run_mutation(inside),
            lambda: ctx.scheduler.run_after(0, function),
            lambda: ctx.scheduler.run_at(START, function),
        ]
        for schedule in schedules:
            with pytest.raises(error, match=message):
                schedule()
        assert backend.ctx().run_query(rows) == []
