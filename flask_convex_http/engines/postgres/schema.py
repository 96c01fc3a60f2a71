"""Tables and indexes in PostgreSQL: what is there, and the steps of a migration.

DDL is transactional, so a migration is one transaction. What a column means that SQL's type does not say is kept
beside the tables, as the shape of the last migration in `_settings`.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from flask_convex_http.engines.postgres.connections import Connections, PooledConnection, end, run
from flask_convex_http.engines.postgres.errors import DRIVER_ERRORS, is_conflict, translate
from flask_convex_http.engines.postgres.statements import order_of, quoted
from flask_convex_http.engines.postgres.values import loaded, stored
from flask_convex_http.errors import MigrationRefusedError, RegistrationError
from flask_convex_http.ids import new_id
from flask_convex_http.schema.columns import Kind
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, Column, Index, Schema, Table
from flask_convex_http.schema.migrations import (
    AddColumn,
    ChangeColumn,
    ColumnShape,
    CreateIndex,
    CreateTable,
    DropColumn,
    DropIndex,
    IndexShape,
    Migration,
    Shape,
    Step,
    TableShape,
    shape_of,
)

TYPES: dict[Kind, str] = {
    "text": 'text COLLATE "C"',
    "integer": "bigint",
    "real": "double precision",
    "boolean": "boolean",
    "blob": "bytea",
    "datetime": 'text COLLATE "C"',
    "json": "json",  # not jsonb, which changes numbers and takes no NUL
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
_TEXTS: tuple[Kind, ...] = ("text", "datetime", "json")
_LONGEST_NAME = 63
#: Every table of the server has columns of these names.
_TAKEN = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
#: A column that is being replaced; no field has such a name.
_OLD = "_old"
#: What is in the schema that the search path finds first.
_HERE = "relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
SHAPE_KEY = "shape"
_ORDER = ".order"
#: How often a migration is begun anew that met another one, and seconds in between.
_TRIES, _PAUSE = 20, 0.1


def check_names(schema: Schema) -> None:
    """See that PostgreSQL takes the names of a schema: it cuts them after 63 characters.

    Raises:
        RegistrationError: A name is longer, or taken.
    """
    for table in schema.tables.values():
        for name in (table.name, *table.fields):
            if len(name) > _LONGEST_NAME:
                raise RegistrationError(
                    f"{table.document.__name__}: the name {name!r} is longer than the {_LONGEST_NAME} characters that "
                    "PostgreSQL takes; shorten it"
                )
        for name in table.fields:
            if name in _TAKEN:
                raise RegistrationError(f"{table.document.__name__}.{name} is taken by PostgreSQL; choose another name")


def migrate(
    connections: Connections, schema: Schema, plan: Callable[[Migration], Sequence[Step]], *, dry_run: bool
) -> list[Step]:
    """Ask for the steps and take them in one transaction; of two that migrate at once one begins anew."""
    check_names(schema)
    for left in reversed(range(_TRIES)):
        connection = connections.begin(b"BEGIN; SET LOCAL statement_timeout = 0")
        try:
            return PostgresSchema(connection, schema).migrate(plan, dry_run=dry_run)
        except DRIVER_ERRORS as error:
            again = is_conflict(error) or getattr(error, "sqlstate", None) in ("42P07", "42701", "42P06", "XX000")
            if not again or not left:
                raise translate(error) from error
        finally:
            end(connection, b"ROLLBACK")  # after COMMIT there is nothing to undo
            connections.give(connection)
        time.sleep(random.uniform(0, _PAUSE))
    raise AssertionError


class PostgresSchema:
    """A database's tables.

    Args:
        connection: For a migration, in a transaction.
        schema: The tables to be there.
    """

    def __init__(self, connection: PooledConnection, schema: Schema) -> None:
        self._connection = connection
        self._schema = schema

    def migrate(self, plan: Callable[[Migration], Sequence[Step]], *, dry_run: bool) -> list[Step]:
        """Ask for the steps and take them; a dry run takes them too, so that what fails shows, and undoes them."""
        steps = list(plan(self))
        if steps and self._lock():  # what the decision was made on may have changed before
            steps = list(plan(self))
        for step in steps:
            self._take(step)
        if not dry_run and (steps or not self.stored_shape().items() >= shape_of(self._schema).items()):
            self._remember_shape()
        if not dry_run:
            run(self._connection, b"COMMIT")
        return steps

    def _lock(self) -> bool:
        """Keep others from writing to the tables; whether there are any."""
        names = sorted(name for name in self._schema.tables if name in self._there())
        if names:
            run(self._connection, f"LOCK TABLE {', '.join(map(quoted, names))} IN SHARE ROW EXCLUSIVE MODE".encode())
        return bool(names)

    # --- what is there -------------------------------------------------------------------------------------------

    def describe(self) -> Shape:
        """The tables that are there.

        Raises:
            MigrationRefusedError: A name of the schema is taken by something the package has not made.
        """
        remembered, there = self.stored_shape(), self._there()
        names = [name for name in sorted(self._schema.tables) if name in there]
        return {name: self._describe(name, there[name], remembered.get(name)) for name in names}

    def rows(self, table: str, column: str) -> Iterator[tuple[str, Any]]:
        """The id and one column of every row."""
        with self._connection.cursor(name="rows", binary=True) as cursor:
            cursor.execute(f'SELECT "_id", "{column}" FROM "{table}"')
            for row in cursor:
                yield row[0], loaded(row[1])

    def any_row(self, table: str) -> str | None:
        """The id of some row."""
        return self._one(f'SELECT "_id" FROM "{table}" LIMIT 1')

    def duplicate(self, table: str, columns: Sequence[str]) -> str | None:
        """The id of a row that another one equals in these columns; None equals nothing."""
        present = " AND ".join(f'"{name}" IS NOT NULL' for name in columns)
        names = ", ".join(map(quoted, columns))
        return self._one(
            f'SELECT min("_id") FROM "{table}" WHERE {present} GROUP BY {names} HAVING count(*) > 1 LIMIT 1'
        )

    def stored_shape(self) -> Shape:
        """The shape after the last migration."""
        if not {"key", "value"} <= self._columns_of("_settings").keys():
            return {}
        text = self._one("SELECT value FROM _settings WHERE key = %s", SHAPE_KEY)
        try:
            return msgspec.json.decode(text, type=Shape) if text else {}
        except (msgspec.MsgspecError, ValueError, TypeError):  # somebody has changed it: look at the tables themselves
            return {}

    def _there(self) -> dict[str, str]:
        """Tables, views and the like where the search path finds them first: name and kind."""
        kinds = "relkind IN ('r', 'p', 'v', 'm', 'f')"
        return dict(self._rows(f"SELECT relname, relkind::text FROM pg_class WHERE {_HERE} AND {kinds}"))

    def _columns_of(self, table: str) -> dict[str, tuple[str, bool]]:
        """The columns of a table: their types, and whether they may be empty."""
        rows = self._rows(
            "SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute "
            f"JOIN pg_class ON pg_class.oid = attrelid WHERE relname = %s AND {_HERE} "
            "AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            table,
        )
        return {name: (sql_type, nullable) for name, sql_type, nullable in rows}

    def _indexes_of(self, table: str) -> set[str]:
        rows = self._rows(
            "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND tablename = %s", table
        )
        return {name for (name,) in rows}

    def _describe(self, name: str, kind: str, remembered: TableShape | None) -> TableShape:
        there = self._columns_of(name)
        if kind not in ("r", "p") or not {ID_COLUMN, TIME_COLUMN} <= there.keys():
            raise MigrationRefusedError(
                f"The database has a table or view {name!r} that this package has not made: rename it, or give "
                f"class {self._schema.tables[name].document.__name__} a table of another name"
            )
        known = remembered.columns if remembered else {}
        wanted = {column.name: column.type.kind for column in self._schema.tables[name].columns.values()}
        columns = {
            column: _column_shape(sql_type, nullable, known.get(column), wanted.get(column))
            for column, (sql_type, nullable) in there.items()
            if column not in (ID_COLUMN, TIME_COLUMN)
        }
        made = self._indexes_of(name)
        wanted_indexes = {
            index.name: IndexShape(index.fields, index.unique) for index in self._schema.tables[name].indexes.values()
        }
        known_indexes = wanted_indexes | (remembered.indexes if remembered else {})
        indexes = {index: shape for index, shape in known_indexes.items() if index_name(name, index) in made}
        return TableShape(columns, indexes)

    # --- taking a step -------------------------------------------------------------------------------------------

    def _take(self, step: Step) -> None:
        takers: dict[type, Callable[[Any], None]] = {
            CreateTable: self._create_table,
            AddColumn: self._add_column,
            ChangeColumn: self._change_column,
            DropColumn: self._drop_column,
            CreateIndex: self._create_index,
            DropIndex: self._drop_index,
        }
        try:
            takers[type(step)](step)
        except (psycopg.IntegrityError, psycopg.errors.DependentObjectsStillExist) as error:
            if is_conflict(error) and isinstance(step, CreateTable):
                raise
            text = str(error).strip().partition("\n")[0]
            raise MigrationRefusedError(f"Could not {step}: {text}. Change that first") from error

    def _create_table(self, step: CreateTable) -> None:
        columns = [f'"{ID_COLUMN}" {TYPES["text"]} PRIMARY KEY', f'"{TIME_COLUMN}" {TYPES["real"]} NOT NULL']
        columns += [self._defined(step.table, column) for column in step.table.columns.values()]
        self._run(f'CREATE TABLE "{step.table.name}" ({", ".join(columns)})')

    def _defined(self, table: Table[Any], column: Column) -> str:
        """A column, with what SQL puts into it when nobody names it: code that is one schema behind does not."""
        default, nullable = self._default(table, column), "" if column.nullable else " NOT NULL"
        return f'"{column.name}" {TYPES[column.type.kind]}{nullable}' + (f" DEFAULT {default}" if default else "")

    def _default(self, table: Table[Any], column: Column) -> str:
        is_constant = column.field.default is not msgspec.NODEFAULT or column.field.default_factory in (list, dict, set)
        value = table.store(column.name, column.default) if is_constant else None
        if value is None:
            return ""
        return sql.Literal(stored([value])[0]).as_string(self._connection)

    def _add_column(self, step: AddColumn) -> None:
        table, column = f'"{step.table.name}"', step.column
        self._run(f'ALTER TABLE {table} ADD COLUMN "{column.name}" {TYPES[column.type.kind]}')
        if step.value is not None:
            self._run(f'UPDATE {table} SET "{column.name}" = %s', step.value)
        self._finish(step.table, column)

    def _finish(self, table: Table[Any], column: Column) -> None:
        """Give a column that is filled its default, and forbid it to be empty if that is so."""
        alter, default = f'ALTER TABLE "{table.name}" ALTER COLUMN "{column.name}"', self._default(table, column)
        self._run(f"{alter} SET DEFAULT {default}" if default else f"{alter} DROP DEFAULT")
        self._run(f"{alter} {'DROP' if column.nullable else 'SET'} NOT NULL")

    def _change_column(self, step: ChangeColumn) -> None:
        table, name = step.table.name, step.column.name
        if TYPES[step.old.kind] == TYPES[step.column.type.kind]:
            self._run(f'ALTER TABLE "{table}" ALTER COLUMN "{name}" DROP NOT NULL')
            self._fill(step)
        else:
            self._replace_column(step)
        self._finish(step.table, step.column)
        if step.old.nullable != step.column.nullable or TYPES[step.old.kind] != TYPES[step.column.type.kind]:
            self._renew_indexes(step.table, name)

    def _replace_column(self, step: ChangeColumn) -> None:
        """Make a column of another type beside the old one, since no cast says what the values become."""
        table, name, kind = f'"{step.table.name}"', step.column.name, step.column.type.kind
        self._run(f'ALTER TABLE {table} RENAME COLUMN "{name}" TO "{_OLD}"')
        self._run(f'ALTER TABLE {table} ADD COLUMN "{name}" {TYPES[kind]}')
        self._fill(step)
        if step.old.kind in _TEXTS and kind in _TEXTS:  # what says the same in both is not among the values
            self._run(
                f'UPDATE {table} SET "{name}" = "{_OLD}"::text::{TYPES[kind].partition(" ")[0]} '
                'WHERE NOT "_id" = ANY(%s)',
                list(step.values),
            )
        self._refuse_others_index(step, f"{_OLD}")
        self._run(f'ALTER TABLE {table} DROP COLUMN "{_OLD}"')

    def _fill(self, step: ChangeColumn) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(
                f'UPDATE "{step.table.name}" SET "{step.column.name}" = %s WHERE "_id" = %s',
                [stored((value, document_id)) for document_id, value in step.values.items()],
            )

    def _drop_column(self, step: DropColumn) -> None:
        self._refuse_others_index(step, step.name)
        self._run(f'ALTER TABLE "{step.table.name}" DROP COLUMN "{step.name}"')

    def _refuse_others_index(self, step: Step, column: str) -> None:
        """Refuse to drop a column that is in an index which this package has not made: it would go, too."""
        rows = self._rows(
            "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_attribute "
            "ON attrelid = indrelid AND attnum = ANY(indkey) WHERE indrelid = %s::regclass AND attname = %s",
            f'"{step.table.name}"',
            column,
        )
        known = self.stored_shape().get(step.table.name)
        names = {*step.table.indexes, *(known.indexes if known else ())}
        ours = {index_name(step.table.name, name + ending) for name in names for ending in ("", _ORDER)}
        others = [name for (name,) in rows if name not in ours]
        if others:
            raise MigrationRefusedError(f"Could not {step}: the index {others[0]} has it. Drop that first")

    def _create_index(self, step: CreateIndex) -> None:
        self._drop_index(DropIndex(step.table, step.index.name))  # it may have been made anew with its column before
        for statement in _index_statements(step.table, step.index):
            self._run(statement)

    def _drop_index(self, step: DropIndex) -> None:
        for name in (step.name, step.name + _ORDER):
            self._run(f'DROP INDEX IF EXISTS "{index_name(step.table.name, name)}"')

    def _renew_indexes(self, table: Table[Any], column: str) -> None:
        """Make those with a column anew that stay as they were: with the old column they are gone, and how a unique one
        is made depends on whether it can be empty. Those that change are steps of their own."""
        known = self.stored_shape().get(table.name)
        for index in table.indexes.values():
            is_kept = known is not None and known.indexes.get(index.name) == IndexShape(index.fields, index.unique)
            if column in index.fields and is_kept:
                self._create_index(CreateIndex(table, index))

    def _remember_shape(self) -> None:
        # Tables that are there but not in this schema stay known: they may come back.
        shape = msgspec.json.encode(self.stored_shape() | shape_of(self._schema)).decode()
        self._run(
            "INSERT INTO _settings (_id, _creation_time, key, value) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            new_id("_settings", 0),
            0.0,
            SHAPE_KEY,
            shape,
        )

    # --- statements ----------------------------------------------------------------------------------------------

    def _rows(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(text, stored(values)).fetchall()

    def _one(self, text: str, *values: Any) -> str | None:
        rows = self._rows(text, *values)
        return rows[0][0] if rows else None

    def _run(self, text: str, *values: Any) -> None:
        self._connection.execute(text, stored(values) if values else None)


def index_name(table: str, name: str) -> str:
    """An index's name in SQL, where names are shared by all tables and have 63 characters at most."""
    full = f"{table}.{name}"
    if len(full) <= _LONGEST_NAME:
        return full
    return f"{full[: _LONGEST_NAME - 17]}.{hashlib.blake2b(full.encode(), digest_size=8).hexdigest()}"


