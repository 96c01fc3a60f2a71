"""The SQL of rows: one text for each shape of a statement, written once.

Members share what is the same in all SQL. Names of tables and columns were checked when their class was defined;
values are always parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.tables import Table


class Statements:
    """SQL texts, written once for each shape of a query."""

    #: What stands for a value.
    mark: ClassVar[str] = "?"

    def __init__(self) -> None:
        self._texts: dict[Any, str] = {}

    def get(self, table: Table[Any]) -> str:
        text = self._texts.get(table)
        if text is None:
            text = self._texts[table] = f'SELECT {columns(table)} FROM "{table.name}" WHERE "_id" = {self.mark}'
        return text

    def lookup(self, table: Table[Any], names: tuple[str, ...]) -> str:
        key = (table, "lookup", names)
        text = self._texts.get(key)
        if text is None:
            where = " AND ".join(f'"{name}" = {self.mark}' for name in names)
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
            text = self._texts[key] = self._scan(table, segment, descending, limit)
        values = [value for _, value in segment.equal if value is not None]
        values += [bound.value for bound in (lower, upper) if bound is not None]
        return text, values if limit is None else [*values, limit]

    def insert(self, table: Table[Any]) -> str:
        key = (table, "insert")
        text = self._texts.get(key)
        if text is None:
            marks = ", ".join([self.mark] * (len(table.columns) + 2))
            text = f'INSERT INTO "{table.name}" ({columns(table)}) VALUES ({marks}){self.insert_ending}'
            self._texts[key] = text
        return text

    #: What comes behind the values of an INSERT.
    insert_ending: ClassVar[str] = ""

    def update(self, table: Table[Any], names: tuple[str, ...]) -> str:
        key = (table, "update", names)
        text = self._texts.get(key)
        if text is None:
            changes = ", ".join(f'"{name}" = {self.mark}' for name in names)
            text = self._texts[key] = f'UPDATE "{table.name}" SET {changes} WHERE "_id" = {self.mark}'
        return text

    def delete(self, table: Table[Any]) -> str:
        return f'DELETE FROM "{table.name}" WHERE "_id" = {self.mark}'

    def _scan(self, table: Table[Any], segment: Segment, descending: bool, limit: int | None) -> str:
        mark = self.mark
        where = [f'"{name}" IS NULL' if value is None else f'"{name}" = {mark}' for name, value in segment.equal]
        if segment.lower is not None:
            where.append(f'"{segment.column}" {">=" if segment.lower.inclusive else ">"} {mark}')
        elif segment.not_none:
            where.append(f'"{segment.column}" IS NOT NULL')
        if segment.upper is not None:
            where.append(f'"{segment.column}" {"<=" if segment.upper.inclusive else "<"} {mark}')
        order = ", ".join(self.sorted_by(name, descending) for name in self.ordered(segment))
        return (
            f'SELECT {columns(table)} FROM "{table.name}"'
            + (f" WHERE {' AND '.join(where)}" if where else "")
            + (f" ORDER BY {order}" if order else "")
            + ("" if limit is None else f" LIMIT {mark}")
        )

    def ordered(self, segment: Segment) -> Sequence[str]:
        """The columns that are to be named in the order of a segment: not those that have one value."""
        return segment.order[len(segment.equal) :]

    def sorted_by(self, name: str, descending: bool) -> str:
        """A column in an ORDER BY."""
        return f'"{name}" DESC' if descending else f'"{name}"'


def columns(table: Table[Any]) -> str:
    """All columns of a table, quoted, in the order of its rows."""
    return ", ".join(f'"{name}"' for name in ("_id", "_creation_time", *table.columns))
