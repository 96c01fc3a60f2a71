"""The SQL of rows in SQLite: one text for each shape of a statement, written once.

Names of tables and columns were checked when their class was defined; values are always parameters.
"""

from __future__ import annotations

from typing import Any

from flask_convex_http.ranges import Segment
from flask_convex_http.tables import Table


class Statements:
    """SQL texts, written once for each shape of a query."""

    def __init__(self) -> None:
        self._texts: dict[Any, str] = {}

    def get(self, table: Table[Any]) -> str:
        text = self._texts.get(table)
        if text is None:
            text = self._texts[table] = f'SELECT {columns(table)} FROM "{table.name}" WHERE "_id" = ?'
        return text

    def get_and_stay(self, table: Table[Any]) -> str:
        """`get` with two rows of NULL behind, so that the statement is not over when the row has been fetched."""
        key = (table, "stay")
        text = self._texts.get(key)
        if text is None:
            nothing = f"UNION ALL SELECT {', '.join(['NULL'] * (len(table.columns) + 2))}"
            text = self._texts[key] = f"{self.get(table)} {nothing} {nothing}"
        return text

    def lookup(self, table: Table[Any], names: tuple[str, ...]) -> str:
        key = (table, "lookup", names)
        text = self._texts.get(key)
        if text is None:
            where = " AND ".join(f'"{name}" = ?' for name in names)
            text = self._texts[key] = f'SELECT {columns(table)} FROM "{table.name}" WHERE {where}'
        return text

    def scan(self, table: Table[Any], segment: Segment, descending: bool, limit: int | None) -> tuple[str, list[Any]]:
        lower, upper = segment.lower, segment.upper
        key = (
            table,
            segment.order,
            tuple([value is None for _, value in segment.equal]),
            segment.column,
            lower and lower.inclusive,
            upper and upper.inclusive,
            segment.not_none,
            descending,
            limit is None,
        )
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = _scan_sql(table, segment, descending, limit)
        values = [value for _, value in segment.equal if value is not None]
        values += [bound.value for bound in (lower, upper) if bound is not None]
        return text, values if limit is None else [*values, limit]

    def insert(self, table: Table[Any]) -> str:
        key = (table, "insert")
        text = self._texts.get(key)
        if text is None:
            marks = ", ".join("?" * (len(table.columns) + 2))
            text = self._texts[key] = f'INSERT INTO "{table.name}" ({columns(table)}) VALUES ({marks})'
        return text

    def update(self, table: Table[Any], names: tuple[str, ...]) -> str:
        key = (table, "update", names)
        text = self._texts.get(key)
        if text is None:
            changes = ", ".join(f'"{name}" = ?' for name in names)
            text = self._texts[key] = f'UPDATE "{table.name}" SET {changes} WHERE "_id" = ?'
        return text

    def delete(self, table: Table[Any]) -> str:
        return f'DELETE FROM "{table.name}" WHERE "_id" = ?'


def columns(table: Table[Any]) -> str:
    """All columns of a table, quoted, in the order of its rows."""
    return ", ".join(f'"{name}"' for name in ("_id", "_creation_time", *table.columns))


def _scan_sql(table: Table[Any], segment: Segment, descending: bool, limit: int | None) -> str:
    where = [f'"{name}" IS NULL' if value is None else f'"{name}" = ?' for name, value in segment.equal]
    if segment.lower is not None:
        where.append(f'"{segment.column}" {">=" if segment.lower.inclusive else ">"} ?')
    elif segment.not_none:
        where.append(f'"{segment.column}" IS NOT NULL')
    if segment.upper is not None:
        where.append(f'"{segment.column}" {"<=" if segment.upper.inclusive else "<"} ?')
    direction = " DESC" if descending else ""
    order = ", ".join(f'"{name}"{direction}' for name in segment.order[len(segment.equal) :])
    return (
        f'SELECT {columns(table)} FROM "{table.name}"'
        + (f" WHERE {' AND '.join(where)}" if where else "")
        + (f" ORDER BY {order}" if order else "")
        + ("" if limit is None else " LIMIT ?")
    )
