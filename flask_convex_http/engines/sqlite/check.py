"""Whether an SQLite file is sound and has the tables of the schema, told in one snapshot and without changing anything.

What the rows mean is looked at above the engine, in `check`.
"""

from __future__ import annotations

from typing import Any

from flask_convex_http.engines.readiness import pending_steps
from flask_convex_http.engines.sqlite.schema import SQLiteSchema
from flask_convex_http.schema.documents import Schema
from flask_convex_http.sqlite.backup import faults, is_damage
from flask_convex_http.sqlite.connections import sqlite3


def check(connection: Any, schema: Schema) -> list[str]:
    """What is wrong, a sentence each that says what to do.

    Args:
        connection: One in no transaction.
        schema: The tables to be there.
    """
    connection.execute("BEGIN")
    try:
        return [*map(_fault, faults(connection)), *pending_steps(SQLiteSchema(connection, schema), schema)]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return [_fault(str(error))]
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _fault(text: str) -> str:
    remedy = (
        "SQLite's REINDEX makes it anew" if " index " in text else "go back to a backup with `flask convex restore`"
    )
    return f"The database is damaged: {text}; {remedy}"
