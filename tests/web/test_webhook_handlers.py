"""Handlers of webhooks: the signatures that are accepted, and how mistakes in a handler are reported."""

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
    """Do nothing."""


def takes_no_event(ctx: MutationCtx) -> None:
    """Take no event."""


def takes_three(ctx: MutationCtx, event: WebhookEvent, more: int) -> None:
    """Take one parameter too many."""


def takes_event_by_name(ctx: MutationCtx, *, event: WebhookEvent) -> None:
    """Take the event as a keyword-only parameter."""


def takes_swapped(event: WebhookEvent, ctx: MutationCtx) -> None:
    """Take the parameters in the wrong order."""


def takes_action_ctx(ctx: ActionCtx, event: WebhookEvent) -> None:
    """Require an ActionCtx, while a webhook's handler receives a MutationCtx."""


@internal_mutation
def function(ctx: MutationCtx, *, event: str) -> None:
    """Be a registered function, which is no handler."""


@require_api_key
def guarded(ctx: ActionCtx, event: Any) -> None:
    """Require an API key, which no sender has."""


@pytest.mark.parametrize(
    "handler",
    [takes_no_event, takes_three, takes_event_by_name, takes_swapped, takes_action_ctx, function, guarded, "x", None],
)
def test_invalid_handler_is_rejected(handler: Any) -> None:
    """A callable that cannot take a ctx and an event raises RegistrationError, which suggests a correct one."""
    http = HttpRouter("http", __name__)
    with pytest.raises(RegistrationError, match=r"write a plain function|drop the decorator"):
        http.webhook("/hook", SENDER)(handler)


@pytest.mark.parametrize("handler", [receive, lambda ctx, event: None, lambda *both: None])
def test_handler_takes_two_parameters(handler: Callable[..., Any], tmp_path: Path) -> None:
    """Any callable that takes a ctx and an event is a handler, annotated or not."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", SENDER, source="shop")(handler)
    with deployed(tmp_path, http) as app:
        assert deliver(app.test_client(), "shop", {"data": {"id": "e1", "kind": "paid"}}).status_code == 200


@pytest.mark.parametrize("name", ["once", "run_action", "idempotency_token", "attempt"])
def test_attribute_of_actions_is_explained(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that uses an attribute of ActionCtx is a 500, and the log suggests to schedule an action."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", SENDER, source="shop")(lambda ctx, event: getattr(ctx, name))
    with deployed(tmp_path, http) as app:
        assert deliver(app.test_client(), "shop", {"data": {"id": "e1", "kind": "paid"}}).status_code == 500
    assert f"ctx.{name} is for actions" in caplog.text
    assert "ctx.scheduler.run_after(0" in caplog.text


def test_duplicate_with_another_body_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A duplicate with a body of another size is accepted and logged once, as id_field may name the wrong field."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", SENDER, source="shop")(receive)
    with deployed(tmp_path, http) as app:
        for extra in ("", "", "another"):
            payload = {"data": {"id": "account_1", "kind": "paid", "extra": extra}}
            assert deliver(app.test_client(), "shop", payload).status_code == 200
    assert [record.message.count("with a body of another size") for record in caplog.records] == [1]


def test_wrong_order_by_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An order_by= path that payloads do not have is logged once, at the first delivery."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", SENDER, source="shop", mode="enqueue", order_by="dta.customer")(receive)
    with caplog.at_level(logging.WARNING), deployed(tmp_path, http) as app:
        for number in range(3):
            payload = {"data": {"id": f"e{number}", "kind": "paid", "customer": "c"}}
            assert deliver(app.test_client(), "shop", payload).status_code == 202
    assert caplog.text.count("order_by='dta.customer' is not in a payload of type 'paid'") == 1


@pytest.mark.parametrize("propagates", [True, False])
def test_bug_in_an_enqueued_handler_is_raised_by_run_scheduled(propagates: bool, tmp_path: Path) -> None:
    """With PROPAGATE_EXCEPTIONS an unexpected error of a handler that a worker runs is raised by run_scheduled."""

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
