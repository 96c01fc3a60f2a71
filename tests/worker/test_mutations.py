"""Scheduled mutations: their order, failures and cancellation."""

import logging
import random
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import (
    ArgumentValidationError,
    Id,
    MutationCtx,
    internal_mutation,
)
from flask_convex_http.scheduling.job_writer import MAX_JOBS
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.worker.results import log_successes
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.sqlite.crews import wait_until
from tests.worker.workers import (
    Boom,
    Note,
    all_jobs,
    get_job,
    open_backend,
    run_all,
    running_worker,
    wait_until_ended,
    write_note,
    written_notes,
)

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


def after(seconds: float) -> datetime:
    """Return a past time, so that all jobs are due at once."""
    return LONG_AGO + timedelta(seconds=seconds)


# --- order -----------------------------------------------------------------------------------------------------------


def test_mutations_run_in_the_order_of_their_time(tmp_path: Path) -> None:
    """One worker runs due mutations in the order of their time, then of their scheduling."""
    times = [number % 60 for number in range(300)]
    random.shuffle(times)
    with open_backend(tmp_path) as backend:

        @internal_mutation
        def schedule_all(ctx: MutationCtx) -> None:
            for number, time in enumerate(times):
                ctx.scheduler.run_at(after(time), write_note, text=f"{time} {number}")

        backend.ctx().run_mutation(schedule_all)
        run_all(backend)
        expected = sorted((time, number) for number, time in enumerate(times))
        assert written_notes(backend) == [f"{time} {number}" for time, number in expected]


def test_mutations_see_earlier_ones(tmp_path: Path) -> None:
    """Each mutation of a batch reads the writes of those before it."""

    @internal_mutation
    def count(ctx: MutationCtx) -> None:
        ctx.db.insert(Note(text=str(len(ctx.db.query(Note).collect()))))

    with open_backend(tmp_path, [count]) as backend:
        for number in range(20):
            backend.ctx().scheduler.run_at(after(number), count)
        run_all(backend)
        assert written_notes(backend) == [str(number) for number in range(20)]


def test_a_chain_of_mutations(tmp_path: Path) -> None:
    """A mutation schedules the next one, and each link of the chain runs once."""

    @internal_mutation
    def link(ctx: MutationCtx, *, number: int) -> None:
        ctx.db.insert(Note(text=str(number)))
        if number < 50:
            ctx.scheduler.run_after(0, link, number=number + 1)

    with open_backend(tmp_path, [link]) as backend:
        backend.ctx().scheduler.run_after(0, link, number=0)
        with running_worker(backend):
            wait_until(lambda: len(written_notes(backend)) == 51)
            ended = wait_until_ended(backend)
        assert written_notes(backend) == [str(number) for number in range(51)]
        assert [each.state for each in ended] == ["success"] * 51


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_failing_mutation_is_rolled_back_alone(tmp_path: Path) -> None:
    """A mutation that raises loses its writes and jobs. The others of its batch keep theirs."""

    @internal_mutation
    def fail(ctx: MutationCtx) -> None:
        ctx.db.insert(Note(text="torn"))
        ctx.scheduler.run_after(0, write_note, text="torn")
        raise Boom("It does not work")

    with open_backend(tmp_path, [fail]) as backend:
        for number in range(10):
            backend.ctx().scheduler.run_at(after(2 * number), write_note, text=str(number))
            backend.ctx().scheduler.run_at(after(2 * number + 1), fail)
        ended = run_all(backend)
        assert written_notes(backend) == [str(number) for number in range(10)]
        assert [each.state for each in ended] == ["success", "failed"] * 10
        assert {each.error for each in ended if each.state == "failed"} == {
            "tests.worker.workers.Boom: It does not work"
        }


