"""Handlers of webhooks, and jobs, that run longer than CONVEX_MUTATION_TIMEOUT."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http import MutationCtx, Retry, WebhookEvent, internal_mutation
from flask_convex_http.runtime import time_limit
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.testing import Clock
from tests.databases import EACH_ENGINE
from tests.inbox.receiving import Effect, Handler, receiving, record

pytestmark = EACH_ENGINE

#: Seconds, in which a handler that does not loop must end on a busy machine, too.
LIMIT = 0.5


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the running mutations more often than once a second."""
    monkeypatch.setattr(time_limit, "_INTERVAL", 0.02)


def loop_once() -> Handler:
    """Return a handler that loops at its first call, and records the event at the next ones."""
    calls = []

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        calls.append(event.id)
        record(ctx, event)
        end = time.monotonic() + 30
        while len(calls) == 1 and time.monotonic() < end:
            time.sleep(0.005)

    return handler


def test_a_handler_over_its_time_limit_fails(tmp_path: Path) -> None:
    """A handler that runs too long leaves no effects, its sender gets 503, and the next delivery succeeds."""
    with receiving(tmp_path, loop_once(), config={"CONVEX_MUTATION_TIMEOUT": LIMIT}) as receiver:
        response = receiver.deliver()
        assert response.status_code == 503
        assert "CONVEX_MUTATION_TIMEOUT" in response.text
        assert (receiver.states, receiver.effects) == (["failed"], [])
        assert receiver.deliver().status_code == 200
        assert (receiver.states, receiver.effects) == (["done"], ["evt_1"])


def test_an_enqueued_handler_over_its_time_limit_uses_up_an_attempt(tmp_path: Path) -> None:
    """The attempt of a worker that runs too long fails and is retried, and the deliveries behind it run."""
    retry, config = Retry(max_attempts=3, backoff=60), {"CONVEX_MUTATION_TIMEOUT": LIMIT}
    clock = Clock()
    with receiving(tmp_path, loop_once(), clock=clock, mode="enqueue", retry=retry, config=config) as receiver:
        for event in ("evt_1", "evt_2"):
            assert receiver.deliver(event).status_code == 202
        receiver.work()
        assert (receiver.states, receiver.effects) == (["pending", "done"], ["evt_2"])
        [attempt] = receiver.deliveries[0].attempts
        assert (attempt.outcome, "CONVEX_MUTATION_TIMEOUT" in str(attempt.error)) == ("failed", True)
        receiver.work(advance=timedelta(minutes=5))
        assert (receiver.states, receiver.effects) == (["done", "done"], ["evt_2", "evt_1"])


def test_a_scheduled_mutation_over_its_time_limit_fails_alone(tmp_path: Path) -> None:
    """A scheduled mutation that runs too long fails, and the others of its batch run."""

    @internal_mutation
    def effect(ctx: MutationCtx, *, event: str) -> None:
        ctx.db.insert(Effect(event=event))
        end = time.monotonic() + 30
        while event == "endless" and time.monotonic() < end:
            time.sleep(0.005)

    with receiving(tmp_path, functions=[effect], config={"CONVEX_MUTATION_TIMEOUT": LIMIT}) as receiver:
        scheduler = receiver.backend.ctx().scheduler
        jobs = [scheduler.run_after(0, effect, event=event) for event in ("first", "endless", "last")]
        receiver.work()
        states = {job.id: job.state for job in receiver.rows(ScheduledFunction)}
        assert [states[job] for job in jobs] == ["success", "failed", "success"]
        assert receiver.effects == ["first", "last"]
