"""mode="enqueue": the sender gets a response at once, and a worker runs the handler until it is done or dead."""

import asyncio
import itertools
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import current_app, has_request_context

from flask_convex_http import (
    DeadLetterError,
    HttpRouter,
    MutationCtx,
    NoRetry,
    OverloadedError,
    Retry,
    Schema,
    UnavailableError,
    WebhookEvent,
    error_response,
    internal_mutation,
)
from flask_convex_http.inbox.purges import Purges
from flask_convex_http.inbox.replay import Replays
from flask_convex_http.schema.system_tables import ScheduledFunction, WebhookRequest
from flask_convex_http.testing import Clock
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.inbox.receiving import Boom, Effect, Handler, Receiver, receiving, record, stripe
from tests.inbox.test_failures import failing
from tests.sqlite.crews import wait_until
from tests.web.apps import deployed

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

HOUR = timedelta(hours=1)
ONE_MORE = Retry(max_attempts=2, backoff=10)


def enqueueing(folder: Path, handler: Handler = record, **options: Any) -> Any:
    """Yield an app whose webhook responds at once."""
    return receiving(folder, handler, mode="enqueue", **options)


def test_the_response_comes_first(tmp_path: Path) -> None:
    """The sender gets 202 when the delivery is recorded, and a worker runs it; duplicates run nothing."""
    with enqueueing(tmp_path) as receiver:
        first = receiver.deliver()
        assert (first.status_code, first.text) == (202, "Accepted")
        assert (receiver.states, receiver.effects, receiver.delivery.attempts) == (["pending"], [], [])
        assert [receiver.deliver().status_code for _ in range(3)] == [202] * 3
        assert len(receiver.rows(ScheduledFunction)) == 1
        receiver.work()
        assert (receiver.states, receiver.effects) == (["done"], ["evt_1"])
        assert [(receiver.deliver().status_code, receiver.deliver().text) for _ in range(2)] == [(202, "Accepted")] * 2
        assert receiver.work() == []
        assert receiver.effects == ["evt_1"]


def test_what_the_worker_leaves(tmp_path: Path) -> None:
    """The row records the worker's attempt and its time; the handler's response is discarded."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> tuple[str, int]:
        record(ctx, event)
        return "nobody reads this", 201

    with enqueueing(tmp_path, handler) as receiver:
        receiver.deliver()
        receiver.work()
        [attempt] = receiver.delivery.attempts
        assert (attempt.by, attempt.outcome, attempt.error) == ("worker", "success", None)
        assert receiver.delivery.received <= attempt.started <= attempt.ended == receiver.delivery.completed_time
        assert (receiver.deliver().status_code, receiver.delivery.answer) == (202, None)


def test_the_handler_gets_the_event_as_it_was_received(tmp_path: Path) -> None:
    """Hours later the event is unchanged: its time, its headers, its body and the label of its secret."""
    seen: list[WebhookEvent] = []
    clock = Clock()
    with enqueueing(tmp_path, lambda ctx, event: seen.append(event), clock=clock) as receiver:
        received = clock()
        receiver.deliver(customer="cus_1")
        clock.advance(5 * HOUR)
        receiver.work()
        [event] = seen
        assert (event.id, event.type, event.provider, event.secret_label) == (
            "evt_1",
            "order.paid",
            "stripe",
            "secret 1",
        )
        assert (event.received_at, event.data) == (received, {"object": {"customer": "cus_1"}})
        assert [event.body] == receiver.bodies and "stripe-signature" in event.headers


def test_where_it_runs(tmp_path: Path) -> None:
    """A worker's handler has the app's context and no request."""
    seen: list[Any] = []

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        seen.extend([current_app.name, has_request_context()])

    with enqueueing(tmp_path, handler) as receiver:
        receiver.deliver()
        receiver.work()
    assert seen == ["test_app", False]


def test_it_is_retried(tmp_path: Path) -> None:
    """A failed handler leaves no effects, and is retried at the increasing intervals of retry=."""
    clock = Clock()
    retry = Retry(max_attempts=4, backoff=timedelta(minutes=1), max_backoff=timedelta(minutes=2))
    with enqueueing(tmp_path, failing(Boom("a"), Boom("b"), Boom("c"), None), clock=clock, retry=retry) as receiver:
        receiver.deliver()
        receiver.work()
        assert (receiver.states, receiver.effects, len(receiver.delivery.attempts)) == (["pending"], [], 1)
        assert "a" in str(receiver.delivery.error)
        assert receiver.deliver().status_code == 202
        receiver.work(advance=HOUR)
        delivery = receiver.delivery
        assert (delivery.state, receiver.effects, delivery.error) == ("done", ["evt_1"], None)
        starts = [attempt.started for attempt in delivery.attempts]
        waits = [(later - sooner) / 60_000 for sooner, later in itertools.pairwise(starts)]
        assert all(0.75 * wait <= actual <= 1.25 * wait for wait, actual in zip((1, 2, 2), waits, strict=True))


@pytest.mark.parametrize(
    "error",
    [Boom("the last"), SystemExit("the last"), OverloadedError("the last")],
    ids=lambda error: type(error).__name__,
)
def test_it_is_dead_in_the_end(error: BaseException, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After the last attempt the delivery is dead, with its error and its body; duplicates run nothing."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        record(ctx, event)
        raise error

    with enqueueing(tmp_path, handler, clock=Clock(), retry=ONE_MORE) as receiver:
        receiver.deliver()
        receiver.work(advance=HOUR)
        dead = receiver.delivery
        assert (dead.state, receiver.effects, len(receiver.bodies)) == ("dead", [], 1)
        assert [attempt.outcome for attempt in dead.attempts] == ["failed", "dead"]
        assert type(error).__name__ in str(dead.error) and dead.completed_time is not None
        assert (receiver.deliver().status_code, receiver.work(advance=HOUR)) == (202, [])
    assert "delivery evt_1 is dead" in caplog.text


@pytest.mark.parametrize("status", [400, 503])
def test_an_error_status_is_a_failure(status: int, tmp_path: Path) -> None:
    """A handler that returns an error status is retried like one that raises."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> Any:
        record(ctx, event)
        return error_response("no", status)

    with enqueueing(tmp_path, handler, clock=Clock(), retry=ONE_MORE) as receiver:
        receiver.deliver()
        receiver.work(advance=HOUR)
        assert (receiver.states, receiver.effects, len(receiver.delivery.attempts)) == (["dead"], [], 2)
        assert f"The handler answered {status}" in str(receiver.delivery.error)


