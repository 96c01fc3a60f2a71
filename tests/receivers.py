"""An app with a webhook of each provider, which records the events that it has handled."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask

from flask_convex_http import (
    ConvexError,
    Document,
    GitHub,
    HmacSignature,
    HttpRouter,
    MutationCtx,
    QueryCtx,
    Schema,
    StandardWebhooks,
    Stripe,
    Svix,
    WebhookEvent,
    internal_mutation,
    internal_query,
)
from flask_convex_http.webhooks import Shopify, Slack
from tests.web.apps import backend_of, deployed


def whsec(text: str) -> str:
    """Return a secret in the form that Svix and Standard Webhooks use."""
    return "whsec_" + base64.b64encode(text.encode()).decode()


SECRET, RETIRED = whsec("the secret that is in use"), whsec("the secret to be retired")


class Effect(Document, table="effects"):
    """The effect of a handled delivery."""

    event: str
    type: str


@internal_query
def effects(ctx: QueryCtx) -> list[tuple[str, str]]:
    """Return the handled events in order."""
    return [(effect.event, effect.type) for effect in ctx.db.query(Effect).order("asc").collect()]


@internal_mutation
def clear(ctx: MutationCtx) -> None:
    """Delete all effects, so that tests can share an app. Its inbox stays."""
    for effect in ctx.db.query(Effect).collect():
        ctx.db.delete(effect.id)


def record(ctx: MutationCtx, event: WebhookEvent) -> str:
    """Insert an effect, and fail if the event says so. The handler of every webhook."""
    ctx.db.insert(Effect(event=event.id, type=event.type))
    if event.payload.get("fail"):
        raise ConvexError("The lamp is out", status=500)
    return f"{event.type} done\nand more"


def webhooks() -> HttpRouter:
    """Return a router with a webhook of each provider."""
    router = HttpRouter("hooks", __name__, url_prefix="/hooks")
    providers = {
        "stripe": Stripe(secret=[SECRET, RETIRED]),
        "clerk": Svix(secret=SECRET),
        "mail": Svix(secret=SECRET),
        "github": GitHub(secret=SECRET),
        "shopify": Shopify(secret=SECRET),
        "slack": Slack(secret=SECRET),
        "standard": StandardWebhooks(secret=SECRET),
        "lamps": HmacSignature(secret=SECRET, header="X-Signature", id_field="id", type_field="type"),
    }
    for name, provider in providers.items():
        router.webhook(f"/{name}", provider, endpoint=name)(record)
    return router


@contextmanager
def receiving(folder: Path, **config: Any) -> Iterator[Flask]:
    """Run the app on a temporary database."""
    with deployed(folder, webhooks(), schema=Schema(Effect), functions=[effects, clear], **config) as app:
        yield app


def done(app: Flask) -> list[tuple[str, str]]:
    """Return the id and type of the events that had an effect, in order."""
    result: list[tuple[str, str]] = backend_of(app).ctx().run_query(effects)
    return result


def cleared(app: Flask) -> Flask:
    """Return the app without any effects."""
    backend_of(app).ctx().run_mutation(clear)
    return app
