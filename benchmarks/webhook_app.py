"""The app of the webhook benchmark with flask_convex_http: a webhook whose handler inserts one row.

It has the tables of the write benchmarks.
"""

from __future__ import annotations

from flask import Flask, Request, Response

from benchmarks.items import Item
from flask_convex_http import (
    ActionCtx,
    ConvexHTTP,
    HttpRouter,
    MutationCtx,
    Schema,
    Stripe,
    WebhookEvent,
    error_response,
    from_env,
)

http = HttpRouter("http", __name__)


@http.webhook("/webhooks/stripe", Stripe(secret=from_env("STRIPE_WEBHOOK_SECRET")))
def on_stripe(ctx: MutationCtx, event: WebhookEvent) -> None:
    ctx.db.insert(Item(name=event.id, description=event.data["object"]["payment_intent"]))


@http.get("/health")
def health(ctx: ActionCtx, request: Request) -> dict[str, str]:
    return {"status": "ok"}


@http.post("/read")
def read(ctx: ActionCtx, request: Request) -> Response:
    """Read the body and reject the request: the highest rate that rejecting a forgery could reach."""
    request.get_data()
    return error_response("no", 400)


def create_app(folder: str, durability: str) -> Flask:
    """Return the app for gunicorn."""
    app = Flask(__name__, instance_path=folder)
    app.config["CONVEX_DURABILITY"] = durability
    ConvexHTTP(app, schema=Schema(Item))
    app.register_blueprint(http)
    return app
