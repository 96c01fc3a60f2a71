"""The limits of a handler, and the traces of a failed one: none outside of its transaction."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import (
    ActionCtx,
    Id,
    MutationCtx,
    WebhookEvent,
    internal_action,
)
from flask_convex_http.schema.system_tables import ScheduledFunction, StoredFile
from tests.databases import EACH_ENGINE
from tests.inbox.receiving import Boom, receiving, record

pytestmark = EACH_ENGINE


@internal_action
def call_a_shop(ctx: ActionCtx) -> None:
    """Fail if it ever runs."""
    raise AssertionError("run")


def test_what_a_failing_handler_has_caused(tmp_path: Path) -> None:
    """Jobs that a failed handler has scheduled or canceled, and files it has deleted, are as before."""
    stored: list[Id[StoredFile]] = []
    jobs: list[Id[ScheduledFunction]] = []

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.scheduler.run_after(0, call_a_shop)
        ctx.scheduler.cancel(jobs[0])
        ctx.storage.delete(stored[0])
        raise Boom

    with receiving(tmp_path, handler, functions=[call_a_shop]) as receiver:
        ctx = receiver.backend.ctx()
        stored.append(ctx.storage.store(b"bytes"))
        jobs.append(ctx.scheduler.run_after(3600, call_a_shop))
        assert receiver.deliver().status_code == 500
        assert [(job.id, job.state) for job in receiver.rows(ScheduledFunction)] == [(jobs[0], "pending")]
        kept = ctx.storage.get(stored[0])
        assert kept is not None and kept.read() == b"bytes"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda ctx: ctx.run_action(call_a_shop), "ctx.run_action is for actions"),
        (lambda ctx: ctx.once("key", lambda token: None), "ctx.once is for actions"),
        (lambda ctx: ctx.storage.get("x"), "no attribute 'get'"),
        (lambda ctx: ctx.db.system.delete("_webhooks_1"), "no attribute 'delete'"),
        (lambda ctx: ctx.db.insert("x"), ""),
    ],
    ids=["action", "once", "get", "system", "nothing"],
)
def test_what_a_handler_may_not_do(body: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    """A handler is a mutation: an operation outside the transaction is refused, and fails it."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        record(ctx, event)
        body(ctx)

    with receiving(tmp_path, handler, functions=[call_a_shop]) as receiver:
        assert receiver.deliver().status_code == 500
        assert (receiver.effects, receiver.states) == ([], ["failed"])
        assert message in str(receiver.delivery.error)