@pytest.mark.parametrize("error", [DeadLetterError, NoRetry])
def test_it_is_dead_lettered_at_once(error: type[NoRetry], tmp_path: Path) -> None:
    """DeadLetterError and NoRetry end the delivery in the first attempt."""
    with enqueueing(tmp_path, failing(error("The shop closed in 2019")), clock=Clock()) as receiver:
        receiver.deliver()
        receiver.work(advance=HOUR)
        dead = receiver.delivery
        assert (dead.state, dead.error, receiver.effects) == ("dead", "The shop closed in 2019", [])
        assert [(attempt.by, attempt.outcome) for attempt in dead.attempts] == [("worker", "dead")]
        assert receiver.deliver().status_code == 202


def test_trouble_of_the_database_is_no_attempt(tmp_path: Path) -> None:
    """A failure of the database during a handler uses up no attempt."""
    handler = failing(UnavailableError("no space", by_engine=True), None)
    with enqueueing(tmp_path, handler) as receiver:
        receiver.deliver()
        with pytest.raises(UnavailableError):
            receiver.work()
        assert (receiver.states, receiver.effects, receiver.delivery.attempts) == (["pending"], [], [])
        receiver.work()
        assert (receiver.states, receiver.effects, len(receiver.delivery.attempts)) == (["done"], ["evt_1"], 1)


def test_what_it_schedules(tmp_path: Path) -> None:
    """Jobs scheduled by a failed attempt never run; those of the successful one do."""

    @internal_mutation
    def follow(ctx: MutationCtx) -> None:
        ctx.db.insert(Effect(event="followed"))

    fails = [True]

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.scheduler.run_after(0, follow)
        if fails:
            fails.pop()
            raise Boom

    with enqueueing(tmp_path, handler, clock=Clock(), functions=[follow]) as receiver:
        receiver.deliver()
        receiver.work(advance=HOUR)
        assert (receiver.effects, receiver.states) == (["followed"], ["done"])


# --- changes before the run -------------------------------------------------------------------------------------------


