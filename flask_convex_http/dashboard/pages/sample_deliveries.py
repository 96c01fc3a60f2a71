"""Signed test deliveries, sent to the app itself as their sender would."""

from __future__ import annotations

import json
from typing import Any

from flask import Response
from werkzeug.exceptions import BadRequest, NotFound
from werkzeug.test import Client

from flask_convex_http.dashboard.pages.webhooks import page as page
from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.errors import MissingSecretError
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.inbox.search import sender_of
from flask_convex_http.webhooks.samples import Faults, make_deliveries
from flask_convex_http.webhooks.samples.events import event_types

_LONGEST_RESPONSE = 2000


@page.get("/test")
def test(visit: Visit) -> Response:
    """Show the form that sends a test delivery."""
    webhook = _find(visit, visit.text("source"))
    return visit.render("webhook_test.html", webhook=webhook, types=_types(webhook), sent=None, error="")


@page.post("/test")
def send(visit: Visit) -> Response:
    """Sign a sample event and send it to this app."""
    webhook = _find(visit, visit.field("source"))
    try:
        sent, error = _send(visit, webhook), ""
    except (BadRequest, MissingSecretError, NotImplementedError, ValueError) as refused:
        sent, error = None, str(getattr(refused, "description", None) or refused)
    return visit.render(
        "webhook_test.html", 400 if error else 200, webhook=webhook, types=_types(webhook), sent=sent, error=error
    )


def _find(visit: Visit, source: str) -> Webhook:
    webhook = visit.backend.webhooks.get(source)
    if webhook is None or "<" in webhook.path:  # the secret is a tenant's
        raise NotFound
    return webhook


def _types(webhook: Webhook) -> list[str]:
    return event_types(sender_of(webhook, webhook.provider.name))


def _send(visit: Visit, webhook: Webhook) -> dict[str, Any]:
    """Send one delivery, and return it with the response."""
    text = visit.field("data")
    data = None if not text else _object(text)
    made = make_deliveries(
        webhook.provider,
        [visit.field("type")],
        Faults(),
        now=visit.backend.clock(),
        data=data,
        url=visit.request.host_url.rstrip("/") + webhook.path,
    )[0]
    target = made.url or webhook.path
    response = Client(visit.app).post(
        target, base_url=visit.request.host_url, data=made.body, headers=dict(made.headers)
    )
    return {
        "id": made.id,
        "type": made.type,
        "status": response.status_code,
        "body": response.get_data()[:_LONGEST_RESPONSE].decode("utf-8", "replace"),
        "request_id": response.headers.get("X-Request-Id", ""),
    }


def _object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The changes are not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadRequest('The changes must be a JSON object such as {"amount_total": 950}')
    return data
