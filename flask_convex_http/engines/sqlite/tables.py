"""Inspection of tables and indexes in SQLite, and the names and types that they have there, through sqlite-utils.

SQLite knows TEXT and INTEGER, but no datetimes, JSON or booleans. So each migration stores the shape of the tables, in
`_settings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import sqlite_utils

from flask_convex_http.engines.readiness import id_range, kinds_by_name
from flask_convex_http.errors import MigrationRefusedError
from flask_convex_http.schema.columns import Kind
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, TIME_INDEX, Schema, Table
from flask_convex_http.schema.migrations import ColumnShape, IndexShape, Shape, TableShape

TYPES: dict[Kind, str] = {
    "text": "TEXT",
    "integer": "INTEGER",
    "real": "REAL",
    "boolean": "INTEGER",
    "blob": "BLOB",
    "datetime": "TEXT",
    "date": "TEXT",
    "uuid": "TEXT",
    "decimal": "TEXT",
    "json": "TEXT",
}
_PLAIN: dict[str, Kind] = {"TEXT": "text", "INTEGER": "integer", "REAL": "real", "BLOB": "blob"}
SHAPE_KEY = "shape"
#: Suffix of the index that orders the rows of a unique index whose columns may be NULL.
ORDER = ".order"


class SQLiteTables:
    """Reads the tables of a database, for a migration.

    Args:
        connection: A connection.
        schema: The tables that must exist.
    """

    def __init__(self, connection: Any, schema: Schema) -> None:
        self._connection = connection
        self._schema = schema
        self._database = sqlite_utils.Database(connection, execute_plugins=False)

    def describe(self) -> Shape:
        """Return the shape of the existing tables.

        Raises:
            MigrationRefusedError: A table or view that this package has not made has a name of the schema.
        """
        stored = self.stored_shape()
        existing = {name.lower(): name for name in self._database.table_names() + self._database.view_names()}
        names = [
            name
            for name, table in sorted(self._schema.tables.items())
            if existing.get(name.lower()) not in (None, *table.old_names)
        ]
        for name in names:
            self._check_ours(name, existing[name.lower()])
        old = {name for table in self._schema.tables.values() for name in table.old_names} | stored.keys()
        names += [name for name in sorted(old - self._schema.tables.keys()) if self._is_ours(name, existing)]
        return {name: self._describe(name, stored.get(name)) for name in names}

    def _check_ours(self, name: str, existing: str) -> None:
        if name != existing or not {ID_COLUMN, TIME_COLUMN} <= self._database[existing].columns_dict.keys():
            raise MigrationRefusedError(
                f"The database has a table or view {existing!r} that this package has not made: rename it, or give "
                f"class {self._schema.tables[name].document.__name__} a table of another name"
            )

    def _is_ours(self, name: str, existing: Mapping[str, str]) -> bool:
        if existing.get(name.lower()) != name:
            return False
        return {ID_COLUMN, TIME_COLUMN} <= self._database[name].columns_dict.keys()

    def rows(self, table: str, column: str) -> Iterator[tuple[str, Any]]:
        """Yield the id and one column of every row."""
        yield from self._connection.execute(f'SELECT "_id", "{column}" FROM "{table}"')

    def any_row(self, table: str, id_prefix: str | None = None) -> str | None:
        """Return the id of any row, or of any whose id has the name of this table, or None."""
        where, values = id_range(id_prefix, "?")
        row = self._connection.execute(f'SELECT "_id" FROM "{table}"{where} LIMIT 1', values).fetchone()
        return row[0] if row else None

    def creation_times(self, table: str) -> Iterator[tuple[str, float]]:
        """Yield the id and the creation time of every row, by creation time and then by id."""
        names = f'"{TIME_COLUMN}", "{ID_COLUMN}"'
        yield from self._connection.execute(f'SELECT "{ID_COLUMN}", "{TIME_COLUMN}" FROM "{table}" ORDER BY {names}')

    def count(self, table: str) -> int:
        """Return the number of rows in a table."""
        return int(self._connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])

    def duplicate(self, table: str, columns: Sequence[str]) -> str | None:
        """Return the id of a row that equals another one in these columns, or None. NULL equals nothing."""
        names = quoted_names(columns)
        present = " AND ".join(f'"{name}" IS NOT NULL' for name in columns)
        row = self._connection.execute(
            f'SELECT min("_id") FROM "{table}" WHERE {present} GROUP BY {names} HAVING count(*) > 1 LIMIT 1'
        ).fetchone()
        return row[0] if row else None

    def stored_shape(self) -> Shape:
        """Return the shape that the last migration stored."""
        settings = self._database.table("_settings")
        if not settings.exists() or not {"key", "value"} <= settings.columns_dict.keys():
            return {}
        row = self._connection.execute("SELECT value FROM _settings WHERE key = ?", (SHAPE_KEY,)).fetchone()
        try:
            return msgspec.json.decode(row[0], type=Shape) if row else {}
        except (msgspec.MsgspecError, ValueError, TypeError):  # edited by hand: go by the tables alone
            return {}

    def _describe(self, name: str, stored: TableShape | None) -> TableShape:
        known = stored.columns if stored else {}
        wanted = kinds_by_name(self._schema, name)
        columns = {
            column.name: _column_shape(column.type, not column.notnull, known.get(column.name), wanted.get(column.name))
            for column in self._database.table(name).columns
            if column.name not in (ID_COLUMN, TIME_COLUMN)
        }
        prefix = f"{name}."
        indexes = {
            index.name.removeprefix(prefix): IndexShape(
                tuple(column for column in index.columns if column not in (ID_COLUMN, TIME_COLUMN)), bool(index.unique)
            )
            for index in self._database.table(name).indexes
            if index.name.startswith(prefix) and not index.name.endswith(ORDER)
        }
        by_time = TIME_INDEX in indexes if stored is None else stored.by_time
        return TableShape(columns, indexes, stored.old_names if stored else (), by_time)


def index_name(table: Table[Any], name: str) -> str:
    """Return an index's name in SQL, where all tables share one namespace."""
    return f"{table.name}.{name}"


def quoted_names(columns: Sequence[str]) -> str:
    """Return names of columns, quoted, with commas between them."""
    return ", ".join(f'"{name}"' for name in columns)


def _column_shape(sql_type: str, nullable: bool, stored: ColumnShape | None, wanted: Kind | None) -> ColumnShape:
    """Return the stored shape of a column or, if it was made or changed by other means, the one that fits its type."""
    sql_type = sql_type.upper()
    if stored is not None and TYPES[stored.kind] == sql_type:
        return ColumnShape(stored.kind, nullable, stored.checks)
    if wanted is not None and TYPES[wanted] == sql_type:
        return ColumnShape(wanted, nullable)
    return ColumnShape(_PLAIN.get(sql_type, "text"), nullable)
