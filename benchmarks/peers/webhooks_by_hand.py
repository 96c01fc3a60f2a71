"""The same webhook by hand: Flask, Stripe's library, and `sqlite3`.

One transaction selects the event's id, inserts the event with its body, inserts the row of effects, marks the event as
done and commits. It knows nothing of flask_convex_http.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from flask import Flask

from benchmarks.peers.stripe_by_hand import add_webhook

_TABLES = """
CREATE TABLE "events" (
    "id" TEXT PRIMARY KEY NOT NULL, "type" TEXT NOT NULL, "body" BLOB NOT NULL, "received" REAL NOT NULL,
    "state" TEXT NOT NULL
) STRICT;
CREATE TABLE "items" (
    "_id" TEXT PRIMARY KEY NOT NULL, "_creation_time" REAL NOT NULL, "name" TEXT NOT NULL, "description" TEXT
) STRICT;
"""
_SELECT = 'SELECT 1 FROM "events" WHERE "id" = ?'
_INSERT_EVENT = 'INSERT INTO "events" ("id", "type", "body", "received", "state") VALUES (?, ?, ?, ?, ?)'
_INSERT_ITEM = 'INSERT INTO "items" ("_id", "_creation_time", "name", "description") VALUES (?, ?, ?, ?)'
_UPDATE = 'UPDATE "events" SET "state" = ? WHERE "id" = ?'


class Inbox:
    """The events in an SQLite file, and the rows they made.

    Args:
        path: The file.
        durability: What SQLite's `synchronous` is set to.
    """

    def __init__(self, path: Path, durability: str) -> None:
        self._path = path
        self._durability = durability
        self._local = threading.local()

    def make_tables(self) -> None:
        """Make the tables, once."""
        self._connection().executescript(_TABLES)

    def receive(self, event: dict[str, Any], body: bytes) -> None:
        """Deal with an event, unless that was done before."""
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.execute(_SELECT, (event["id"],)).fetchone() is None:
                self._process(connection, event, body)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _process(self, connection: sqlite3.Connection, event: dict[str, Any], body: bytes) -> None:
        now = time.time() * 1000
        connection.execute(_INSERT_EVENT, (event["id"], event["type"], body, now, "received"))
        payment = event["data"]["object"]["payment_intent"]
        connection.execute(_INSERT_ITEM, (uuid.uuid4().hex, now, event["id"], payment))
        connection.execute(_UPDATE, ("done", event["id"]))

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            connection = sqlite3.connect(self._path, timeout=5.0, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._durability}")
            self._local.connection = connection
        found: sqlite3.Connection = self._local.connection
        return found


def create_app(folder: str, durability: str) -> Flask:
    """The webhook in Flask, for gunicorn."""
    app = Flask(__name__)
    inbox = Inbox(Path(folder, "items.db"), durability)
    add_webhook(app, inbox.receive)
    return app
