"""The check of a SQLite file: its pages and indexes, and the tables of the schema.

It reads one snapshot and changes nothing. The rows themselves are checked by `operations.check`.
"""

from __future__ import annotations

from typing import Any

from flask_convex_http.engines.readiness import pending_steps
from flask_convex_http.engines.sqlite.tables import SQLiteTables
from flask_convex_http.schema.documents import Schema
from flask_convex_http.sqlite.connections import is_damage, sqlite3
from flask_convex_http.sqlite.integrity import faults


def check(connection: Any, schema: Schema) -> list[str]:
    """Return one sentence per problem, which also names the remedy.

    Args:
        connection: A connection in no transaction.
        schema: The tables that must exist.
    """
    connection.execute("BEGIN")
    try:
        return [*map(_fault, faults(connection)), *pending_steps(SQLiteTables(connection, schema), schema)]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return [_fault(str(error))]
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _fault(text: str) -> str:
    remedy = "SQLite's REINDEX rebuilds it" if " index " in text else "restore a backup with `flask convex restore`"
    return f"The database is damaged: {text}; {remedy}"
