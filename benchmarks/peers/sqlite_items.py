"""The items by hand: `sqlite3` as people write it, and nothing else.

It is durable (WAL, synchronous=FULL) and has a connection per thread, BEGIN IMMEDIATE and a busy timeout of five
seconds. It does not import flask_convex_http.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_TABLE = """
CREATE TABLE "items" (
    "_id" TEXT PRIMARY KEY NOT NULL, "_creation_time" REAL NOT NULL, "name" TEXT NOT NULL, "description" TEXT
) STRICT
"""
_COLUMNS = '"_id", "_creation_time", "name", "description"'
_INSERT = f'INSERT INTO "items" ({_COLUMNS}) VALUES (?, ?, ?, ?)'
_GET = f'SELECT {_COLUMNS} FROM "items" WHERE "_id" = ?'
_NEWEST = f'SELECT {_COLUMNS} FROM "items" ORDER BY rowid DESC LIMIT 10'


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

    def fill(self, count: int, name: str, description: str) -> list[str]:
        """Store a number of items in one transaction, and return their ids."""
        items = [_new(name, description) for _ in range(count)]
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, [tuple(item.values()) for item in items])
        connection.execute("COMMIT")
        return [item["_id"] for item in items]

    def get(self, item_id: str) -> dict[str, Any] | None:
        """Return the item with this id, or None."""
        row = self._connection().execute(_GET, (item_id,)).fetchone()
        return None if row is None else _item(row)

    def newest(self) -> list[dict[str, Any]]:
        """Return the ten newest items."""
        return [_item(row) for row in self._connection().execute(_NEWEST)]

    def create(self, name: str, description: str | None) -> dict[str, Any]:
        """Store an item."""
        item = _new(name, description)
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


def _new(name: str, description: str | None) -> dict[str, Any]:
    return {"_id": uuid.uuid4().hex, "_creationTime": time.time() * 1000, "name": name, "description": description}


def _item(row: Sequence[Any]) -> dict[str, Any]:
    return {"_id": row[0], "_creationTime": row[1], "name": row[2], "description": row[3]}
