"""The same app by hand, as people write it with Flask, psycopg and its pool, without flask_convex_http.

Each process has a pool, opened after the fork. Each request has a transaction in READ COMMITTED, PostgreSQL's default,
and a row is locked before a change that depends on its value. With autocommit a single statement has no transaction
around it, which saves two round trips.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

import psycopg
from flask import Flask, Response, request
from psycopg_pool import ConnectionPool

from benchmarks.peers.stripe_by_hand import add_webhook

_TABLES = """
CREATE TABLE "items" (
    "_id" TEXT PRIMARY KEY, "_creation_time" DOUBLE PRECISION NOT NULL, "name" TEXT NOT NULL, "description" TEXT,
    "votes" BIGINT NOT NULL
);
CREATE INDEX "items_by_creation_time" ON "items" ("_creation_time", "_id");
CREATE TABLE "events" (
    "id" TEXT PRIMARY KEY, "type" TEXT NOT NULL, "headers" JSONB NOT NULL, "body" BYTEA NOT NULL,
    "received" DOUBLE PRECISION NOT NULL
);
"""
_COLUMNS = '"_id", "_creation_time", "name", "description", "votes"'
_GET = f'SELECT {_COLUMNS} FROM "items" WHERE "_id" = %s'
_NEWEST = f'SELECT {_COLUMNS} FROM "items" ORDER BY "_creation_time" DESC, "_id" DESC LIMIT 10'
_INSERT = f'INSERT INTO "items" ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s)'
_LOCK = 'SELECT "votes" FROM "items" WHERE "_id" = %s FOR UPDATE'
_UPDATE = 'UPDATE "items" SET "votes" = %s WHERE "_id" = %s'
_INSERT_EVENT = """
INSERT INTO "events" ("id", "type", "headers", "body", "received") VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
#: Connections per process.
_CONNECTIONS = 10


class Items:
    """The items in a database.

    Args:
        url: The database.
        autocommit: Whether a single statement has no transaction around it.
    """

    def __init__(self, url: str, autocommit: bool) -> None:
        settings = {"autocommit": autocommit}
        self._pool = ConnectionPool(url, min_size=_CONNECTIONS, max_size=_CONNECTIONS, kwargs=settings, open=True)

    def get(self, item_id: str) -> dict[str, Any] | None:
        """Return the item with this id, or None."""
        with self._pool.connection() as connection:
            row = connection.execute(_GET, (item_id,)).fetchone()
        return None if row is None else _item(row)

    def newest(self) -> list[dict[str, Any]]:
        """Return the ten newest items."""
        with self._pool.connection() as connection:
            rows = connection.execute(_NEWEST).fetchall()
        return [_item(row) for row in rows]

    def create(self, name: str, description: str | None) -> dict[str, Any]:
        """Store an item."""
        row = (uuid.uuid4().hex, time.time() * 1000, name, description, 0)
        with self._pool.connection() as connection:
            connection.execute(_INSERT, row)
        return _item(row)

    def vote(self, item_id: str) -> int | None:
        """Add a vote to an item and return its number of votes."""
        with self._pool.connection() as connection, connection.transaction():
            row = connection.execute(_LOCK, (item_id,)).fetchone()
            if row is None:
                return None
            votes: int = row[0] + 1
            connection.execute(_UPDATE, (votes, item_id))
        return votes

    def receive(self, event: dict[str, Any], body: bytes, headers: dict[str, str]) -> None:
        """Process an event, unless it is a duplicate."""
        now = time.time() * 1000
        row = (event["id"], event["type"], json.dumps(headers), body, now)
        with self._pool.connection() as connection, connection.transaction():
            if connection.execute(_INSERT_EVENT, row).rowcount == 0:
                return
            payment = event["data"]["object"]["payment_intent"]
            connection.execute(_INSERT, (uuid.uuid4().hex, now, event["id"], payment, 0))


def make_tables(url: str) -> None:
    """Create the tables."""
    with psycopg.connect(url) as connection:
        connection.execute(_TABLES)


def _item(row: Sequence[Any]) -> dict[str, Any]:
    return {"_id": row[0], "_creationTime": row[1], "name": row[2], "description": row[3], "votes": row[4]}


def _json(data: Any, status: int = 200) -> Response:
    return Response(json.dumps(data, separators=(",", ":")), status, mimetype="application/json")


def create_app(url: str, autocommit: bool) -> Flask:
    """Create the app. gunicorn calls this after the fork."""
    app = Flask(__name__)
    items = Items(url, autocommit)
    _add_items(app, items)
    _add_webhook(app, items)
    return app


def _add_items(app: Flask, items: Items) -> None:
    @app.get("/api/items/<item_id>")
    def get_item(item_id: str) -> Response:
        item = items.get(item_id)
        return _json({"error": "There is no such item"}, 404) if item is None else _json(item)

    @app.get("/api/items")
    def list_items() -> Response:
        return _json(items.newest())

    @app.post("/api/items")
    def create_item() -> Response:
        body = request.get_json()
        if not isinstance(body, dict):
            return _json({"error": "Expected an object"}, 400)
        if not body.keys() <= {"name", "description"}:
            return _json({"error": "Unknown field"}, 400)
        name, description = body.get("name"), body.get("description")
        if not isinstance(name, str):
            return _json({"error": "name must be a text"}, 400)
        if description is not None and not isinstance(description, str):
            return _json({"error": "description must be a text"}, 400)
        return _json(items.create(name, description), 201)

    @app.post("/api/items/<item_id>/votes")
    def vote(item_id: str) -> Response:
        votes = items.vote(item_id)
        return _json({"error": "There is no such item"}, 404) if votes is None else _json({"votes": votes})


def _add_webhook(app: Flask, items: Items) -> None:
    add_webhook(app, lambda event, body: items.receive(event, body, dict(request.headers)))
