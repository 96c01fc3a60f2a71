"""The SQL of rows in SQLite."""

from __future__ import annotations

from typing import Any

from flask_convex_http.engines.sql import StatementCache
from flask_convex_http.schema.tables import Table


class SQLiteStatements(StatementCache):
    """SQL texts as SQLite takes them: None comes first by itself, and text compares by code point."""

    def get_and_stay(self, table: Table[Any]) -> str:
        """`get` with two rows of NULL behind, so that the statement is not over when the row has been fetched."""
        key = (table, "stay")
        text = self._texts.get(key)
        if text is None:
            nothing = f"UNION ALL SELECT {', '.join(['NULL'] * (len(table.columns) + 2))}"
            text = self._texts[key] = f"{self.get(table)} {nothing} {nothing}"
        return text