def test_a_webhook_that_is_gone(tmp_path: Path) -> None:
    """A delivery of an unknown webhook fails with the source in its error; it runs if the webhook returns in time."""
    clock = Clock()
    with enqueueing(tmp_path, source="stripe", is_kept=True, clock=clock) as receiver:
        receiver.deliver()
    with enqueueing(tmp_path, source="renamed", is_kept=True, clock=clock) as receiver:
        clock.advance(timedelta(seconds=61))
        receiver.work()
        assert (receiver.states, receiver.effects) == (["pending"], [])
        assert "No webhook of this process has the source 'stripe'; was it renamed?" in str(receiver.delivery.error)
    with enqueueing(tmp_path, source="stripe", is_kept=True, clock=clock) as receiver:
        receiver.work(advance=HOUR)
        assert (receiver.states, receiver.effects) == (["done"], ["evt_1"])


def test_a_webhook_that_is_not_known_yet(tmp_path: Path) -> None:
    """During a deployment, an old process that does not know the new webhooks uses up none of their attempts."""
    clock = Clock()
    with enqueueing(tmp_path, source="stripe", is_kept=True, clock=clock) as receiver:
        receiver.deliver()
    with enqueueing(tmp_path, source="older", is_kept=True, clock=clock) as receiver:
        receiver.work(advance=timedelta(seconds=50))
        assert (receiver.states, receiver.delivery.attempts) == (["pending"], [])
    with enqueueing(tmp_path, source="stripe", is_kept=True, clock=clock) as receiver:
        receiver.work(advance=timedelta(seconds=5))
        assert (receiver.effects, len(receiver.delivery.attempts)) == (["evt_1"], 1)


def test_a_webhook_that_stays_away(tmp_path: Path) -> None:
    """If its webhook does not return within about two days, a delivery is dead and can be inspected."""
    with enqueueing(tmp_path, source="stripe", is_kept=True) as receiver:
        receiver.deliver()
    with enqueueing(tmp_path, source="renamed", is_kept=True, clock=Clock()) as receiver:
        receiver.work(advance=timedelta(days=5))
        assert (receiver.states, len(receiver.delivery.attempts), len(receiver.bodies)) == (["dead"], 12, 1)


def test_a_body_that_is_gone(tmp_path: Path) -> None:
    """Without its body a delivery can never run: it is dead at once, and the error names the fix."""
    with enqueueing(tmp_path) as receiver:
        receiver.deliver()
        deliveries, [request] = receiver.backend.inbox.deliveries, receiver.rows(WebhookRequest)
        receiver.backend.engine.write(lambda transaction: transaction.delete(deliveries.requests, request.id))
        receiver.work()
        assert (receiver.states, receiver.effects) == (["dead"], [])
        assert receiver.delivery.error == "Its body was purged; have the sender send it again"


def test_a_mode_that_has_changed(tmp_path: Path) -> None:
    """A change of mode applies to the next duplicate of a failed delivery; a pending one still runs in a worker.

    A delivery that failed in "transaction" is enqueued by its next duplicate under "enqueue".
    """
    with receiving(tmp_path, failing(Boom()), is_kept=True) as receiver:
        assert receiver.deliver().status_code == 500
    with enqueueing(tmp_path, is_kept=True) as receiver:
        assert [receiver.deliver().status_code for _ in range(2)] == [202, 202]
        assert (receiver.states, receiver.effects) == (["pending"], [])
    with receiving(tmp_path, is_kept=True) as receiver:
        assert receiver.deliver().status_code == 202
        receiver.work()
        assert (receiver.states, receiver.effects) == (["done"], ["evt_1"])
        assert [attempt.by for attempt in receiver.delivery.attempts] == ["sender", "worker"]


@pytest.mark.parametrize("kept", [True, False], ids=["forgotten", "never kept"])
def test_a_duplicate_brings_its_body(kept: bool, tmp_path: Path) -> None:
    """A failed delivery without a body runs with the body of the duplicate that got 202, after which no retry comes."""
    options: dict[str, Any] = {} if kept else {"keep_bodies": timedelta(0)}
    with receiving(tmp_path, failing(Boom()), is_kept=True, **options) as receiver:
        assert receiver.deliver().status_code == 500
        Purges(receiver.backend.inbox).purge([receiver.delivery.id], bodies_only=True, pending=False)
        assert receiver.bodies == []
    with enqueueing(tmp_path, is_kept=True) as receiver:
        assert [receiver.deliver().status_code for _ in range(2)] == [202, 202]
        assert len(receiver.bodies) == 1
        receiver.work()
        assert (receiver.states, receiver.effects) == (["done"], ["evt_1"])


