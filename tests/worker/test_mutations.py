"""Scheduled mutations: their order, what a failing one takes with it, and what happens to one that cannot be run."""

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import (
    ActionCtx,
    ArgumentValidationError,
    Id,
    MutationCtx,
    internal_action,
    internal_mutation,
    internal_query,
)
from flask_convex_http.backend import Backend
from flask_convex_http.scheduling.job_writer import MAX_JOBS
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.testing import Clock, run_scheduled
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.sqlite.crews import wait_until
from tests.worker.runs import Boom, Note, opened, row, rows, run_all, wait_until_ended, working, write_down, written

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


def after(seconds: float) -> datetime:
    """A time that is past, so that everything is due at once."""
    return LONG_AGO + timedelta(seconds=seconds)


# --- order -----------------------------------------------------------------------------------------------------------


def test_mutations_run_in_the_order_of_their_time(tmp_path: Path) -> None:
    """One worker runs what is due in the order of its time, and what is due at the same time as it was scheduled."""
    times = [number % 60 for number in range(300)]
    random.shuffle(times)
    with opened(tmp_path) as backend:

        @internal_mutation
        def schedule_all(ctx: MutationCtx) -> None:
            for number, time in enumerate(times):
                ctx.scheduler.run_at(after(time), write_down, text=f"{time} {number}")

        backend.ctx().run_mutation(schedule_all)
        run_all(backend)
        expected = sorted((time, number) for number, time in enumerate(times))
        assert written(backend) == [f"{time} {number}" for time, number in expected]


def test_mutations_see_what_was_run_before_them(tmp_path: Path) -> None:
    """Each mutation reads what those before it have written, though they share a commit."""

    @internal_mutation
    def count(ctx: MutationCtx) -> None:
        ctx.db.insert(Note(text=str(len(ctx.db.query(Note).collect()))))

    with opened(tmp_path, [count]) as backend:
        for number in range(20):
            backend.ctx().scheduler.run_at(after(number), count)
        run_all(backend)
        assert written(backend) == [str(number) for number in range(20)]


def test_a_chain_of_mutations(tmp_path: Path) -> None:
    """A mutation schedules the next one, and each link runs once."""

    @internal_mutation
    def link(ctx: MutationCtx, *, number: int) -> None:
        ctx.db.insert(Note(text=str(number)))
        if number < 50:
            ctx.scheduler.run_after(0, link, number=number + 1)

    with opened(tmp_path, [link]) as backend:
        backend.ctx().scheduler.run_after(0, link, number=0)
        with working(backend):
            wait_until(lambda: len(written(backend)) == 51)
            ended = wait_until_ended(backend)
        assert written(backend) == [str(number) for number in range(51)]
        assert [each.state for each in ended] == ["success"] * 51


# --- those that fail -------------------------------------------------------------------------------------------------


def test_a_failing_mutation_takes_only_its_own_writes_with_it(tmp_path: Path) -> None:
    """What a mutation wrote and scheduled before it raised is gone; what others in the same transaction did is not."""

    @internal_mutation
    def fail(ctx: MutationCtx) -> None:
        ctx.db.insert(Note(text="torn"))
        ctx.scheduler.run_after(0, write_down, text="torn")
        raise Boom("It does not work")

    with opened(tmp_path, [fail]) as backend:
        for number in range(10):
            backend.ctx().scheduler.run_at(after(2 * number), write_down, text=str(number))
            backend.ctx().scheduler.run_at(after(2 * number + 1), fail)
        ended = run_all(backend)
        assert written(backend) == [str(number) for number in range(10)]
        assert [each.state for each in ended] == ["success", "failed"] * 10
        assert {each.error for each in ended if each.state == "failed"} == {"tests.worker.runs.Boom: It does not work"}


