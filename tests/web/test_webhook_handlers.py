"""What may be a handler of webhooks, and what its mistakes look like: when it is registered, and when it runs."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import (
    ActionCtx,
    HmacSignature,
    HttpRouter,
    MutationCtx,
    RegistrationError,
    WebhookEvent,
    internal_mutation,
    require_api_key,
)
from flask_convex_http.testing import deliver, run_scheduled
from tests.web.apps import deployed

SENDER = HmacSignature(secret="a secret of the tests", header="X-Signature", id_field="data.id", type_field="data.kind")


def receive(ctx: MutationCtx, event: WebhookEvent) -> None:
    """A handler that does nothing."""


def one(ctx: MutationCtx) -> None:
    """Takes no event."""


def three(ctx: MutationCtx, event: WebhookEvent, more: int) -> None:
    """Takes one too many."""


def by_name(ctx: MutationCtx, *, event: WebhookEvent) -> None:
    """Takes the event by name."""


def swapped(event: WebhookEvent, ctx: MutationCtx) -> None:
    """Takes them the other way round."""


def of_an_action(ctx: ActionCtx, event: WebhookEvent) -> None:
    """Expects more than it is given."""


@internal_mutation
def function(ctx: MutationCtx, *, event: str) -> None:
    """A function, and no handler."""


@require_api_key
def guarded(ctx: ActionCtx, event: Any) -> None:
    """Asks for what no sender has."""


@pytest.mark.parametrize("handler", [one, three, by_name, swapped, of_an_action, function, guarded, "x", None])
def test_what_cannot_be_a_handler_is_refused_at_once(handler: Any) -> None:
    """What could not be called with a ctx and an event is refused when it is registered, with what to write instead."""
    http = HttpRouter("http", __name__)
    with pytest.raises(RegistrationError, match=r"write a plain function|drop the decorator"):
        http.webhook("/hook", SENDER)(handler)


@pytest.mark.parametrize("handler", [receive, lambda ctx, event: None, lambda *both: None])
def test_what_takes_two_is_a_handler(handler: Callable[..., Any], tmp_path: Path) -> None:
    """Annotated or not, what takes a ctx and an event is a handler."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", SENDER, source="shop")(handler)
    with deployed(tmp_path, http) as app:
        assert deliver(app.test_client(), "shop", {"data": {"id": "e1", "kind": "paid"}}).status_code == 200


@pytest.mark.parametrize("name", ["once", "run_action", "idempotency_token", "attempt"])
def test_what_only_actions_have_is_explained(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that reaches for what only actions have is told to schedule one."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", SENDER, source="shop")(lambda ctx, event: getattr(ctx, name))
    with deployed(tmp_path, http) as app:
        assert deliver(app.test_client(), "shop", {"data": {"id": "e1", "kind": "paid"}}).status_code == 500
    assert f"ctx.{name} is for actions" in caplog.text
    assert "ctx.scheduler.run_after(0" in caplog.text


def test_a_copy_with_another_body_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two bodies under one id are one delivery, and the log says so: ids may be taken from the wrong field."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", SENDER, source="shop")(receive)
    with deployed(tmp_path, http) as app:
        for extra in ("", "", "another"):
            payload = {"data": {"id": "account_1", "kind": "paid", "extra": extra}}
            assert deliver(app.test_client(), "shop", payload).status_code == 200
    assert [record.message.count("with a body of another size") for record in caplog.records] == [1]


def test_a_misspelt_order_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """order_by= that names what a payload does not have is logged at the first delivery."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", SENDER, source="shop", mode="enqueue", order_by="dta.customer")(receive)
    with caplog.at_level(logging.WARNING), deployed(tmp_path, http) as app:
        for number in range(3):
            payload = {"data": {"id": f"e{number}", "kind": "paid", "customer": "c"}}
            assert deliver(app.test_client(), "shop", payload).status_code == 202
    assert caplog.text.count("order_by='dta.customer' is not in a payload of type 'paid'") == 1


@pytest.mark.parametrize("propagates", [True, False])
def test_what_a_worker_would_run_fails_where_a_test_sees_it(propagates: bool, tmp_path: Path) -> None:
    """With PROPAGATE_EXCEPTIONS a bug in a handler that a worker runs leaves run_scheduled, as those of requests do."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        raise ZeroDivisionError("a bug")

    http = HttpRouter("http", __name__)
    http.webhook("/hook", SENDER, source="shop", mode="enqueue")(handler)
    with deployed(tmp_path, http, PROPAGATE_EXCEPTIONS=propagates) as app:
        assert deliver(app.test_client(), "shop", {"data": {"id": "e1", "kind": "paid"}}).status_code == 202
        if propagates:
            with pytest.raises(ZeroDivisionError, match="a bug"):
                run_scheduled(app)
        assert [job.name for job in run_scheduled(app)] == ([] if propagates else ["_webhooks:process"])