def test_a_duplicate_brings_another_body(tmp_path: Path) -> None:
    """If a signed id returns with another content, the worker runs the newest content, as an immediate run would."""
    seen: list[Any] = []
    with receiving(tmp_path, failing(Boom()), is_kept=True) as receiver:
        assert receiver.deliver(total=1).status_code == 500
    with enqueueing(tmp_path, lambda ctx, event: seen.append(event.data["object"]), is_kept=True) as receiver:
        assert receiver.deliver(total=2).status_code == 202
        receiver.work()
        assert (seen, receiver.states, len(receiver.bodies)) == ([{"total": 2}], ["done"], 1)


def test_one_that_was_dead_begins_anew(tmp_path: Path) -> None:
    """A retry of a dead delivery by an operator gets as many attempts as a new one."""
    handler = failing(Boom("a"), Boom("b"), Boom("c"), None)
    with enqueueing(tmp_path, handler, clock=Clock(), retry=ONE_MORE) as receiver:
        receiver.deliver()
        receiver.work(advance=HOUR)
        assert receiver.states == ["dead"]
        assert Replays(receiver.backend.inbox).retry(receiver.delivery.id).outcome == "queued"
        receiver.work(advance=HOUR)
        assert (receiver.states, receiver.effects) == (["done"], ["evt_1"])
        assert [attempt.outcome for attempt in receiver.delivery.attempts] == ["failed", "dead", "failed", "success"]


@pytest.mark.parametrize("error", [asyncio.CancelledError("cut"), KeyboardInterrupt("cut")], ids=["cancel", "Ctrl-C"])
def test_what_is_no_exception(error: BaseException, tmp_path: Path) -> None:
    """A BaseException of a handler may end the worker's round, but the delivery is retried."""
    fails = [True]

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        record(ctx, event)
        if fails:
            fails.pop()
            raise error

    with enqueueing(tmp_path, handler, clock=Clock()) as receiver:
        receiver.deliver()
        with suppress(asyncio.CancelledError, KeyboardInterrupt):
            receiver.work()
        assert (receiver.states, receiver.effects) == (["pending"], [])
        receiver.work(advance=HOUR)
        assert (receiver.states, receiver.effects) == (["done"], ["evt_1"])


def test_a_context_that_fails(tmp_path: Path) -> None:
    """If leaving the app's context fails, the handler's effects are rolled back and it is retried."""
    seen: list[str] = []

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        record(ctx, event)
        seen.append(event.id)

    with enqueueing(tmp_path, handler, clock=Clock()) as receiver:

        def fail_once(error: BaseException | None) -> None:
            if len(seen) == 1:
                raise Boom("teardown")

        receiver.app.teardown_appcontext(fail_once)
        receiver.deliver()
        receiver.work()
        assert (receiver.states, receiver.effects) == (["pending"], [])
        receiver.work(advance=HOUR)
        assert (receiver.states, receiver.effects, seen) == (["done"], ["evt_1"], ["evt_1", "evt_1"])
        assert "teardown" in str(receiver.delivery.attempts[0].error)


def test_a_scheduled_function_that_somebody_cancels(tmp_path: Path) -> None:
    """Canceling the job of a delivery cancels the delivery, whose record and body are kept."""
    with enqueueing(tmp_path) as receiver:
        receiver.deliver()
        receiver.backend.ctx().scheduler.cancel(receiver.rows(ScheduledFunction)[0].id)
        assert (receiver.work(), receiver.states, len(receiver.bodies)) == ([], ["canceled"], 1)


# --- a worker --------------------------------------------------------------------------------------------------------


def test_an_app_with_nothing_but_webhooks_has_a_worker(tmp_path: Path) -> None:
    """An app without functions runs its enqueued deliveries in the serving process."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", stripe(), mode="enqueue")(record)
    with deployed(tmp_path, http, schema=Schema(Effect), is_kept=True, CONVEX_WORKER="on") as app:
        receiver = Receiver(app)
        assert receiver.deliver().status_code == 202
        wait_until(lambda: receiver.states == ["done"])
        assert receiver.effects == ["evt_1"]
