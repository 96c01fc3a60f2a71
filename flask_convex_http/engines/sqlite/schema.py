"""Tables and indexes in SQLite: what is there, and the steps of a migration, through sqlite-utils.

SQLite knows TEXT and INTEGER, not datetimes, JSON or booleans; what a column means is kept beside the tables, as
the shape of the last migration in `_settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import msgspec
import sqlite_utils
from sqlite_utils.db import TransactionError, TransformError

from flask_convex_http.errors import MigrationRefusedError
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
    Shape,
    Step,
    TableShape,
    shape_of,
)
from flask_convex_http.sqlite.connections import sqlite3

TYPES: dict[Kind, str] = {
    "text": "TEXT",
    "integer": "INTEGER",
    "real": "REAL",
    "boolean": "INTEGER",
    "blob": "BLOB",
    "datetime": "TEXT",
    "json": "TEXT",
}
_PLAIN: dict[str, Kind] = {"TEXT": "text", "INTEGER": "integer", "REAL": "real", "BLOB": "blob"}
SHAPE_KEY = "shape"
#: How the index ends that orders the rows of a unique one.
_ORDER = ".order"


class SQLiteSchema:
    """A migration in progress; as a context manager it is one transaction."""

    def __init__(self, connection: Any, schema: Schema) -> None:
        self._connection = connection
        self._schema = schema
        self._database = sqlite_utils.Database(connection, execute_plugins=False)
        self._keep = False

    def __enter__(self) -> SQLiteSchema:
        self._connection.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.execute("COMMIT" if kind is None and self._keep else "ROLLBACK")

    def finish(self, steps: Sequence[Step], *, dry_run: bool) -> None:
        """Take the steps; a dry run takes them too, so that what fails shows, and undoes them."""
        for step in steps:
            self._take(step)
        self._remember_shape()
        self._keep = not dry_run

    # --- what is there -------------------------------------------------------------------------------------------

    def describe(self) -> Shape:
        """The tables that are there.

        Raises:
            MigrationRefusedError: A name of the schema is taken by something the package has not made.
        """
        remembered = self.stored_shape()
        there = {name.lower(): name for name in self._database.table_names() + self._database.view_names()}
        names = [name for name in sorted(self._schema.tables) if name.lower() in there]
        for name in names:
            self._refuse_others(name, there[name.lower()])
        return {name: self._describe(name, remembered.get(name)) for name in names}

    def _refuse_others(self, name: str, there: str) -> None:
        if name != there or not {ID_COLUMN, TIME_COLUMN} <= self._database[there].columns_dict.keys():
            raise MigrationRefusedError(
                f"The database has a table or view {there!r} that this package has not made: rename it, or give "
                f"class {self._schema.tables[name].document.__name__} a table of another name"
            )

    def rows(self, table: str, column: str) -> Iterator[tuple[str, Any]]:
        """The id and one column of every row."""
        yield from self._connection.execute(f'SELECT "_id", "{column}" FROM "{table}"')

    def any_row(self, table: str) -> str | None:
        """The id of some row."""
        row = self._connection.execute(f'SELECT "_id" FROM "{table}" LIMIT 1').fetchone()
        return row[0] if row else None

    def duplicate(self, table: str, columns: Sequence[str]) -> str | None:
        """The id of a row that another one equals in these columns; None equals nothing."""
        names = _names(columns)
        present = " AND ".join(f'"{name}" IS NOT NULL' for name in columns)
        row = self._connection.execute(
            f'SELECT min("_id") FROM "{table}" WHERE {present} GROUP BY {names} HAVING count(*) > 1 LIMIT 1'
        ).fetchone()
        return row[0] if row else None

    def stored_shape(self) -> Shape:
        """The shape after the last migration."""
        settings = self._database.table("_settings")
        if not settings.exists() or not {"key", "value"} <= settings.columns_dict.keys():
            return {}
        row = self._connection.execute("SELECT value FROM _settings WHERE key = ?", (SHAPE_KEY,)).fetchone()
        try:
            return msgspec.json.decode(row[0], type=Shape) if row else {}
        except (msgspec.MsgspecError, ValueError, TypeError):  # somebody has changed it: look at the tables themselves
            return {}

    def _describe(self, name: str, remembered: TableShape | None) -> TableShape:
        known = remembered.columns if remembered else {}
        wanted = {column.name: column.type.kind for column in self._schema.tables[name].columns.values()}
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
            if index.name.startswith(prefix) and not index.name.endswith(_ORDER)
        }
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
        except sqlite3.IntegrityError as error:
            raise MigrationRefusedError(f"Could not {step}: {error}. Change the rows first") from error
        except (TransformError, TransactionError) as error:  # somebody's own constraint is in the way
            raise MigrationRefusedError(f"Could not {step}: {error}") from error

    def _create_table(self, step: CreateTable) -> None:
        table = step.table
        self._database.table(table.name).create(
            {ID_COLUMN: "TEXT", TIME_COLUMN: "REAL"}
            | {name: TYPES[column.type.kind] for name, column in table.columns.items()},
            pk=ID_COLUMN,
            not_null={ID_COLUMN, TIME_COLUMN, *(name for name, column in table.columns.items() if not column.nullable)},
            defaults={
                name: default
                for name, column in table.columns.items()
                if (default := self._default(table, column)) is not None
            },
            strict=True,
        )

    def _add_column(self, step: AddColumn) -> None:
        # As a nullable column that is then filled: a default would have to be a constant of SQL.
        name = step.column.name
        table = self._database.table(step.table.name)
        table.add_column(name, TYPES[step.column.type.kind])
        if step.value is not None:
            self._connection.execute(f'UPDATE "{step.table.name}" SET "{name}" = ?', (step.value,))
        default = self._default(step.table, step.column)
        if not step.column.nullable or default is not None:
            self._transform(
                step.table,
                not_null=set() if step.column.nullable else {name},
                defaults=None if default is None else {name: default},
            )

    def _default(self, table: Table[Any], column: Column) -> Any:
        """What SQL puts into a column nobody names: other people's inserts, and code that is one schema behind."""
        is_constant = column.field.default is not msgspec.NODEFAULT or column.field.default_factory in (list, dict, set)
        value = table.store(column.name, column.default) if is_constant else None
        if isinstance(value, bytes) or (isinstance(value, str) and "\0" in value):
            return None  # sqlite-utils does not bring it back from the table's SQL
        # Quoted here: sqlite-utils takes some texts, such as "now()", for SQL.
        return self._database.quote(value) if isinstance(value, str) else value

    def _change_column(self, step: ChangeColumn) -> None:
        name, wanted = step.column.name, TYPES[step.column.type.kind]
        if step.values and TYPES[step.old.kind] != wanted:
            self._rebuild(step, "ANY", nullable=True)  # takes the old values and the new ones
        elif step.values and not step.old.nullable:
            self._rebuild(step, wanted, nullable=True)
        self._connection.executemany(
            f'UPDATE "{step.table.name}" SET "{name}" = ? WHERE "_id" = ?',
            [(value, document_id) for document_id, value in step.values.items()],
        )
        self._rebuild(step, wanted, nullable=step.column.nullable)
        if step.old.nullable != step.column.nullable:
            self._renew_unique_indexes(step)

    def _rebuild(self, step: ChangeColumn, sql_type: str, *, nullable: bool) -> None:
        table = self._database.table(step.table.name)
        there = next(column for column in table.columns if column.name == step.column.name)
        if (there.type, bool(there.notnull)) == (sql_type, not nullable):
            return
        # {name: False} for a column that is nullable would make sqlite-utils forbid NULL
        not_null = {step.column.name: not nullable} if bool(there.notnull) == nullable else None
        self._transform(step.table, types={step.column.name: sql_type}, not_null=not_null)

    def _drop_column(self, step: DropColumn) -> None:
        try:
            self._connection.execute(f'ALTER TABLE "{step.table.name}" DROP COLUMN "{step.name}"')
        except sqlite3.OperationalError as error:  # somebody's own index, view or trigger names it
            raise MigrationRefusedError(f"Could not {step}: {error}") from error

    def _transform(self, table: Table[Any], **changes: Any) -> None:
        """Make a table anew with other columns; people's own triggers on it would go with the old one."""
        rebuilt = self._database.table(table.name)
        triggers = rebuilt.triggers
        rebuilt.transform(**changes)
        for trigger in triggers:
            self._connection.execute(trigger.sql)

    def _create_index(self, step: CreateIndex) -> None:
        for statement in _index_statements(step.table, step.index):
            self._connection.execute(statement)

    def _drop_index(self, step: DropIndex) -> None:
        name = index_name(step.table, step.name)
        self._connection.execute(f'DROP INDEX "{name}"')
        self._connection.execute(f'DROP INDEX IF EXISTS "{name}{_ORDER}"')

    def _renew_unique_indexes(self, step: ChangeColumn) -> None:
        """How a unique index is made depends on whether its columns can be empty."""
        there = {index.name for index in self._database.table(step.table.name).indexes}
        for index in step.table.indexes.values():
            if index.unique and step.column.name in index.fields and index_name(step.table, index.name) in there:
                self._drop_index(DropIndex(step.table, index.name))
                self._create_index(CreateIndex(step.table, index))

    def _remember_shape(self) -> None:
        # Tables that are there but not in this schema stay known: they may come back.
        shape = msgspec.json.encode(self.stored_shape() | shape_of(self._schema)).decode()
        self._connection.execute(
            "INSERT INTO _settings (_id, _creation_time, key, value) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (new_id("_settings", 0), 0.0, SHAPE_KEY, shape),
        )


