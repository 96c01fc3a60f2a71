"""The writes of the benchmarks with flask_convex_http: a table, its functions, and an app with one endpoint.

The endpoint is a user's: a typed body, a mutation, and the stored document in the response.
"""

from __future__ import annotations

from pathlib import Path

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
    internal_mutation,
    json_response,
    query,
    read_json,
)
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings

#: With id and time, a row has about 300 bytes.
NAME = "Lamp"
DESCRIPTION = "A lamp of glass. " * 14


class Item(Document, table="items"):
    name: str
    description: str | None


class NewItem(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/items."""

    name: str
    description: str | None = None


@internal_mutation
def create(ctx: MutationCtx, *, name: str, description: str | None) -> Id[Item]:
    return ctx.db.insert(Item(name=name, description=description))


@query
def get(ctx: QueryCtx, *, id: Id[Item]) -> Item | None:
    return ctx.db.get(id)


http = HttpRouter("http", __name__)


@http.post("/api/items")
def create_item(ctx: ActionCtx, request: Request) -> Response:
    body = read_json(request, NewItem)
    item_id = ctx.run_mutation(create, name=body.name, description=body.description)
    return json_response(ctx.run_query(get, id=item_id), 201)


def open_backend(folder: Path, durability: str) -> Backend:
    """Return the backend whose database is in a folder."""
    settings = Settings.from_mapping({"CONVEX_DURABILITY": durability})
    return Backend(settings, Schema(Item), [create, get], folder=folder)


def create_app(folder: str, durability: str) -> Flask:
    """Return the app, for gunicorn."""
    app = Flask(__name__, instance_path=folder)
    app.config["CONVEX_DURABILITY"] = durability
    ConvexHTTP(app, schema=Schema(Item), functions=[create, get])
    app.register_blueprint(http)
    return app