def _index_statements(table: Table[Any], index: Index) -> Iterator[str]:
    """The SQL of an index. A unique one is for its fields only; if they can be empty, another one puts the many rows
    in order that are."""
    order = ", ".join(map(order_of, index.columns))
    name = index_name(table.name, index.name)
    if not index.unique:
        yield f'CREATE INDEX "{name}" ON "{table.name}" ({order})'
        return
    yield f'CREATE UNIQUE INDEX "{name}" ON "{table.name}" ({", ".join(map(order_of, index.fields))})'
    if any(field in table.nullable for field in index.fields):
        yield f'CREATE INDEX "{index_name(table.name, index.name + _ORDER)}" ON "{table.name}" ({order})'


def _column_shape(sql_type: str, nullable: bool, remembered: ColumnShape | None, wanted: Kind | None) -> ColumnShape:
    """What a column holds: as remembered; if somebody has made or changed it by other means, what it could hold."""
    if remembered is not None and TYPES[remembered.kind].partition(" COLLATE")[0] == sql_type:
        return ColumnShape(remembered.kind, nullable, remembered.checks)
    if wanted is not None and TYPES[wanted].partition(" COLLATE")[0] == sql_type:
        return ColumnShape(wanted, nullable)
    return ColumnShape(_KINDS.get(sql_type, "text"), nullable)
