"""Integrity checks of a SQLite file."""

from __future__ import annotations

from typing import Any

from flask_convex_http.sqlite.connections import sqlite3


def faults(connection: Any) -> list[str]:
    """Return SQLite's complaints about pages, tables and indexes, a sentence each."""
    try:
        found = [str(text) for (text,) in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return [str(error)]
    return [] if found == ["ok"] else found


def is_damage(error: Exception) -> bool:
    """Return whether a driver's error means that the file is damaged. It is no subclass of the other errors."""
    return type(error) is sqlite3.DatabaseError
