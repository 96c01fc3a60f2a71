"""The statements that read and write rows, as far as all engines share them.

Table and column names were validated when their class was defined, so they are quoted but not escaped. Values are
always parameters. Every column that is read carries the name of its table: SQLite takes a quoted name that no column
has for a text, so that a column that another release has dropped would read as its own name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from flask_convex_http.ids import first_id
from flask_convex_http.schema.index_ranges import Bound, Segment
from flask_convex_http.schema.tables import ID_COLUMN, TIME_COLUMN, Table


class StatementCache:
    """Builds the SQL of each statement once, and keeps it.

    Two calls share a text if they differ in their values only.

    In most tables the ids sort in the order of creation. Their statements order by the id where a segment orders by
    creation time and id, and bound the id where it bounds the creation time. Where ids are keys, all rows are sorted by
    creation time for that.

    Attributes:
        by_time: The names of the other tables.
    """

    #: The placeholder of a parameter.
    placeholder: ClassVar[str] = "?"
    #: SQL that is appended to each INSERT.
    insert_suffix: ClassVar[str] = ""

    def __init__(self) -> None:
        self._texts: dict[Any, str] = {}
        self._inserts: dict[Table[Any], str] = {}
        self.by_time: frozenset[str] = frozenset()

    def order_by_time(self, tables: frozenset[str]) -> None:
        """Set the names of the tables whose rows are ordered by creation time, since their ids are in another order."""
        if tables != self.by_time:
            self.by_time, self._texts = tables, {}

    def get(self, table: Table[Any]) -> str:
        """Return the SELECT of a row by its id."""
        text = self._texts.get(table)
        if text is None:
            text = self._texts[table] = (
                f'SELECT {selected_columns(table)} FROM "{table.name}" WHERE "_id" = {self.placeholder}'
            )
        return text

    def lookup(self, table: Table[Any], names: tuple[str, ...]) -> str:
        """Return the SELECT of the rows in which these columns equal the parameters. NULL equals nothing."""
        key = (table, "lookup", names)
        text = self._texts.get(key)
        if text is None:
            where = " AND ".join(f"{qualified(table, name)} = {self.placeholder}" for name in names)
            text = self._texts[key] = f'SELECT {selected_columns(table)} FROM "{table.name}" WHERE {where}'
        return text

    def scan(self, table: Table[Any], segment: Segment, descending: bool, limit: int | None) -> tuple[str, list[Any]]:
        """Return the SELECT of a segment's rows in the order of its index, and the parameters."""
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
        if self._bounds_ids(table, segment):
            values += [bound for bound in _id_bounds(table, segment) if bound is not None]
        return text, values if limit is None else [*values, limit]

    def count(self, table: Table[Any], segment: Segment, limit: int) -> tuple[str, list[Any]]:
        """Return the SELECT of the number of a segment's rows, up to a limit, and the parameters."""
        text, values = self.scan(table, segment, False, limit)
        rows = text.removeprefix(f"SELECT {selected_columns(table)} ")
        return f"SELECT count(*) FROM (SELECT 1 {rows}) AS counted", values

    def insert(self, table: Table[Any]) -> str:
        """Return the INSERT of a whole row."""
        text = self._inserts.get(table)
        if text is None:
            placeholders = ", ".join([self.placeholder] * (len(table.columns) + 2))
            text = f'INSERT INTO "{table.name}" ({quoted_columns(table)}) VALUES ({placeholders}){self.insert_suffix}'
            self._inserts[table] = text
        return text

    def update(self, table: Table[Any], names: tuple[str, ...]) -> str:
        """Return the UPDATE of these columns of one row. The id is the last parameter."""
        key = (table, "update", names)
        text = self._texts.get(key)
        if text is None:
            changes = ", ".join(f'"{name}" = {self.placeholder}' for name in names)
            text = self._texts[key] = f'UPDATE "{table.name}" SET {changes} WHERE "_id" = {self.placeholder}'
        return text

    def delete(self, table: Table[Any]) -> str:
        """Return the DELETE of one row."""
        return f'DELETE FROM "{table.name}" WHERE "_id" = {self.placeholder}'

    def _scan(self, table: Table[Any], segment: Segment, descending: bool, limit: int | None) -> str:
        mark = self.placeholder
        where = [
            self.equality(f"{qualified(table, name)} {'IS NULL' if value is None else f'= {mark}'}")
            for name, value in segment.equal
        ]
        column = qualified(table, segment.column) if segment.column is not None else ""
        if segment.lower is not None:
            where.append(f"{column} {'>=' if segment.lower.inclusive else '>'} {mark}")
        elif segment.not_none:
            where.append(f"{column} IS NOT NULL")
        if segment.upper is not None:
            where.append(f"{column} {'<=' if segment.upper.inclusive else '<'} {mark}")
        if self._bounds_ids(table, segment):
            signs = zip((">=", "<"), _id_bounds(table, segment), strict=True)
            where += [f"{qualified(table, ID_COLUMN)} {sign} {mark}" for sign, bound in signs if bound is not None]
        order = ", ".join(self._order_terms(table, segment, descending))
        return (
            f'SELECT {selected_columns(table)} FROM "{table.name}"'
            + (f" WHERE {' AND '.join(where)}" if where else "")
            + (f" ORDER BY {order}" if order else "")
            + ("" if limit is None else f" LIMIT {mark}")
        )

    def ordered(self, segment: Segment) -> Sequence[str]:
        """Return the columns in the ORDER BY of a segment. Those that equal one value are left out."""
        return segment.order[len(segment.equal) :]

    def equality(self, condition: str) -> str:
        """Return the condition that a column of a segment equals one value, which is given as SQL."""
        return condition

    def order_term(self, column: str, descending: bool) -> str:
        """Return the term of an ORDER BY for one column, which is given as SQL."""
        return f"{column} DESC" if descending else column

    def _order_terms(self, table: Table[Any], segment: Segment, descending: bool) -> list[str]:
        """Return the terms of the ORDER BY of a segment. The primary key is in the order that SQL has by default."""
        names, by_id = self.ordered(segment), table.name not in self.by_time
        if table.former_key is not None and names[:1] == (TIME_COLUMN,):
            by_id = False
        return [
            StatementCache.order_term(self, qualified(table, name), descending)
            if by_id and name == ID_COLUMN
            else self.order_term(qualified(table, name), descending)
            for name in names
            if not (by_id and name == TIME_COLUMN)
        ]

    def _bounds_ids(self, table: Table[Any], segment: Segment) -> bool:
        """Return whether the creation times of a segment are bounded, and with them the ids."""
        if table.name in self.by_time or table.former_key is not None:
            return False
        return segment.column == TIME_COLUMN or any(name == TIME_COLUMN for name, _ in segment.equal)


def _id_bounds(table: Table[Any], segment: Segment) -> tuple[str | None, str | None]:
    """Return where the ids of a segment's milliseconds begin and end, or None where the segment has no end."""
    lower, upper = segment.lower, segment.upper
    if segment.column != TIME_COLUMN:
        lower = upper = Bound(dict(segment.equal)[TIME_COLUMN], True)
    return (
        None if lower is None else first_id(table.name, _floor(lower.value)),
        None if upper is None else first_id(table.name, _floor(upper.value) + 1),
    )


def _floor(time: float) -> float:
    return math.floor(time) if math.isfinite(time) else time


def quoted_columns(table: Table[Any]) -> str:
    """Return the names of all columns of a table as SQL, in the order in which a `Row` has their values."""
    return ", ".join(f'"{name}"' for name in ("_id", "_creation_time", *table.columns))


def selected_columns(table: Table[Any]) -> str:
    """Return all columns of a table for a SELECT, in the order in which a `Row` has their values."""
    return ", ".join(qualified(table, name) for name in ("_id", "_creation_time", *table.columns))


def qualified(table: Table[Any], name: str) -> str:
    """Return a column of a table as SQL, with the name of the table."""
    return f'"{table.name}"."{name}"'
