"""An app with an idempotent route, for the tests of idempotent requests."""

from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from flask_convex_http import Document, HttpRouter, MutationCtx, Schema, internal_mutation, json_response, read_json
from tests.web.apps import backend_of, deployed


class Order(Document, table="orders"):
    """An order."""

    item: str


@internal_mutation
def ship(ctx: MutationCtx) -> None:
    """Ship; a job."""


def add_order(ctx: MutationCtx, request: Any) -> Any:
    """Store an order and schedule its shipping; a handler."""
    body = read_json(request, dict[str, Any])
    order = ctx.db.insert(Order(item=body["item"]))
    ctx.scheduler.run_after(0, ship)
    return json_response({"id": order}, 201, {"Location": f"/orders/{order}"})


def handler() -> Any:
    """Return a handler that no route has."""
    return lambda ctx, request: add_order(ctx, request)


def router(run: Any = None, **options: Any) -> HttpRouter:
    """Return a router with one idempotent route."""
    http = HttpRouter("http", __name__)
    http.post("/orders", **({"idempotent": True} | options))(run or handler())
    return http


def app_of(folder: Path, *routers: HttpRouter, **options: Any) -> Any:
    """Return the context of an app with these routers."""
    return deployed(folder, *routers, schema=Schema(Order), functions=[ship], **options)


def post(app: Flask, key: str | None = "k1", item: str = "Lamp", path: str = "/orders", **headers: str) -> TestResponse:
    """Send an order."""
    sent = headers | ({} if key is None else {"Idempotency-Key": key})
    return app.test_client().post(path, json={"item": item}, headers=sent)


def orders(app: Flask) -> int:
    """Return the number of stored orders."""
    return count(app, Order)


def count(app: Flask, kind: type[Document]) -> int:
    """Return the number of rows of a table."""
    backend = backend_of(app)
    with backend.engine.snapshot() as snapshot:
        return snapshot.count(backend.schema.table_for(kind))
