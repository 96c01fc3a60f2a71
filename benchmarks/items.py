"""The writes of the benchmarks with flask_convex_http: a table, its functions, and an app with three endpoints.

The endpoints are a user's. The one that writes has a typed body, a mutation, and the stored document in its response.
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
    error_response,
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


@internal_mutation
def fill(ctx: MutationCtx, *, count: int) -> list[Id[Item]]:
    return [ctx.db.insert(Item(name=NAME, description=DESCRIPTION)) for _ in range(count)]


@query
def get(ctx: QueryCtx, *, id: Id[Item]) -> Item | None:
    return ctx.db.get(id)


@query
def newest(ctx: QueryCtx, *, limit: int) -> list[Item]:
    return ctx.db.query(Item).order("desc").take(limit)


http = HttpRouter("http", __name__)


@http.get("/api/items/<item_id>")
def get_item(ctx: ActionCtx, request: Request, item_id: str) -> Item | Response:
    return ctx.run_query(get, id=Id(item_id)) or error_response("There is no such item", 404)


@http.get("/api/items")
def list_items(ctx: ActionCtx, request: Request) -> list[Item]:
    return ctx.run_query(newest, limit=10)


@http.post("/api/items")
def create_item(ctx: ActionCtx, request: Request) -> Response:
    body = read_json(request, NewItem)
    item_id = ctx.run_mutation(create, name=body.name, description=body.description)
    return json_response(ctx.run_query(get, id=item_id), 201)


def open_backend(folder: Path, durability: str) -> Backend:
    """Return the backend whose database is in a folder."""
    settings = Settings.from_mapping({"CONVEX_DURABILITY": durability})
    return Backend(settings, Schema(Item), [create, fill, get, newest], folder=folder)


def create_app(folder: str, durability: str) -> Flask:
    """Return the app, for gunicorn."""
    app = Flask(__name__, instance_path=folder)
    app.config["CONVEX_DURABILITY"] = durability
    ConvexHTTP(app, schema=Schema(Item), functions=[create, fill, get, newest])
    app.register_blueprint(http)
    return app
