"""A POST with an idempotency key against the same POST without one, in process: `python -m benchmarks.idempotent`.

The route takes a key or none (`idempotent="optional"`). With a key the transaction stores the key and its response too.
Commits are synced to the disk ("full") or not ("normal"), so that the share of the sync shows.
"""

from __future__ import annotations

import io
import itertools
import tempfile
from collections.abc import Callable
from typing import Any

import msgspec
from flask import Flask, Request

from benchmarks.harness import Row, alternate, print_table, row
from flask_convex_http import ConvexHTTP, Document, HttpRouter, Id, MutationCtx, Schema

#: At least 0.8 of the rate.
TARGET = 1.25
PATH = "/orders"
BODY = msgspec.json.encode({"name": "Lamp", "description": "A lamp of glass. " * 14})


class Order(Document, table="orders"):
    """An order."""

    name: str
    description: str


class NewOrder(msgspec.Struct):
    """The body of a request."""

    name: str
    description: str


def app_of(folder: str, durability: str) -> Flask:
    """Return an app whose one route takes orders."""
    app = Flask("ours", instance_path=folder)
    app.config.update(CONVEX_WORKER="off", CONVEX_DURABILITY=durability)
    convex = ConvexHTTP(app, schema=Schema(Order))
    http = HttpRouter("http", __name__)

    @http.post(PATH, status=201, idempotent="optional")
    def create(ctx: MutationCtx, request: Request, body: NewOrder) -> dict[str, Id[Order]]:
        return {"id": ctx.db.insert(Order(name=body.name, description=body.description))}

    app.register_blueprint(http)
    with app.app_context():
        convex.migrate()
    return app


def sender(app: Flask, key: Callable[[], str | None]) -> Callable[[], bytes]:
    """Return a function that sends an order through WSGI, and returns the body of its response."""

    def started(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        assert status.startswith("201")

    def send() -> bytes:
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": PATH,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(BODY),
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(BODY)),
        }
        value = key()
        if value is not None:
            environ["HTTP_IDEMPOTENCY_KEY"] = value
        return b"".join(app.wsgi_app(environ, started))

    return send


def measure() -> list[Row]:
    """Measure new keys, and the replay of one."""
    numbers = itertools.count()
    rows = []
    for durability in ("full", "normal"):
        with tempfile.TemporaryDirectory() as folder:
            app = app_of(folder, durability)
            without = sender(app, lambda: None)
            new = sender(app, lambda: f"8e03978e-40d5-43dd-bc93-{next(numbers):012}")
            again = sender(app, lambda: "8e03978e-40d5-43dd-bc93-6894a57f9324")
            assert again() == again() != new()
            rows.append(row(f"POST with a new key ({durability})", alternate(new, without), TARGET))
            rows.append(row(f"POST with a known key ({durability})", alternate(again, without), TARGET))
            app.extensions["convex_http"].close()
    return rows


if __name__ == "__main__":
    print_table("Idempotent requests, against those without a key", measure())
