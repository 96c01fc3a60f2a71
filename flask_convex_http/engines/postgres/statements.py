"""The statements that read and write rows in PostgreSQL.

The order is SQLite's: NULL first, text by code point. For the latter all columns have the collation "C".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from flask_convex_http.engines.sql import StatementCache
from flask_convex_http.schema.documents import Index
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.tables import Table


class PostgresStatements(StatementCache):
    """The statements that read and write rows, in PostgreSQL's dialect."""

    placeholder: ClassVar[str] = "%s"
    #: A violated unique index would be an error otherwise, after which the transaction accepts no more statements.
    insert_suffix: ClassVar[str] = " ON CONFLICT DO NOTHING"

    def update(self, table: Table[Any], names: tuple[str, ...]) -> str:
        """Return an UPDATE that changes no row if the change would violate a unique index."""
        key = (table, "guarded", names)
        text = self._texts.get(key)
        if text is None:
            guards = "".join(self._guard(table, index, names) for index in _unique_indexes(table, names))
            text = self._texts[key] = super().update(table, names) + guards
        return text

    def replace_values(self, table: Table[Any], names: tuple[str, ...]) -> str:
        """Return an UPDATE as `update` does, which returns the previous values of the columns."""
        key = (table, "replace", names)
        text = self._texts.get(key)
        if text is None:
            row, mark = f'"{table.name}"', self.placeholder
            changes = ", ".join(f'"{name}" = {mark}' for name in names)
            previous = ", ".join(f'previous."{name}"' for name in names)
            guards = "".join(self._guard(table, index, names) for index in _unique_indexes(table, names))
            text = self._texts[key] = (
                f'UPDATE {row} SET {changes} FROM {row} AS previous WHERE {row}."_id" = {mark} '
                f'AND previous."_id" = {row}."_id"{guards} RETURNING {previous}'
            )
        return text

    def claim(self, table: Table[Any], segment: Segment, limit: int) -> tuple[str, list[Any]]:
        """Return a SELECT that locks its rows and skips locked ones, and its parameters."""
        text, values = self.scan(table, segment, False, limit)
        return f"{text} FOR UPDATE SKIP LOCKED", values

    def ordered(self, segment: Segment) -> Sequence[str]:
        """Return the columns for the ORDER BY, including those that are NULL.

        The planner does not treat NULL as one value, and would sort if they were missing.
        """
        empty = [name for name, value in segment.equal if value is None]
        return (*empty, *super().ordered(segment))

    def order_term(self, column: str, descending: bool) -> str:
        """Return the term of an ORDER BY for one column, which is given as SQL."""
        return order_term(column, descending)

    def _guard(self, table: Table[Any], index: Index, names: tuple[str, ...]) -> str:
        row, value = f'"{table.name}"', self.placeholder
        where = [f'other."{name}" = {value if name in names else f"{row}.{quoted(name)}"}' for name in index.fields]
        return f' AND NOT EXISTS (SELECT 1 FROM {row} AS other WHERE other."_id" <> {value} AND {" AND ".join(where)})'


def guard_values(table: Table[Any], document_id: str, changes: dict[str, Any]) -> list[Any]:
    """Return the parameters of the conditions that `update` adds, which come after its own parameters."""
    values: list[Any] = []
    for index in _unique_indexes(table, tuple(changes)):
        values += [document_id, *(changes[name] for name in index.fields if name in changes)]
    return values


def order_term(column: str, descending: bool = False) -> str:
    """Return the term for one column, given as SQL, of an ORDER BY or of an index that serves that order."""
    return f"{column} DESC NULLS LAST" if descending else f"{column} NULLS FIRST"


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return f'"{name}"'


def _unique_indexes(table: Table[Any], names: Sequence[str]) -> Iterator[Index]:
    """Return the unique indexes that contain one of these columns."""
    return (index for index in table.indexes.values() if index.unique and not set(index.fields).isdisjoint(names))
