"""The app of the PostgreSQL benchmark, written as a user of flask_convex_http would write it.

Its peer is `peers.postgres_by_hand`, which returns the same bytes.
"""

from __future__ import annotations

import msgspec
from flask import Flask, Request, Response

from flask_convex_http import (
    ActionCtx,
    ConvexHTTP,
    Document,
    HttpRouter,
    Id,
    MutationCtx,
    QueryCtx,
    Schema,
    Stripe,
    WebhookEvent,
    error_response,
    from_env,
    internal_mutation,
    internal_query,
    json_response,
    read_json,
)


class Item(Document, table="items"):
    name: str
    description: str | None
    votes: int


class NewItem(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/items."""

    name: str
    description: str | None = None


@internal_query
def get(ctx: QueryCtx, *, id: Id[Item]) -> Item | None:
    return ctx.db.get(id)


@internal_query
def newest(ctx: QueryCtx) -> list[Item]:
    return ctx.db.query(Item).order("desc").take(10)


@internal_mutation
def create(ctx: MutationCtx, *, name: str, description: str | None) -> Id[Item]:
    return ctx.db.insert(Item(name=name, description=description, votes=0))


@internal_mutation
def vote(ctx: MutationCtx, *, id: Id[Item]) -> int | None:
    item = ctx.db.get(id)
    if item is None:
        return None
    ctx.db.patch(id, votes=item.votes + 1)
    return item.votes + 1


convex = ConvexHTTP(schema=Schema(Item), functions=[get, newest, create, vote])
http = HttpRouter("http", __name__)


@http.get("/api/items/<id>")
def get_item(ctx: ActionCtx, request: Request, id: str) -> Response:
    item = ctx.run_query(get, id=Id(id))
    return error_response("There is no such item", 404) if item is None else json_response(item)


@http.get("/api/items")
def list_items(ctx: ActionCtx, request: Request) -> list[Item]:
    return ctx.run_query(newest)


@http.post("/api/items")
def create_item(ctx: ActionCtx, request: Request) -> Response:
    body = read_json(request, NewItem)
    item_id = ctx.run_mutation(create, name=body.name, description=body.description)
    return json_response(ctx.run_query(get, id=item_id), 201)


@http.post("/api/items/<id>/votes")
def vote_for(ctx: ActionCtx, request: Request, id: str) -> Response:
    votes = ctx.run_mutation(vote, id=Id(id))
    return error_response("There is no such item", 404) if votes is None else json_response({"votes": votes})


@http.webhook("/webhooks/stripe", Stripe(secret=from_env("STRIPE_WEBHOOK_SECRET")))
def on_stripe(ctx: MutationCtx, event: WebhookEvent) -> None:
    ctx.db.insert(Item(name=event.id, description=event.data["object"]["payment_intent"], votes=0))


def create_app(folder: str, url: str, worker: str = "on") -> Flask:
    """Create the app, for gunicorn.

    Args:
        folder: The folder for files.
        url: The database.
        worker: "on" for a background worker, or "off".
    """
    app = Flask(__name__, instance_path=folder)
    app.config.update(CONVEX_DATABASE_URL=url, CONVEX_WORKER=worker)
    convex.init_app(app)
    app.register_blueprint(http)
    return app


def make_tables(folder: str, url: str) -> None:
    """Create the tables."""
    with create_app(folder, url, worker="off").app_context():
        convex.migrate()
