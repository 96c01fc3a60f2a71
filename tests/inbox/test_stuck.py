"""Pending deliveries run in the end, for any fate of their jobs."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http import MutationCtx, Retry, WebhookEvent, internal_mutation
from flask_convex_http.backend import Backend
from flask_convex_http.ids import Id
from flask_convex_http.scheduling.job_writer import MAX_JOBS
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.testing import Clock
from flask_convex_http.worker.cleanup import Cleaner
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.inbox.receiving import Boom, Effect, Receiver, receiving, record
from tests.inbox.test_failures import failing
from tests.inbox.test_lanes import deliver_all, ordered

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
Job = Id[ScheduledFunction]


def cancel(backend: Backend, job: Job) -> None:
    """Cancel a job, as an operator does."""
    backend.ctx().scheduler.cancel(job)


def remove(backend: Backend, job: Job) -> None:
    """Delete a job, as housekeeping does a week after it was canceled."""
    backend.engine.write(lambda transaction: transaction.delete(backend.jobs.table, job))


def spoil(backend: Backend, job: Job) -> None:
    """Make a job unreadable."""
    backend.engine.write(lambda transaction: transaction.update(backend.jobs.table, job, {"args": "5"}))


def pending(receiver: Receiver) -> list[ScheduledFunction]:
    """Return the pending jobs."""
    return [job for job in receiver.rows(ScheduledFunction) if job.state == "pending"]


def sweep(receiver: Receiver) -> None:
    """Run one round of housekeeping that needs no second one."""
    assert not Cleaner(receiver.backend).purge()


@pytest.mark.parametrize("lose", [cancel, remove, spoil])
def test_what_nothing_is_to_run(lose: Callable[[Backend, Job], None], tmp_path: Path) -> None:
    """Deliveries without a job are found within about an hour and run, each lane in its order."""
    clock = Clock()
    with ordered(tmp_path, clock=clock) as receiver:
        deliver_all(receiver, ("a1", "a"), ("a2", "a"), ("b1", "b"))
        assert receiver.deliver("c1").status_code == 202
        for job in pending(receiver):
            lose(receiver.backend, job.id)
        clock.advance(59 * MINUTE)
        sweep(receiver)
        assert (receiver.work(), receiver.states) == ([], ["pending"] * 4)
        clock.advance(2 * MINUTE)
        sweep(receiver)
        receiver.work()
        assert (receiver.states, sorted(receiver.effects)) == (["done"] * 4, ["a1", "a2", "b1", "c1"])
        assert receiver.effects.index("a1") < receiver.effects.index("a2")


def test_what_nothing_is_to_run_once_more(tmp_path: Path) -> None:
    """A delivery that loses its job a second time is found again."""
    clock = Clock()
    with receiving(tmp_path, clock=clock, mode="enqueue") as receiver:
        assert receiver.deliver().status_code == 202
        for _ in range(3):
            [job] = pending(receiver)
            cancel(receiver.backend, job.id)
            clock.advance(61 * MINUTE)
            sweep(receiver)
        receiver.work()
        assert (receiver.states, receiver.effects) == (["done"], ["evt_1"])


def test_what_waits_for_its_time_is_left_alone(tmp_path: Path) -> None:
    """A delivery that waits for its next attempt, and the one behind it, run neither early nor twice."""
    clock, retry = Clock(), Retry(max_attempts=3, backoff=5 * HOUR, max_backoff=5 * HOUR)
    with ordered(tmp_path, failing(Boom(), None, None), clock=clock, retry=retry) as receiver:
        deliver_all(receiver, ("a1", "a"), ("a2", "a"))
        receiver.work()
        before = pending(receiver)
        assert len(before) == 1
        for _ in range(3):
            clock.advance(61 * MINUTE)
            sweep(receiver)
        assert (pending(receiver), receiver.work(), receiver.effects) == (before, [], [])
        receiver.work(advance=5 * HOUR)
        assert (receiver.effects, receiver.states) == (["a1", "a2"], ["done", "done"])


def test_a_handler_that_schedules_all_it_may(tmp_path: Path) -> None:
    """The package's own jobs do not count against the handler's limit of scheduled functions.

    A handler that reaches the limit succeeds even if a delivery waits behind it.
    """

    @internal_mutation
    def later(ctx: MutationCtx) -> None: ...

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        record(ctx, event)
        for _ in range(MAX_JOBS if event.id == "a1" else 0):
            ctx.scheduler.run_after(timedelta(days=1), later)

    with ordered(tmp_path, handler, functions=[later]) as receiver:
        deliver_all(receiver, ("a1", "a"), ("a2", "a"))
        receiver.work()
        assert (receiver.effects, receiver.states, len(pending(receiver))) == (["a1", "a2"], ["done"] * 2, MAX_JOBS)


def test_a_handler_whose_scheduled_function_was_canceled(tmp_path: Path) -> None:
    """Canceling the job of a running delivery does not cancel the delivery behind it."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.db.insert(Effect(event=event.id))
        for job in ctx.db.system.query(ScheduledFunction):
            if job.state == "pending":
                ctx.scheduler.cancel(job.id)

    with ordered(tmp_path, handler) as receiver:
        deliver_all(receiver, ("a1", "a"), ("a2", "a"))
        receiver.work()
        assert (receiver.effects, receiver.states) == (["a1", "a2"], ["done", "done"])
