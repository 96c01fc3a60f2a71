"""An app with a webhook of each provider, and what it was told: for tests of the deliveries that tests send."""

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
    """A secret in the form that Svix and Standard Webhooks take."""
    return "whsec_" + base64.b64encode(text.encode()).decode()


SECRET, RETIRED = whsec("the secret that is in use"), whsec("the secret to be retired")


class Effect(Document, table="effects"):
    """What a delivery has done."""

    event: str
    type: str


@internal_query
def effects(ctx: QueryCtx) -> list[tuple[str, str]]:
    """What was done, in order."""
    return [(effect.event, effect.type) for effect in ctx.db.query(Effect).order("asc").collect()]


@internal_mutation
def forget(ctx: MutationCtx) -> None:
    """Let what was done be forgotten, so that one app serves many tests; what came stays in the inbox."""
    for effect in ctx.db.query(Effect).collect():
        ctx.db.delete(effect.id)


def record(ctx: MutationCtx, event: WebhookEvent) -> str:
    """Every webhook here does this, unless the event says otherwise."""
    ctx.db.insert(Effect(event=event.id, type=event.type))
    if event.payload.get("fail"):
        raise ConvexError("The lamp is out", status=500)
    return f"{event.type} done\nand more"


def webhooks() -> HttpRouter:
    """The webhooks."""
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
    """The app on a temporary database."""
    with deployed(folder, webhooks(), schema=Schema(Effect), functions=[effects, forget], **config) as app:
        yield app


def done(app: Flask) -> list[tuple[str, str]]:
    """Which events had an effect."""
    result: list[tuple[str, str]] = backend_of(app).ctx().run_query(effects)
    return result


def cleared(app: Flask) -> Flask:
    """The app as if nothing had been done yet."""
    backend_of(app).ctx().run_mutation(forget)
    return app