class _Speechless(Exception):
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
        _Speechless(),
        ValueError("\ud800 half a pair"),
        ValueError("a \0 in the middle"),
        ValueError("long " * 100_000),
        ExceptionGroup("several", [ValueError("one")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_mutation_raises(error: BaseException, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Any error fails the one mutation, is written down as text that can be read, and leaves the worker at work."""
    caplog.set_level(logging.CRITICAL, logger="flask_convex_http")  # pytest-xdist cannot hand on half a pair

    @internal_mutation
    def fail(ctx: MutationCtx) -> None:
        ctx.db.insert(Note(text="torn"))
        raise error

    with opened(tmp_path, [fail]) as backend:
        backend.ctx().scheduler.run_at(after(0), fail)
        backend.ctx().scheduler.run_at(after(1), write_down, text="next")
        failed, succeeded = run_all(backend)
        assert written(backend) == ["next"]
    assert (failed.state, succeeded.state) == ("failed", "success")
    assert failed.error is not None
    assert type(error).__name__ in failed.error
    assert len(failed.error) <= 2000


def test_a_wrong_result_is_a_failure(tmp_path: Path) -> None:
    """A mutation whose result does not match its annotation has failed, and has written nothing."""

    @internal_mutation
    def wrong(ctx: MutationCtx) -> int:
        ctx.db.insert(Note(text="torn"))
        return "text"  # type: ignore[return-value]  # that is what is wrong

    with opened(tmp_path, [wrong]) as backend:
        backend.ctx().scheduler.run_after(0, wrong)
        [failed] = run_all(backend)
        assert (failed.state, written(backend)) == ("failed", [])
        assert "ReturnsValidationError" in str(failed.error)


def test_limits_are_those_of_each_mutation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two mutations in one transaction may each schedule as much as one may; more than that fails the one."""
    monkeypatch.setattr(
        "flask_convex_http.worker.mutation_runner._BATCH_SECONDS", 60
    )  # or else each has a transaction of its own

    @internal_mutation
    def schedule_many(ctx: MutationCtx, *, count: int) -> None:
        for _ in range(count):
            ctx.scheduler.run_after(3600, write_down, text="later")

    with opened(tmp_path, [schedule_many]) as backend:
        for count in (600, 600, MAX_JOBS + 1):
            backend.ctx().scheduler.run_at(after(count), schedule_many, count=count)
        with working(backend):
            wait_until(lambda: all(each.completed_time for each in rows(backend) if "many" in each.name))
        first, second, third, *scheduled = rows(backend)
        assert [first.state, second.state, third.state] == ["success", "success", "failed"]
        assert "Too many functions scheduled" in str(third.error)
        assert len(scheduled) == 1200


@pytest.mark.parametrize(("levels", "is_taken"), [(64, True), (65, False), (500, False), (100_000, False)])
def test_arguments_that_are_nested_deeply(levels: int, is_taken: bool, tmp_path: Path) -> None:
    """What is nested too deeply is refused when it is scheduled: no worker ever stumbles over a row it cannot read."""

    @internal_mutation
    def take(ctx: MutationCtx, *, value: Any) -> None:
        ctx.db.insert(Note(text="taken"))

    value: Any = {}
    for level in range(levels - 1):
        value = [value, 1] if level % 2 else {"key [{": value}
    with opened(tmp_path, [take]) as backend:
        with nullcontext() if is_taken else pytest.raises(ArgumentValidationError):
            backend.ctx().scheduler.run_at(after(0), take, value=value)
        backend.ctx().scheduler.run_at(after(1), write_down, text="next")
        run_all(backend)
        assert written(backend) == (["taken", "next"] if is_taken else ["next"])


# --- those that are canceled -----------------------------------------------------------------------------------------


def test_a_mutation_cancels_another_that_is_due(tmp_path: Path) -> None:
    """What is canceled by the mutation that runs just before it does not run, though it was due as well."""

    @internal_mutation
    def cancel(ctx: MutationCtx, *, job: Id[ScheduledFunction]) -> None:
        ctx.scheduler.cancel(job)

    with opened(tmp_path, [cancel]) as backend:
        victim = backend.ctx().scheduler.run_at(after(1), write_down, text="never")
        backend.ctx().scheduler.run_at(after(0), cancel, job=victim)
        backend.ctx().scheduler.run_at(after(2), write_down, text="always")
        run_all(backend)
        assert (row(backend, victim).state, written(backend)) == ("canceled", ["always"])


def test_a_mutation_cancels_itself(tmp_path: Path) -> None:
    """A mutation that cancels itself keeps its effects and stays canceled; what it schedules after that is canceled."""

    @internal_mutation
    def cancel_own(ctx: MutationCtx) -> None:
        ctx.scheduler.run_after(0, write_down, text="before")
        [own] = [each for each in ctx.db.system.query(ScheduledFunction) if each.name.endswith(":cancel_own")]
        ctx.scheduler.cancel(own.id)
        ctx.scheduler.run_after(0, write_down, text="after")
        ctx.db.insert(Note(text="effect"))

    with opened(tmp_path, [cancel_own]) as backend:
        backend.ctx().scheduler.run_after(0, cancel_own)
        own, before, later = run_all(backend)
        assert [own.state, before.state, later.state] == ["canceled", "success", "canceled"]
        assert written(backend) == ["effect", "before"]


def test_cancel_before_and_after(tmp_path: Path) -> None:
    """What was canceled in time never runs; canceling what has ended changes nothing."""
    with opened(tmp_path) as backend:
        scheduler = backend.ctx().scheduler
        early = scheduler.run_after(0.05, write_down, text="never")
        scheduler.cancel(early)
        late = scheduler.run_after(0.1, write_down, text="once")
        run_all(backend)
        before = row(backend, late)
        scheduler.cancel(late)
        assert row(backend, late) == before
        assert (row(backend, early).state, before.state) == ("canceled", "success")
        assert written(backend) == ["once"]


# --- those that a newer version of the application changed -----------------------------------------------------------


def named(kind: Any, *, text: str = "", takes_more: bool = False) -> Any:
    """A version of the function `task`."""
    if takes_more:

        def task(ctx: MutationCtx, *, amount: int) -> None:
            raise AssertionError(amount)

    elif kind is internal_action:

        def task(ctx: ActionCtx) -> None:  # type: ignore[misc]  # another version
            ctx.run_mutation(write_down, text=text)

    else:

        def task(ctx: MutationCtx) -> None:  # type: ignore[misc]  # another version
            if kind is not internal_query:
                ctx.db.insert(Note(text=text))

    return kind(task)


@contextmanager
def upgraded(folder: Path, old: Any, *new: Any, clock: Clock | None = None) -> Iterator[Backend]:
    """A newer version of an application, which finds what the older one has scheduled."""
    clock = clock or Clock()
    with opened(folder, [old], clock=clock) as backend:
        backend.ctx().scheduler.run_after(0, old)
    with opened(folder, new, clock=clock) as backend:
        yield backend


@pytest.mark.parametrize(
    ("old", "new"),
    [(internal_mutation, internal_action), (internal_action, internal_mutation)],
    ids=["to an action", "to a mutation"],
)
def test_a_function_of_another_kind_now(old: Any, new: Any, tmp_path: Path) -> None:
    """What was scheduled as one kind and is the other now runs as what it is."""
    with upgraded(tmp_path, named(old), named(new, text="new")) as backend:
        run_scheduled(backend)
        [job] = rows(backend)
        assert (job.state, written(backend)) == ("success", ["new"])
        assert job.kind == named(new).kind


def test_a_function_that_is_a_query_now(tmp_path: Path) -> None:
    """What became a query fails, and says so."""
    with upgraded(tmp_path, named(internal_mutation), named(internal_query)) as backend:
        run_scheduled(backend)
        [job] = rows(backend)
        assert (job.state, job.error) == ("failed", "test_mutations:task is a query now, and cannot be scheduled")


def test_arguments_that_do_not_match_any_more(tmp_path: Path) -> None:
    """What was scheduled with arguments that the function does not take any more fails."""
    with upgraded(tmp_path, named(internal_mutation), named(internal_mutation, takes_more=True)) as backend:
        run_scheduled(backend)
        [job] = rows(backend)
        assert job.state == "failed"
        assert "ArgumentValidationError" in str(job.error)


@pytest.mark.parametrize("kind", [internal_mutation, internal_action], ids=["mutation", "action"])
def test_a_function_that_is_not_known_yet(kind: Any, tmp_path: Path) -> None:
    """What an older version does not know waits for a newer one to start, does not run meanwhile, and runs there."""
    clock = Clock()
    with upgraded(tmp_path, named(kind, text="new"), clock=clock) as older:
        run_scheduled(older, advance=timedelta(seconds=30))
        assert [job.state for job in rows(older)] == ["pending"]
        with opened(tmp_path, [named(kind, text="new")], clock=clock) as newer:
            run_scheduled(newer, advance=timedelta(seconds=3))
            assert ([job.state for job in rows(newer)], written(newer)) == (["success"], ["new"])


@pytest.mark.parametrize("kind", [internal_mutation, internal_action], ids=["mutation", "action"])
def test_a_function_that_is_gone(kind: Any, tmp_path: Path) -> None:
    """What nobody has known for a minute fails, and names the function."""
    with upgraded(tmp_path, named(kind)) as backend:
        run_scheduled(backend, advance=timedelta(minutes=2))
        [job] = rows(backend)
        assert job.state == "failed"
        assert "test_mutations:task" in str(job.error)


@pytest.mark.parametrize("kind", [internal_mutation, internal_action], ids=["mutation", "action"])
def test_an_unknown_function_that_was_due_long_ago(kind: Any, tmp_path: Path) -> None:
    """The minute counts from when it was scheduled, though it was for a time that had passed already."""
    clock, task = Clock(), named(kind)
    with opened(tmp_path, [task], clock=clock) as newer:
        newer.ctx().scheduler.run_at(datetime.fromtimestamp(clock() / 1000, UTC) - timedelta(days=1), task)
    with opened(tmp_path, clock=clock) as older:
        run_scheduled(older)
        assert [job.state for job in rows(older)] == ["pending"]