class _NoText(Exception):
    def __str__(self) -> str:
        raise Boom("Not even that")


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        MemoryError(),
        RecursionError("deep"),
        StopIteration(),
        _NoText(),
        ValueError("\ud800 half a pair"),
        ValueError("a \0 in the middle"),
        ValueError("long " * 100_000),
        ExceptionGroup("several", [ValueError("one")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_exception_fails_the_mutation(
    error: BaseException, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Any exception fails the one mutation, its row has a readable error, and the worker goes on."""
    caplog.set_level(logging.CRITICAL, logger="flask_convex_http")  # pytest-xdist cannot transfer a lone surrogate

    @internal_mutation
    def fail(ctx: MutationCtx) -> None:
        ctx.db.insert(Note(text="torn"))
        raise error

    with open_backend(tmp_path, [fail]) as backend:
        backend.ctx().scheduler.run_at(after(0), fail)
        backend.ctx().scheduler.run_at(after(1), write_note, text="next")
        failed, succeeded = run_all(backend)
        assert written_notes(backend) == ["next"]
    assert (failed.state, succeeded.state) == ("failed", "success")
    assert failed.error is not None
    assert type(error).__name__ in failed.error
    assert len(failed.error) <= 2000


def test_a_wrong_result_is_a_failure(tmp_path: Path) -> None:
    """A mutation whose result does not match its annotation fails and is rolled back."""

    @internal_mutation
    def wrong(ctx: MutationCtx) -> int:
        ctx.db.insert(Note(text="torn"))
        return "text"  # type: ignore[return-value]  # the error that the test needs

    with open_backend(tmp_path, [wrong]) as backend:
        backend.ctx().scheduler.run_after(0, wrong)
        [failed] = run_all(backend)
        assert (failed.state, written_notes(backend)) == ("failed", [])
        assert "ReturnsValidationError" in str(failed.error)


def test_each_mutation_has_its_own_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mutation of a batch has its own limit of jobs, and exceeding it fails that one."""
    monkeypatch.setattr(
        "flask_convex_http.worker.mutation_runner._BATCH_SECONDS", 60
    )  # otherwise each has its own transaction

    @internal_mutation
    def schedule_many(ctx: MutationCtx, *, count: int) -> None:
        for _ in range(count):
            ctx.scheduler.run_after(3600, write_note, text="later")

    with open_backend(tmp_path, [schedule_many]) as backend:
        for count in (600, 600, MAX_JOBS + 1):
            backend.ctx().scheduler.run_at(after(count), schedule_many, count=count)
        with running_worker(backend):
            wait_until(lambda: all(each.completed_time for each in all_jobs(backend) if "many" in each.name))
        first, second, third, *scheduled = all_jobs(backend)
        assert [first.state, second.state, third.state] == ["success", "success", "failed"]
        assert "Too many functions scheduled" in str(third.error)
        assert len(scheduled) == 1200


@pytest.mark.parametrize(("levels", "is_accepted"), [(64, True), (65, False), (500, False), (100_000, False)])
def test_arguments_that_are_nested_deeply(levels: int, is_accepted: bool, tmp_path: Path) -> None:
    """Arguments that are nested too deep are rejected when they are scheduled, so every row is readable."""

    @internal_mutation
    def take(ctx: MutationCtx, *, value: Any) -> None:
        ctx.db.insert(Note(text="taken"))

    value: Any = {}
    for level in range(levels - 1):
        value = [value, 1] if level % 2 else {"key [{": value}
    with open_backend(tmp_path, [take]) as backend:
        with nullcontext() if is_accepted else pytest.raises(ArgumentValidationError):
            backend.ctx().scheduler.run_at(after(0), take, value=value)
        backend.ctx().scheduler.run_at(after(1), write_note, text="next")
        run_all(backend)
        assert written_notes(backend) == (["taken", "next"] if is_accepted else ["next"])


# --- cancellation ----------------------------------------------------------------------------------------------------


def test_a_mutation_cancels_another_that_is_due(tmp_path: Path) -> None:
    """A due mutation that an earlier one of its batch cancels does not run."""

    @internal_mutation
    def cancel(ctx: MutationCtx, *, job: Id[ScheduledFunction]) -> None:
        ctx.scheduler.cancel(job)

    with open_backend(tmp_path, [cancel]) as backend:
        victim = backend.ctx().scheduler.run_at(after(1), write_note, text="never")
        backend.ctx().scheduler.run_at(after(0), cancel, job=victim)
        backend.ctx().scheduler.run_at(after(2), write_note, text="always")
        run_all(backend)
        assert (get_job(backend, victim).state, written_notes(backend)) == ("canceled", ["always"])


def test_a_mutation_cancels_itself(tmp_path: Path) -> None:
    """A mutation that cancels itself keeps its writes and stays canceled.

    Jobs that it schedules afterwards are canceled.
    """

    @internal_mutation
    def cancel_own(ctx: MutationCtx) -> None:
        ctx.scheduler.run_after(0, write_note, text="before")
        [own] = [each for each in ctx.db.system.query(ScheduledFunction) if each.name.endswith(":cancel_own")]
        ctx.scheduler.cancel(own.id)
        ctx.scheduler.run_after(0, write_note, text="after")
        ctx.db.insert(Note(text="effect"))

    with open_backend(tmp_path, [cancel_own]) as backend:
        backend.ctx().scheduler.run_after(0, cancel_own)
        own, before, later = run_all(backend)
        assert [own.state, before.state, later.state] == ["canceled", "success", "canceled"]
        assert written_notes(backend) == ["effect", "before"]


def test_cancel_before_and_after(tmp_path: Path) -> None:
    """A job that was canceled in time does not run. Canceling an ended job changes nothing."""
    with open_backend(tmp_path) as backend:
        scheduler = backend.ctx().scheduler
        early = scheduler.run_after(0.05, write_note, text="never")
        scheduler.cancel(early)
        late = scheduler.run_after(0.1, write_note, text="once")
        run_all(backend)
        before = get_job(backend, late)
        scheduler.cancel(late)
        assert get_job(backend, late) == before
        assert (get_job(backend, early).state, before.state) == ("canceled", "success")
        assert written_notes(backend) == ["once"]


# --- the log ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "lines"), [("INFO", 1), ("DEBUG", 20), ("WARNING", 0)])
def test_successes_of_a_batch_are_few_lines(
    level: str, lines: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Many mutations of one commit are one line at INFO for each function, and one line for each job at DEBUG."""
    caplog.set_level(level, logger="flask_convex_http.jobs")
    with open_backend(tmp_path) as backend:
        for number in range(20):
            backend.ctx().scheduler.run_after(0, write_note, text=str(number))
        caplog.clear()
        log_successes(all_jobs(backend))
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == lines
    assert level != "INFO" or found == ["20 jobs of the scheduled mutation workers:write_note succeeded"]
