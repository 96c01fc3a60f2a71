"""The statements that read and write rows in SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

from flask_convex_http.engines.sql import StatementCache, qualified, quoted_columns
from flask_convex_http.engines.transaction import Row
from flask_convex_http.schema.tables import Table
from flask_convex_http.sqlite.late_rows import WriteRows

#: The largest number of rows that one statement looks for, or inserts late. There is one for each number.
ROWS_AT_ONCE = 16


class SQLiteStatements(StatementCache):
    """The statements that read and write rows, in SQLite's dialect.

    SQLite sorts NULL first and compares text by code point, as this package does, so the order needs no clauses.
    """

    def __init__(self) -> None:
        super().__init__()
        self._writers: dict[Table[Any], WriteRows] = {}
        self._staying: dict[Table[Any], str] = {}

    def equality(self, condition: str) -> str:
        """Return an equality that makes SQLite prefer an index that has more of the segment's equalities.

        Where a range of ids follows, SQLite 3.53 otherwise prefers an index that has only the last one, and reads the
        rows of all other values too. The probability is for the choice of the index alone.
        """
        return f"likelihood({condition}, 0.25)"

    def values(self, table: Table[Any], names: tuple[str, ...]) -> str:
        """Return the SELECT of these columns of one row."""
        key = (table, "values", names)
        text = self._texts.get(key)
        if text is None:
            columns = ", ".join(qualified(table, name) for name in names)
            text = self._texts[key] = f'SELECT {columns} FROM "{table.name}" WHERE "_id" = ?'
        return text

    def present(self, table: Table[Any], count: int) -> str:
        """Return the SELECT of those of some ids, at most `ROWS_AT_ONCE`, that have a row."""
        key = (table, "present", count)
        text = self._texts.get(key)
        if text is None:
            marks = ", ".join("?" * count)
            text = self._texts[key] = f'SELECT "_id" FROM "{table.name}" WHERE "_id" IN ({marks})'
        return text

    def take(self, table: Table[Any]) -> str:
        """Return the DELETE of one row that returns the row."""
        key = (table, "take")
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = f"{self.delete(table)} RETURNING {quoted_columns(table)}"
        return text

    def writer(self, table: Table[Any]) -> WriteRows:
        """Return what writes late rows to a table, the same one at each call."""
        found = self._writers.get(table)
        if found is None:
            found = self._writers[table] = partial(self._write_rows, table)
        return found

    def _write_rows(self, table: Table[Any], connection: Any, rows: Sequence[Row]) -> None:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            connection.execute(self._insert_many(table, len(part)), tuple(chain.from_iterable(part)))

    def _insert_many(self, table: Table[Any], count: int) -> str:
        key = (table, "insert", count)
        text = self._texts.get(key)
        if text is None:
            first = self.insert(table)
            values = first.partition(" VALUES ")[2]
            text = self._texts[key] = first + f", {values}" * (count - 1)
        return text

    def get_and_stay(self, table: Table[Any]) -> str:
        """Return a SELECT of a row by its id that stays active after the row was fetched.

        An active statement keeps its snapshot, without a transaction. SQLite ends a statement after its last row, so
        two rows of NULL follow the row.
        """
        text = self._staying.get(table)
        if text is None:
            nothing = f"UNION ALL SELECT {', '.join(['NULL'] * (len(table.columns) + 2))}"
            text = self._staying[table] = f"{self.get(table)} {nothing} {nothing}"
        return text
