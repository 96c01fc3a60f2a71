"""Duplicates that arrive between two steps of each other, on a database with concurrent transactions."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import DeadLetterError, MutationCtx, WebhookEvent
from flask_convex_http.engines import Engine
from flask_convex_http.inbox.arrival import Arrival
from flask_convex_http.inbox.deliveries import Deliveries
from flask_convex_http.schema.system_tables import WebhookDelivery
from tests.databases import EACH_ENGINE, POSTGRES_ONLY
from tests.inbox.receiving import Boom, Effect, Receiver, receiving, record

pytestmark = EACH_ENGINE


def elsewhere(body: Callable[[], object]) -> None:
    """Run a function in another thread, and wait for it."""
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


def copy_after_the_lookup(monkeypatch: pytest.MonkeyPatch, receiver: Receiver, statuses: list[int]) -> None:
    """Process a duplicate just after the lookup of the first delivery has found nothing."""
    lookup, calls = Deliveries.lookup, [1]

    def looked_up(self: Deliveries, engine: Engine, arrival: Arrival, patience: float) -> WebhookDelivery | None:
        found = lookup(self, engine, arrival, patience)
        if calls:
            calls.pop()
            elsewhere(lambda: statuses.append(receiver.deliver().status_code))
        return found

    monkeypatch.setattr(Deliveries, "lookup", looked_up)


def once_only(ctx: MutationCtx, event: WebhookEvent) -> None:
    if ctx.db.query(Effect).first() is not None:
        raise Boom
    record(ctx, event)


def gives_up(ctx: MutationCtx, event: WebhookEvent) -> None:
    if ctx.db.query(Effect).first() is not None:
        raise DeadLetterError("It was there before")
    record(ctx, event)


@pytest.mark.parametrize("handler", [record, once_only, gives_up])
@pytest.mark.parametrize("mode", ["inline", "enqueue"])
def test_duplicate_after_the_lookup(
    handler: Callable[[MutationCtx, WebhookEvent], None], mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery whose duplicate commits after its lookup gets that response, for any reaction of its handler."""
    statuses: list[int] = []
    options: dict[str, Any] = {} if mode == "inline" else {"mode": mode}
    with receiving(tmp_path, handler, is_kept=True, **options) as receiver:
        copy_after_the_lookup(monkeypatch, receiver, statuses)
        statuses.append(receiver.deliver().status_code)
        receiver.work()
        assert statuses == ([200, 200] if mode == "inline" else [202, 202])
        assert (receiver.effects, receiver.states) == (["evt_1"], ["done"])
        [row] = receiver.rows(WebhookDelivery)
        assert [attempt.outcome for attempt in row.attempts] == ["success"]


def test_duplicate_that_failed_after_the_lookup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery whose duplicate failed after its lookup runs, and one row has both attempts."""
    statuses: list[int] = []
    fails = [True]

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        record(ctx, event)
        if fails:
            fails.pop()
            raise Boom

    with receiving(tmp_path, handler, is_kept=True) as receiver:
        copy_after_the_lookup(monkeypatch, receiver, statuses)
        statuses.append(receiver.deliver().status_code)
        assert statuses == [500, 200]
        assert (receiver.effects, receiver.states) == (["evt_1"], ["done"])
        [row] = receiver.rows(WebhookDelivery)
        assert [attempt.outcome for attempt in row.attempts] == ["failed", "success"]


@POSTGRES_ONLY
def test_duplicate_during_the_handler(tmp_path: Path) -> None:
    """A delivery whose duplicate commits during its handler is rolled back, and gets the duplicate's response."""
    statuses: list[int] = []
    runs: list[int] = []

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        runs.append(1)
        record(ctx, event)
        if len(runs) == 1:
            elsewhere(lambda: statuses.append(receiver.deliver().status_code))

    with receiving(tmp_path, handler, is_kept=True) as receiver:
        statuses.append(receiver.deliver().status_code)
        assert (statuses, len(runs)) == ([200, 200], 2)
        assert (receiver.effects, receiver.states) == (["evt_1"], ["done"])
