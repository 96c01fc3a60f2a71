"""Calls over the function API against the same functions behind Flask views: `python -m benchmarks.function_api`.

The views are written by hand. They read the JSON of a request, run the function through the ctx, and return its
result with `jsonify`. Both are in one app. They are called in process, and over one connection to gunicorn each, so
that the load on the machine is the same for both.
"""

from __future__ import annotations

import http.client
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from flask import Flask, Response, jsonify, request

from benchmarks.harness import Row, alternate, print_table, row
from benchmarks.servers import Server, gunicorn
from benchmarks.views import caller
from flask_convex_http import ConvexHTTP, Document, Id, MutationCtx, QueryCtx, Schema, mutation, query

TARGET = 1.3
Call = Callable[[], bytes]


class Item(Document, table="items"):
    """An item."""

    name: str
    description: str | None
    unit_price: float


@mutation
def create_item(ctx: MutationCtx, *, name: str, description: str | None, unit_price: float) -> Id[Item]:
    """Create an item."""
    return ctx.db.insert(Item(name=name, description=description, unit_price=unit_price))


@query
def get_item(ctx: QueryCtx, *, item_id: Id[Item]) -> Item | None:
    """Return an item."""
    return ctx.db.get(item_id)


@query
def list_items(ctx: QueryCtx, *, limit: int) -> list[Item]:
    """Return the newest items."""
    return ctx.db.query(Item).order("desc").take(limit)


def create_app(folder: str) -> Flask:
    """Return the app, which creates its tables if there are none."""
    app = Flask("function_api", instance_path=folder)
    app.config.update(CONVEX_WORKER="off", CONVEX_DURABILITY="normal")
    convex = ConvexHTTP(app, schema=Schema(Item), functions=[create_item, get_item, list_items], function_api=True)

    @app.post("/items/create")
    def create() -> Response:
        body = request.get_json()
        created = convex.ctx().run_mutation(
            create_item, name=body["name"], description=body["description"], unit_price=body["unitPrice"]
        )
        return jsonify(status="success", value=created)

    @app.post("/items/get")
    def get() -> Response:
        return jsonify(status="success", value=convex.ctx().run_query(get_item, item_id=request.get_json()["itemId"]))

    @app.post("/items/list")
    def list_all() -> Response:
        found = convex.ctx().run_query(list_items, limit=request.get_json()["limit"])
        return jsonify(status="success", value=found)

    with app.app_context():
        convex.migrate()
    return app


def fill(app: Flask) -> str:
    """Create items and return the id of one."""
    with app.app_context():
        ctx = app.extensions["convex_http"].ctx(None)
        ids = [
            ctx.run_mutation(create_item, name=f"Lamp {number}", description="A lamp of glass", unit_price=1.5)
            for number in range(50)
        ]
    return str(ids[0])


def calls(module: str, send: Callable[[str, bytes], Call], item_id: str) -> Iterator[tuple[str, Call, Call]]:
    """Yield the name of each function, a call over the function API and one of the view."""
    new = {"name": "Lamp", "description": "A lamp of glass", "unitPrice": 1.5}
    functions = {
        "a document by id": ("query", "get_item", "get", {"itemId": item_id}),
        "20 documents": ("query", "list_items", "list", {"limit": 20}),
        "an insert": ("mutation", "create_item", "create", new),
    }
    for name, (kind, function, view, arguments) in functions.items():
        body = {"path": f"{module}:{function}", "format": "convex_encoded_json", "args": [arguments]}
        ours = send(f"/api/{kind}", json.dumps(body).encode())
        theirs = send(f"/items/{view}", json.dumps(arguments).encode())
        assert json.loads(ours())["status"] == json.loads(theirs())["status"] == "success"
        yield name, ours, theirs


@contextmanager
def _over_http(folder: str) -> Iterator[Callable[[str, bytes], Call]]:
    """Yield what makes a function that sends a request to gunicorn, on a connection that stays open."""
    command = gunicorn(f"benchmarks.function_api:create_app('{folder}')", threads=4, workers=1)
    with ExitStack() as stack:
        server = stack.enter_context(Server("gunicorn", command, Path(folder), os.environ))
        connection = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", server.port)))

        def send(path: str, body: bytes) -> Call:
            def call() -> bytes:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                return connection.getresponse().read()

            return call

        yield send


def _rows(place: str, module: str, send: Callable[[str, bytes], Call], item_id: str) -> Iterator[Row]:
    for name, ours, theirs in calls(module, send, item_id):
        yield row(f"{name}, {place}", alternate(ours, theirs), TARGET)


def measure() -> list[Row]:
    """Measure each function in process and over HTTP."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(folder)
        item_id = fill(app)
        module = get_item.name.partition(":")[0]  # this module may be __main__
        rows = list(_rows("in process", module, lambda path, body: caller(app, path, body=body), item_id))
        app.extensions["convex_http"].close()
        with _over_http(folder) as send:
            rows += _rows("over HTTP", "function_api", send, item_id)
    return rows


if __name__ == "__main__":
    print_table("Calls over the function API, against Flask views", measure())
