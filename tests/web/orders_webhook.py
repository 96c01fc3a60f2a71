"""An app that receives orders by webhook."""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from flask_convex_http import (
    Document,
    HmacSignature,
    HttpRouter,
    MutationCtx,
    QueryCtx,
    Schema,
    WebhookEvent,
    internal_query,
)
from flask_convex_http.webhooks import Secrets
from tests.web.apps import deployed, send

SECRET, VARIABLE = "a secret of the tests", "WEB_TEST_WEBHOOK_SECRET"
BODY = b'{"id": "evt_1", "type": "order.paid", "total": 3}'


class Order(Document, table="orders"):
    """An order that a webhook inserts."""

    event: str


@internal_query
def orders(ctx: QueryCtx) -> list[str]:
    """Return the event ids of all orders."""
    return [order.event for order in ctx.db.query(Order).order("asc").collect()]


def sign(body: bytes = BODY, secret: str = SECRET) -> str:
    """Return the provider's signature of a body."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def provider(secret: Secrets = SECRET) -> HmacSignature:
    """Return a provider with this secret."""
    return HmacSignature(secret=secret, header="X-Signature", id_field="id", type_field="type")


@contextmanager
def receiving(
    folder: Path, handler: Callable[[MutationCtx, WebhookEvent], Any], secret: Secrets = SECRET, **options: Any
) -> Iterator[Flask]:
    """Yield an app with one webhook."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", provider(secret), **options)(handler)
    with deployed(folder, http, schema=Schema(Order), functions=[orders]) as app:
        yield app


def deliver(app: Flask, body: bytes = BODY, signature: str | None = None, **environ: Any) -> TestResponse:
    """Send a delivery, signed unless a signature is given."""
    signed = {
        "HTTP_X_SIGNATURE": sign(body) if signature is None else signature,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
    }
    return send(app, "POST", "/hook", body, **(signed | environ))


def store(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Insert an order with the event's id."""
    ctx.db.insert(Order(event=event.id))
