"""Inspection of tables and indexes in PostgreSQL, and the names and types that they have there.

The type of a column does not tell whether it stores datetimes or other text. Each migration therefore stores the shape
of the tables in `_settings`: their columns with kinds, and their indexes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from flask_convex_http.engines.postgres.connections import PooledConnection
from flask_convex_http.engines.postgres.statements import order_term, quoted
from flask_convex_http.engines.postgres.values import decoded, encoded
from flask_convex_http.engines.readiness import id_range, kinds_by_name
from flask_convex_http.errors import MigrationRefusedError, RegistrationError
from flask_convex_http.schema.columns import Kind
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, TIME_INDEX, Schema
from flask_convex_http.schema.migrations import ColumnShape, IndexShape, Shape, TableShape

TYPES: dict[Kind, str] = {
    "text": 'text COLLATE "C"',
    "integer": "bigint",
    "real": "double precision",
    "boolean": "boolean",
    "blob": "bytea",
    "datetime": 'text COLLATE "C"',
    "date": 'text COLLATE "C"',
    "uuid": 'text COLLATE "C"',
    "decimal": 'text COLLATE "C"',
    "json": "json",  # not jsonb, which changes numbers and rejects NUL
}
_KINDS: dict[str, Kind] = {
    "text": "text",
    "bigint": "integer",
    "double precision": "real",
    "boolean": "boolean",
    "bytea": "blob",
    "json": "json",
    "jsonb": "json",
}
_MAX_NAME = 63
#: System columns, which PostgreSQL adds to every table.
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
#: A condition that restricts a query of the system catalogs to the first schema of the search path.
_IN_SCHEMA = "relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
SHAPE_KEY = "shape"
#: The `relkind` of tables and of partitioned tables.
_TABLES = ("r", "p")

#: The SQL type of each column and whether it is nullable, by name.
Columns = dict[str, tuple[str, bool]]


class PostgresTables:
    """Reads the tables of a database for a migration.

    Args:
        connection: A connection in a transaction.
        schema: The application's schema. Other tables of the database are ignored.
    """

    def __init__(self, connection: PooledConnection, schema: Schema) -> None:
        self._connection = connection
        self._schema = schema

    def describe(self) -> Shape:
        """Return the shape of the tables of the schema that exist.

        Raises:
            MigrationRefusedError: A table or view has the name of one of the schema's tables, but another program has
                created it.
        """
        stored, kinds = self.stored_shape(), self._relations()
        names = [name for name in sorted(self._schema.tables) if name in kinds]
        old = {name for table in self._schema.tables.values() for name in table.old_names} | stored.keys()
        others = [name for name in sorted(old - self._schema.tables.keys()) if kinds.get(name) in _TABLES]
        columns, indexes = self._columns_of(*names, *others), self._indexes_of(*names, *others)
        names += [name for name in others if _is_ours(columns[name])]
        return {
            name: self._describe(name, kinds[name], columns[name], indexes[name], stored.get(name)) for name in names
        }

    def rows(self, table: str, column: str) -> Iterator[tuple[str, Any]]:
        """Yield the id and one column of every row."""
        with self._connection.cursor(name="rows", binary=True) as cursor:
            cursor.execute(f'SELECT "_id", "{column}" FROM "{table}"')
            for row in cursor:
                yield row[0], decoded(row[1])

    def any_row(self, table: str, id_prefix: str | None = None) -> str | None:
        """Return the id of any row, or of any whose id has the name of this table, or None."""
        where, values = id_range(id_prefix, "%s")
        return self._one(f'SELECT "_id" FROM "{table}"{where} LIMIT 1', *values)

    def creation_times(self, table: str) -> Iterator[tuple[str, float]]:
        """Yield the id and the creation time of every row, by creation time and then by id."""
        names = [quoted(name) for name in (TIME_COLUMN, ID_COLUMN)]
        with self._connection.cursor(name="times", binary=True) as cursor:
            cursor.execute(
                f'SELECT "{ID_COLUMN}", "{TIME_COLUMN}" FROM "{table}" ORDER BY {", ".join(map(order_term, names))}'
            )
            yield from cursor

    def count(self, table: str) -> int:
        """Return the number of rows in a table."""
        return int(self._rows(f'SELECT count(*) FROM "{table}"')[0][0])

    def duplicate(self, table: str, columns: Sequence[str]) -> str | None:
        """Return the id of a row that has the same values as another row in these columns, or None.

        NULL equals nothing.
        """
        present = " AND ".join(f'"{name}" IS NOT NULL' for name in columns)
        names = ", ".join(map(quoted, columns))
        return self._one(
            f'SELECT min("_id") FROM "{table}" WHERE {present} GROUP BY {names} HAVING count(*) > 1 LIMIT 1'
        )

    def stored_shape(self) -> Shape:
        """Return the shape that the last migration stored, which is empty if there is none or it is unreadable."""
        if not {"key", "value"} <= self._columns_of("_settings")["_settings"].keys():
            return {}
        text = self._one("SELECT value FROM _settings WHERE key = %s", SHAPE_KEY)
        try:
            return msgspec.json.decode(text, type=Shape) if text else {}
        except (msgspec.MsgspecError, ValueError, TypeError):  # edited by hand: rely on the tables alone
            return {}

    def _relations(self) -> dict[str, str]:
        """Return the `relkind` of each table and view, by name."""
        kinds = "relkind IN ('r', 'p', 'v', 'm', 'f')"
        return dict(self._rows(f"SELECT relname, relkind::text FROM pg_class WHERE {_IN_SCHEMA} AND {kinds}"))

    def _columns_of(self, *tables: str) -> dict[str, Columns]:
        """Return the columns of tables, in one query for all: one for each takes most of the time of a migration."""
        rows = self._rows(
            "SELECT relname, attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute "
            f"JOIN pg_class ON pg_class.oid = attrelid WHERE relname = ANY(%s::name[]) AND {_IN_SCHEMA} "
            "AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            list(tables),
        )
        found: dict[str, Columns] = {table: {} for table in tables}
        for table, name, sql_type, nullable in rows:
            found[table][name] = (sql_type, nullable)
        return found

    def _indexes_of(self, *tables: str) -> dict[str, set[str]]:
        """Return the names of the indexes of tables."""
        rows = self._rows(
            "SELECT pg_class.relname, other.relname FROM pg_class JOIN pg_index ON indrelid = pg_class.oid JOIN "
            "pg_class AS other ON other.oid = indexrelid "
            f"WHERE pg_class.relname = ANY(%s::name[]) AND pg_class.{_IN_SCHEMA}",
            list(tables),
        )
        found: dict[str, set[str]] = {table: set() for table in tables}
        for table, name in rows:
            found[table].add(name)
        return found

    def _describe(
        self, name: str, kind: str, found: Columns, existing: set[str], stored: TableShape | None
    ) -> TableShape:
        if kind not in _TABLES or not _is_ours(found):
            raise MigrationRefusedError(
                f"The database has a table or view {name!r} that this package has not made: rename it, or give "
                f"class {self._schema.tables[name].document.__name__} a table of another name"
            )
        known = stored.columns if stored else {}
        wanted = kinds_by_name(self._schema, name)
        columns = {
            column: _column_shape(sql_type, nullable, known.get(column), wanted.get(column))
            for column, (sql_type, nullable) in found.items()
            if column not in (ID_COLUMN, TIME_COLUMN)
        }
        table = self._schema.tables.get(name)
        declared = table.indexes.values() if table else ()
        wanted_indexes = {index.name: IndexShape(index.fields, index.unique) for index in declared}
        known_indexes = wanted_indexes | (stored.indexes if stored else {})
        indexes = {index: shape for index, shape in known_indexes.items() if index_name(name, index) in existing}
        by_time = TIME_INDEX in indexes if stored is None else stored.by_time
        return TableShape(columns, indexes, stored.old_names if stored else (), by_time)

    def _rows(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(text, encoded(values)).fetchall()

    def _one(self, text: str, *values: Any) -> str | None:
        rows = self._rows(text, *values)
        return rows[0][0] if rows else None

    def _run(self, text: str, *values: Any) -> None:
        self._connection.execute(text, encoded(values) if values else None)


def _is_ours(columns: Columns) -> bool:
    """Return whether a table has the columns that each table of this package has."""
    return {ID_COLUMN, TIME_COLUMN} <= columns.keys()


def check_names(schema: Schema) -> None:
    """Check that PostgreSQL accepts the names of a schema's tables and fields.

    Raises:
        RegistrationError: A name has more than 63 characters, which PostgreSQL would truncate, or is the name of a
            system column.
    """
    for table in schema.tables.values():
        long = next((name for name in (table.name, *table.fields) if len(name) > _MAX_NAME), None)
        if long is not None:
            raise RegistrationError(
                f"{table.document.__name__}: the name {long!r} is longer than the {_MAX_NAME} characters that "
                "PostgreSQL takes; shorten it"
            )
        taken = next((name for name in table.fields if name in _SYSTEM_COLUMNS), None)
        if taken is not None:
            raise RegistrationError(f"{table.document.__name__}.{taken} is taken by PostgreSQL; choose another name")


def index_name(table: str, name: str) -> str:
    """Return the name of an index in SQL.

    It includes the table, since the indexes of all tables share one namespace. A name of more than 63 characters is
    shortened and ends in its digest.
    """
    full = f"{table}.{name}"
    if len(full) <= _MAX_NAME:
        return full
    return f"{full[: _MAX_NAME - 17]}.{hashlib.blake2b(full.encode(), digest_size=8).hexdigest()}"


def _column_shape(sql_type: str, nullable: bool, stored: ColumnShape | None, wanted: Kind | None) -> ColumnShape:
    """Return the shape of a column.

    Args:
        sql_type: The type that the column has.
        nullable: Whether it is nullable.
        stored: The shape that the last migration stored. It is ignored if the type has changed since.
        wanted: The kind in the schema, which is assumed if its type is that of the column.
    """
    if stored is not None and TYPES[stored.kind].partition(" COLLATE")[0] == sql_type:
        return ColumnShape(stored.kind, nullable, stored.checks)
    if wanted is not None and TYPES[wanted].partition(" COLLATE")[0] == sql_type:
        return ColumnShape(wanted, nullable)
    return ColumnShape(_KINDS.get(sql_type, "text"), nullable)
