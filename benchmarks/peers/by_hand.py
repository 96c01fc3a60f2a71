"""The peer by hand: `sqlite3` as people write it, and Flask on top of it.

It is durable (WAL, synchronous=FULL) and has a connection per thread, BEGIN IMMEDIATE and a busy timeout of five
seconds. It does not import flask_convex_http.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request

_TABLE = """
CREATE TABLE "items" (
    "_id" TEXT PRIMARY KEY NOT NULL, "_creation_time" REAL NOT NULL, "name" TEXT NOT NULL, "description" TEXT
) STRICT
"""
_INSERT = 'INSERT INTO "items" ("_id", "_creation_time", "name", "description") VALUES (?, ?, ?, ?)'


class Items:
    """The items in a SQLite file.

    Args:
        path: The file.
        durability: SQLite's `synchronous` setting.
    """

    def __init__(self, path: Path, durability: str) -> None:
        self._path = path
        self._durability = durability
        self._local = threading.local()

    def make_table(self) -> None:
        """Create the table."""
        self._connection().execute(_TABLE)

    def create(self, name: str, description: str | None) -> dict[str, Any]:
        """Store an item."""
        item = {"_id": uuid.uuid4().hex, "_creationTime": time.time() * 1000, "name": name, "description": description}
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(_INSERT, tuple(item.values()))
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return item

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            connection = sqlite3.connect(self._path, timeout=5.0, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._durability}")
            self._local.connection = connection
        found: sqlite3.Connection = self._local.connection
        return found


def create_app(folder: str, durability: str) -> Flask:
    """Return the app with the endpoint, for gunicorn."""
    app = Flask(__name__)
    items = Items(Path(folder, "items.db"), durability)

    @app.post("/api/items")
    def create_item() -> tuple[Response, int]:
        body = request.get_json()
        if not isinstance(body, dict):
            return jsonify(error="Expected an object"), 400
        if not body.keys() <= {"name", "description"}:
            return jsonify(error="Unknown field"), 400
        name, description = body.get("name"), body.get("description")
        if not isinstance(name, str):
            return jsonify(error="name must be a text"), 400
        if description is not None and not isinstance(description, str):
            return jsonify(error="description must be a text"), 400
        return jsonify(items.create(name, description)), 201

    return app
