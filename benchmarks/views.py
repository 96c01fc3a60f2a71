"""Requests in process against plain Flask views that do the same by hand: `python -m benchmarks.views`.

The peers are what one would write: `sqlite3` with a connection per thread, SHA-256 of the key, an indexed select, and a
dict that Flask turns into JSON. Requests enter as WSGI calls, so that no client library is measured.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from flask import Flask, Request, Response, jsonify, request

from benchmarks.harness import Ratio, Row, alternate, print_table, row
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
    internal_query,
    read_json,
    require_api_key,
)

HEALTH_TARGET, PROTECTED_TARGET, ROUTES_TARGET, TYPED_TARGET, LOGGED_TARGET = 1.0, 1.1, 1.2, 1.05, 1.2
METRICS_TARGET = 1.05
BODY = b'{"name":"Lamp","description":"A lamp of glass"}'


class NewItem(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    description: str | None = None


class Item(Document, table="items"):
    name: str
    description: str | None


@internal_mutation
def create(ctx: MutationCtx, *, name: str, description: str | None) -> Id[Item]:
    return ctx.db.insert(Item(name=name, description=description))


@internal_query
def get(ctx: QueryCtx, *, id: Id[Item]) -> Item | None:
    return ctx.db.get(id)


def our_app(folder: str, routes: int = 0, *, log_rows: int = 0, metrics: bool = False) -> tuple[Flask, str, Id[Item]]:
    """Return an app of this package, a valid key and an item."""
    app = Flask("ours", instance_path=folder)
    app.config |= {"CONVEX_WORKER": "off", "CONVEX_LOG_ROWS": log_rows}  # the worker would outlive the folder
    convex = ConvexHTTP(app, schema=Schema(Item), functions=[create, get], metrics=metrics)
    http = HttpRouter("http", __name__)

    @http.get("/health")
    def health(ctx: ActionCtx, request: Request) -> dict[str, str]:
        return {"status": "ok"}

    @http.get("/items/<id>")
    @require_api_key
    def item(ctx: ActionCtx, request: Request, id: str) -> Any:
        return ctx.run_query(get, id=Id(id))

    @http.post("/typed")
    def typed(ctx: ActionCtx, request: Request, body: NewItem) -> NewItem:
        return body

    @http.post("/read-json")
    def by_read_json(ctx: ActionCtx, request: Request) -> NewItem:
        return read_json(request, NewItem)

    for number in range(routes):
        http.get(f"/route/{number}/here", endpoint=f"route_{number}")(lambda ctx, request: {"status": "ok"})
    app.register_blueprint(http)
    with app.app_context():
        convex.migrate()
        key, _ = convex.backend.api_keys.create(name="bench", scopes=["read"])
        return app, key, convex.ctx().run_mutation(create, name="Lamp", description="A lamp of glass")


def app_by_hand(folder: str) -> tuple[Flask, str, str]:
    """Return the same by hand."""
    app = Flask("by hand", instance_path=folder)
    local = threading.local()

    def connection() -> sqlite3.Connection:
        if not hasattr(local, "connection"):
            local.connection = sqlite3.connect(Path(folder, "hand.db"), isolation_level=None)
            local.connection.execute("PRAGMA journal_mode = WAL")
        found: sqlite3.Connection = local.connection
        return found

    connection().executescript(
        "CREATE TABLE keys (hash TEXT PRIMARY KEY, name TEXT, scopes TEXT, revoked_at REAL);"
        "CREATE TABLE items (id TEXT PRIMARY KEY, created REAL, name TEXT, description TEXT);"
    )
    key, item_id = secrets.token_urlsafe(32), secrets.token_hex(16)
    digest = hashlib.sha256(key.encode()).hexdigest()
    connection().execute("INSERT INTO keys VALUES (?, 'bench', '[\"read\"]', NULL)", (digest,))
    connection().execute("INSERT INTO items VALUES (?, 1.0, 'Lamp', 'A lamp of glass')", (item_id,))

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/items/<id>")
    def item(id: str) -> Response | tuple[Response, int]:
        key = request.headers.get("X-API-Key")
        if key is None:
            return jsonify(error="Missing API key"), 401
        digest = hashlib.sha256(key.encode()).hexdigest()
        found = connection().execute("SELECT name, scopes, revoked_at FROM keys WHERE hash = ?", (digest,)).fetchone()
        if found is None or found[2] is not None:
            return jsonify(error="Invalid API key"), 403
        row = connection().execute("SELECT id, created, name, description FROM items WHERE id = ?", (id,)).fetchone()
        if row is None:
            return jsonify(error="Not found"), 404
        return jsonify(_id=row[0], _creationTime=row[1], name=row[2], description=row[3])

    return app, key, item_id


def caller(
    app: Flask, path: str, key: str | None = None, body: bytes | None = None, token: str | None = None
) -> Callable[[], bytes]:
    """Return a function that makes one GET request, or a POST if there is a body of JSON."""
    base = {
        "REQUEST_METHOD": "GET" if body is None else "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **({"HTTP_X_API_KEY": key} if key else {}),
        **({"HTTP_AUTHORIZATION": f"Bearer {token}"} if token else {}),
        **({"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body))} if body else {}),
    }
    status: list[str] = []

    def start_response(line: str, headers: Any, error: Any = None) -> Any:
        status[:] = [line]

    def call() -> bytes:
        answer = app.wsgi_app({**base, "wsgi.input": io.BytesIO(body or b"")}, start_response)
        received = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        assert status == ["200 OK"], (status, received)
        return received

    return call


def _compare(ours: Callable[[], object], theirs: Callable[[], object]) -> Ratio:
    """Compare the processor time of two functions, that of all threads of this process included."""
    return alternate(ours, theirs, rounds=40, number=50, timer=time.process_time)  # short rounds see the same load


def measure() -> list[Row]:
    """Measure health, a protected document, and many routes."""
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        app, key, item_id = our_app(ours)
        peer, peer_key, peer_id = app_by_hand(theirs)
        health = _compare(caller(app, "/health"), caller(peer, "/health"))
        protected = _compare(caller(app, f"/items/{item_id}", key), caller(peer, f"/items/{peer_id}", peer_key))
        counted, _, _ = our_app(f"{ours}/metrics", metrics=True)
        metrics = _compare(caller(counted, "/health"), caller(app, "/health"))
        typed = _compare(caller(app, "/typed", body=BODY), caller(app, "/read-json", body=BODY))
    return [
        row("GET /health", health, HEALTH_TARGET),
        row("GET /health with metrics (by hand: without)", metrics, METRICS_TARGET),
        row("a document by id, with an API key", protected, PROTECTED_TARGET),
        row("a typed body (by hand: read_json)", typed, TYPED_TARGET),
        _with_logs(),
        *_many_routes(),
    ]


def _with_logs() -> Row:
    """Measure health with log records, all work of the thread that stores them included."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        logged, silent = our_app(folder, log_rows=10_000)[0], our_app(other)[0]
        figures = _compare(caller(logged, "/health"), caller(silent, "/health"))
        logged.extensions["convex_http"].close()
    return row("GET /health with log records (by hand: without)", figures, LOGGED_TARGET)


def _many_routes() -> Iterator[Row]:
    with _apps_with(10, 1000, 5000) as apps:
        few = caller(apps[10], "/route/9/here")
        for count in (1000, 5000):
            yield row(
                f"{count} routes (by hand: 10)",
                _compare(caller(apps[count], f"/route/{count - 1}/here"), few),
                ROUTES_TARGET,
            )


@contextmanager
def _apps_with(*counts: int) -> Iterator[dict[int, Flask]]:
    with tempfile.TemporaryDirectory() as folder:
        yield {count: our_app(f"{folder}/{count}", count)[0] for count in counts}


if __name__ == "__main__":
    print_table("Requests in process", measure())
