"""Integrity checks of a SQLite file."""

from __future__ import annotations

from typing import Any

from flask_convex_http.sqlite.connections import is_damage, sqlite3


def faults(connection: Any) -> list[str]:
    """Return SQLite's complaints about pages, tables and indexes, a sentence each."""
    try:
        found = [str(text) for (text,) in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return [str(error)]
    return [] if found == ["ok"] else found
