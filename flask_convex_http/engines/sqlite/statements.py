"""The SQL of rows in SQLite."""

from __future__ import annotations

from typing import Any

from flask_convex_http.engines.sql import StatementCache
from flask_convex_http.schema.tables import Table


class SQLiteStatements(StatementCache):
    """The SQL of rows in SQLite's dialect, in which NULL comes first and text compares by code point by default."""

    def get_and_stay(self, table: Table[Any]) -> str:
        """Return the SELECT of a row by its id, with two rows of NULL after it.

        They keep the statement active, and so its snapshot, after the row was fetched.
        """
        key = (table, "stay")
        text = self._texts.get(key)
        if text is None:
            nothing = f"UNION ALL SELECT {', '.join(['NULL'] * (len(table.columns) + 2))}"
            text = self._texts[key] = f"{self.get(table)} {nothing} {nothing}"
        return text
