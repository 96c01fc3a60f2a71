"""Pending deliveries run in the end, for any fate of their jobs."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http import MutationCtx, Retry, WebhookEvent, internal_mutation
from flask_convex_http.backend import Backend
from flask_convex_http.ids import Id
from flask_convex_http.inbox.replay import Replays
from flask_convex_http.scheduling import JobRequest
from flask_convex_http.scheduling.job_writer import MAX_JOBS
from flask_convex_http.schema.system_tables import ScheduledFunction, WebhookDelivery
from flask_convex_http.testing import Clock
from flask_convex_http.worker.cleanup import Cleaner
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.inbox.receiving import Boom, Effect, Receiver, receiving, record
from tests.inbox.test_failures import failing
from tests.inbox.test_lanes import deliver_all, ordered

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
Job = Id[ScheduledFunction]


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


@pytest.mark.parametrize("lose", [remove, spoil])
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
            remove(receiver.backend, job.id)
            clock.advance(61 * MINUTE)
            sweep(receiver)
        receiver.work()
        assert (receiver.states, receiver.effects) == (["done"], ["evt_1"])


@pytest.mark.parametrize("command", ["cancel", "cancel --all"])
def test_a_canceled_delivery_stays_canceled(command: str, tmp_path: Path) -> None:
    """A delivery whose job is canceled is canceled, and no housekeeping and no duplicate runs it."""
    clock = Clock()
    with receiving(tmp_path, clock=clock, mode="enqueue") as receiver:
        assert receiver.deliver().status_code == 202
        control = receiver.backend.job_control
        if command == "cancel":
            assert [result.outcome for result in control.cancel([job.id for job in pending(receiver)])] == ["canceled"]
        else:
            assert control.cancel_pending().canceled == 1
        assert receiver.states == ["canceled"]
        clock.advance(3 * HOUR)
        sweep(receiver)
        assert receiver.deliver().status_code == 202
        assert (receiver.work(), receiver.states, receiver.effects) == ([], ["canceled"], [])


def test_a_canceled_delivery_does_not_stop_its_lane(tmp_path: Path) -> None:
    """The delivery behind a canceled one runs, and the canceled one runs after all when an operator retries it."""
    with ordered(tmp_path) as receiver:
        deliver_all(receiver, ("a1", "a"), ("a2", "a"))
        [job] = pending(receiver)
        receiver.backend.job_control.cancel([job.id])
        receiver.work()
        assert (receiver.effects, sorted(receiver.states)) == (["a2"], ["canceled", "done"])
        [refused] = receiver.backend.job_control.retry([job.id])
        assert refused.outcome == "refused"
        [canceled] = [each for each in receiver.rows(WebhookDelivery) if each.state == "canceled"]
        with receiver.app.app_context():
            assert Replays(receiver.backend.inbox).retry(canceled.id).outcome == "queued"
        receiver.work()
        assert (receiver.effects, receiver.states) == (["a2", "a1"], ["done", "done"])


def test_a_delivery_whose_job_was_canceled_by_an_older_version(tmp_path: Path) -> None:
    """Housekeeping cancels a pending delivery whose job was canceled before deliveries had that state."""
    clock = Clock()
    with receiving(tmp_path, clock=clock, mode="enqueue") as receiver:
        receiver.deliver()
        [job] = pending(receiver)
        receiver.backend.jobs.on_cancel.clear()
        receiver.backend.job_control.cancel([job.id])
        assert receiver.states == ["pending"]
        clock.advance(61 * MINUTE)
        sweep(receiver)
        assert (receiver.work(), receiver.states) == ([], ["canceled"])


def test_a_cancel_request_reaches_the_next_attempt(tmp_path: Path) -> None:
    """A request to cancel an attempt that failed since cancels the next attempt and the delivery."""
    with receiving(tmp_path, failing(Boom(), None), mode="enqueue") as receiver:
        receiver.deliver()
        [job] = pending(receiver)
        request = {"1": JobRequest(kind="cancel", time=0, job=job.id)}
        receiver.work()
        assert receiver.states == ["pending"]
        control = receiver.backend.job_control
        receiver.backend.engine.write(lambda transaction: control.honor(transaction, request))
        assert (receiver.states, pending(receiver)) == (["canceled"], [])


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