def index_name(table: Table[Any], name: str) -> str:
    """An index's name in SQL, where names are shared by all tables."""
    return f"{table.name}.{name}"


def _index_statements(table: Table[Any], index: Index) -> Iterator[str]:
    """The SQL of an index.

    A unique one whose columns can be empty becomes two: one keeps what is there unique, one puts the rows in order.
    With one for both, SQLite would take it for unique and sort the many rows that are empty.
    """
    name = index_name(table, index.name)
    can_be_empty = [field for field in index.fields if field in table.nullable]
    order = _names(index.columns)
    if not index.unique:
        yield f'CREATE INDEX "{name}" ON "{table.name}" ({order})'
        return
    present = " AND ".join(f'"{field}" IS NOT NULL' for field in can_be_empty)
    only = f" WHERE {present}" if present else ""
    yield f'CREATE UNIQUE INDEX "{name}" ON "{table.name}" ({_names(index.fields)}){only}'
    if can_be_empty:
        yield f'CREATE INDEX "{name}{_ORDER}" ON "{table.name}" ({order})'


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def _column_shape(sql_type: str, nullable: bool, remembered: ColumnShape | None, wanted: Kind | None) -> ColumnShape:
    """What a column holds: as remembered; if somebody has made or changed it by other means, what it could hold."""
    sql_type = sql_type.upper()
    if remembered is not None and TYPES[remembered.kind] == sql_type:
        return ColumnShape(remembered.kind, nullable, remembered.checks)
    if wanted is not None and TYPES[wanted] == sql_type:
        return ColumnShape(wanted, nullable)
    return ColumnShape(_PLAIN.get(sql_type, "text"), nullable)
