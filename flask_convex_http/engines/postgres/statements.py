"""The SQL of rows in PostgreSQL, in the part of it that servers which speak its protocol share.

The order is SQLite's: None first, text by code point (the columns are of the collation "C").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from flask_convex_http.engines.sql import Statements
from flask_convex_http.schema.documents import Index
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.tables import Table


class PostgresStatements(Statements):
    """SQL texts as PostgreSQL takes them."""

    mark: ClassVar[str] = "%s"
    #: An error would end the whole transaction, and not only the statement: who catches it could do nothing more.
    insert_ending: ClassVar[str] = " ON CONFLICT DO NOTHING"

    def update(self, table: Table[Any], names: tuple[str, ...]) -> str:
        """An update that does nothing if it would collide with another row."""
        key = (table, "guarded", names)
        text = self._texts.get(key)
        if text is None:
            guards = "".join(self._guard(table, index, names) for index in touched(table, names))
            text = self._texts[key] = super().update(table, names) + guards
        return text

    def claim(self, table: Table[Any], segment: Segment, limit: int) -> tuple[str, list[Any]]:
        text, values = self.scan(table, segment, False, limit)
        return f"{text} FOR UPDATE SKIP LOCKED", values

    def ordered(self, segment: Segment) -> Sequence[str]:
        """Those that are NULL are named, too: the planner does not know that to be one value, and would sort."""
        empty = [name for name, value in segment.equal if value is None]
        return (*empty, *super().ordered(segment))

    def sorted_by(self, name: str, descending: bool) -> str:
        return order_of(name, descending)

    def _guard(self, table: Table[Any], index: Index, names: tuple[str, ...]) -> str:
        row, same = f'"{table.name}"', f"{self.mark}"
        where = [f'other."{name}" = {same if name in names else f"{row}.{quoted(name)}"}' for name in index.fields]
        return f' AND NOT EXISTS (SELECT 1 FROM {row} AS other WHERE other."_id" <> {same} AND {" AND ".join(where)})'


def touched(table: Table[Any], names: Sequence[str]) -> Iterator[Index]:
    """The unique indexes that have one of these columns."""
    return (index for index in table.indexes.values() if index.unique and not set(index.fields).isdisjoint(names))


def guard_values(table: Table[Any], document_id: str, changes: dict[str, Any]) -> list[Any]:
    """The values of what an update has behind its own."""
    values: list[Any] = []
    for index in touched(table, tuple(changes)):
        values += [document_id, *(changes[name] for name in index.fields if name in changes)]
    return values


def order_of(name: str, descending: bool = False) -> str:
    """A column in an ORDER BY, and in an index that it is to be read by."""
    return f'"{name}" DESC NULLS LAST' if descending else f'"{name}" NULLS FIRST'


def quoted(name: str) -> str:
    """A name in SQL."""
    return f'"{name}"'
