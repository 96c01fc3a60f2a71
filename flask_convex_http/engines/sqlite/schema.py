"""Migrations of SQLite: all steps in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import msgspec
from sqlite_utils.db import TransactionError, TransformError

from flask_convex_http.engines.sqlite.commit_log import CREATE_VIEW
from flask_convex_http.engines.sqlite.tables import ORDER, SHAPE_KEY, TYPES, SQLiteTables, index_name, quoted_names
from flask_convex_http.errors import MigrationRefusedError
from flask_convex_http.ids import new_id
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, TIME_INDEX, Column, Index, Schema, Table
from flask_convex_http.schema.history_tables import CLUSTERED, COMMITS
from flask_convex_http.schema.migrations import (
    ID_DIGITS,
    AddColumn,
    ChangeColumn,
    CreateIndex,
    CreateTable,
    DropColumn,
    DropIndex,
    KeepColumn,
    MigrationStep,
    OrderById,
    OrderByTime,
    RenameColumn,
    RenameTable,
    Shape,
    ShortenIds,
    UseAsIds,
    shape_after,
)
from flask_convex_http.sqlite.connections import sqlite3

#: The name of a table between an old and a new name that differ in case only. No table of a schema starts with this.
_BETWEEN = "_renamed"


class SQLiteMigration(SQLiteTables):
    """A migration in progress. As a context manager it is one transaction.

    Args:
        connection: A connection in no transaction.
        schema: The tables that must exist.
    """

    def __init__(self, connection: Any, schema: Schema) -> None:
        super().__init__(connection, schema)
        self._commits = False

    def __enter__(self) -> SQLiteMigration:
        self._connection.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.execute("COMMIT" if kind is None and self._commits else "ROLLBACK")

    def finish(self, steps: Sequence[MigrationStep], *, dry_run: bool) -> None:
        """Apply the steps. A dry run applies them too, so that a step that fails shows, and rolls back.

        Args:
            steps: The steps of the migration.
            dry_run: Whether to roll back at the end of the `with` statement.
        """
        shape = shape_after(self._schema, self.stored_shape(), self.describe(), steps)
        for step in steps:
            self._apply(step)
        self._store_shape(shape)
        self._commits = not dry_run

    def _apply(self, step: MigrationStep) -> None:
        methods: dict[type, Callable[[Any], None]] = {
            CreateTable: self._create_table,
            RenameTable: self._rename_table,
            RenameColumn: self._rename_column,
            AddColumn: self._add_column,
            ChangeColumn: self._change_column,
            DropColumn: self._drop_column,
            KeepColumn: self._keep_column,
            CreateIndex: self._create_index,
            DropIndex: self._drop_index,
            UseAsIds: self._use_as_ids,
            ShortenIds: self._shorten_ids,
            OrderById: self._order_by_id,
            OrderByTime: self._order_by_time,
        }
        try:
            methods[type(step)](step)
        except sqlite3.IntegrityError as error:
            raise MigrationRefusedError(f"Could not {step}: {error}. Change the rows first") from error
        except (TransformError, TransactionError) as error:  # a constraint that this package has not made
            raise MigrationRefusedError(f"Could not {step}: {error}") from error
        except sqlite3.OperationalError as error:
            if not isinstance(step, RenameTable | RenameColumn):
                raise
            raise MigrationRefusedError(f"Could not {step}: {error}. Drop the view or trigger first") from error

    def _create_table(self, step: CreateTable) -> None:
        table = step.table
        statement = self._database.create_table_sql(  # create() looks at all tables of the database before each one
            table.name,
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
        ).rstrip(";\n ")
        if table.name not in CLUSTERED:
            self._connection.execute(statement)
            return
        self._connection.execute(f"{statement}, WITHOUT ROWID")
        if table.name == COMMITS:
            self._connection.execute(CREATE_VIEW)

    def _rename_table(self, step: RenameTable) -> None:
        name = step.table.name
        if step.replaces:
            self._connection.execute(f'DROP TABLE "{name}"')
        old = step.old
        if old.lower() == name.lower():  # the same name to SQLite, which refuses it
            self._connection.execute(f'ALTER TABLE "{old}" RENAME TO "{_BETWEEN}"')
            old = _BETWEEN
        self._connection.execute(f'ALTER TABLE "{old}" RENAME TO "{name}"')
        prefix = f"{step.old}."
        found = self._connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL", (name,)
        ).fetchall()
        for index, sql in found:  # SQLite cannot rename an index
            if index.startswith(prefix):
                self._connection.execute(f'DROP INDEX "{index}"')
                self._connection.execute(sql.replace(f'"{index}"', f'"{name}.{index.removeprefix(prefix)}"', 1))

    def _rename_column(self, step: RenameColumn) -> None:
        self._connection.execute(f'ALTER TABLE "{step.table.name}" RENAME COLUMN "{step.old}" TO "{step.column.name}"')

    def _add_column(self, step: AddColumn) -> None:
        # A nullable column is added and then filled, because a default in SQL would have to be a constant.
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
        """Return the default of a column in SQL, for programs that do not know it, such as the previous release."""
        is_constant = column.field.default is not msgspec.NODEFAULT or column.field.default_factory in (list, dict, set)
        value = table.store(column.name, column.default) if is_constant else None
        if isinstance(value, bytes) or (isinstance(value, str) and "\0" in value):
            return None  # sqlite-utils cannot parse it in the SQL of the table
        # Quoted here, because sqlite-utils treats some texts, such as "now()", as SQL.
        return self._database.quote(value) if isinstance(value, str) else value

    def _change_column(self, step: ChangeColumn) -> None:
        name, wanted = step.column.name, TYPES[step.column.type.kind]
        if step.values and TYPES[step.old.kind] != wanted:
            self._rebuild(step, "ANY", nullable=True)  # accepts the old values and the new ones
        elif step.values and not step.old.nullable:
            self._rebuild(step, wanted, nullable=True)
        self._connection.executemany(
            f'UPDATE "{step.table.name}" SET "{name}" = ? WHERE "_id" = ?',
            [(value, document_id) for document_id, value in step.values.items()],
        )
        self._rebuild(step, wanted, nullable=step.column.nullable)
        if step.old.nullable != step.column.nullable:
            self._rebuild_unique_indexes(step)

    def _rebuild(self, step: ChangeColumn, sql_type: str, *, nullable: bool) -> None:
        table = self._database.table(step.table.name)
        existing = next(column for column in table.columns if column.name == step.column.name)
        if (existing.type, bool(existing.notnull)) == (sql_type, not nullable):
            return
        # {name: False} for a column that is nullable already makes sqlite-utils add NOT NULL
        not_null = {step.column.name: not nullable} if bool(existing.notnull) == nullable else None
        self._transform(step.table, types={step.column.name: sql_type}, not_null=not_null)

    def _drop_column(self, step: DropColumn) -> None:
        try:
            self._connection.execute(f'ALTER TABLE "{step.table.name}" DROP COLUMN "{step.name}"')
        except sqlite3.OperationalError as error:  # a foreign index, view or trigger uses it
            raise MigrationRefusedError(f"Could not {step}: {error}") from error

    def _use_as_ids(self, step: UseAsIds) -> None:
        name = step.table.name
        (create,), *others = self._connection.execute(
            "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql NOT NULL ORDER BY type = 'table' DESC", (name,)
        ).fetchall()
        # Earlier releases made the table a tree of its ids. New ids are in a random order, and would split its pages.
        create = create.replace(f'"{name}"', f'"{_BETWEEN}"', 1).removesuffix(", WITHOUT ROWID")
        columns = [column.name for column in self._database.table(name).columns if column.name != ID_COLUMN]
        names = quoted_names(columns)
        self._connection.execute(create)
        self._connection.execute(
            f'INSERT INTO "{_BETWEEN}" ("_id", {names}) '
            f'SELECT substr("{step.column}", 1, {ID_DIGITS}), {names} FROM "{name}" ORDER BY "{TIME_COLUMN}"'
        )
        self._connection.execute(f'DROP TABLE "{name}"')
        self._connection.execute(f'ALTER TABLE "{_BETWEEN}" RENAME TO "{name}"')
        for (sql,) in others:
            self._connection.execute(sql)
        self._connection.execute(f'ALTER TABLE "{name}" DROP COLUMN "{step.column}"')

    def _shorten_ids(self, step: ShortenIds) -> None:
        prefix = f"{step.table.name}_"
        self._connection.execute(
            f'UPDATE "{step.table.name}" SET "_id" = substr("_id", ?, {ID_DIGITS}) WHERE substr("_id", 1, ?) = ?',
            (len(prefix) + 1, len(prefix), prefix),
        )

    def _keep_column(self, step: KeepColumn) -> None:
        columns = self._database.table(step.table.name).columns
        if any(column.name == step.name and column.notnull for column in columns):
            self._transform(step.table, not_null={step.name: False})

    def _transform(self, table: Table[Any], **changes: Any) -> None:
        """Rebuild a table with other columns, and restore its triggers, which go with the old table."""
        rebuilt = self._database.table(table.name)
        triggers = rebuilt.triggers
        rebuilt.transform(**changes)
        for trigger in triggers:
            self._connection.execute(trigger.sql)

    def _create_index(self, step: CreateIndex) -> None:
        for statement in _index_statements(step.table, step.index, by_time=step.by_time):
            self._connection.execute(statement)

    def _drop_index(self, step: DropIndex) -> None:
        name = index_name(step.table, step.name)
        self._connection.execute(f'DROP INDEX IF EXISTS "{name}"')
        self._connection.execute(f'DROP INDEX IF EXISTS "{name}{ORDER}"')

    def _rebuild_unique_indexes(self, step: ChangeColumn) -> None:
        """Rebuild the unique indexes of a column. How they are built depends on whether it is nullable."""
        existing = {index.name for index in self._database.table(step.table.name).indexes}
        for index in step.table.indexes.values():
            if index.unique and step.column.name in index.fields and index_name(step.table, index.name) in existing:
                self._drop_index(DropIndex(step.table, index.name))
                self._create_index(CreateIndex(step.table, index, step.by_time))

    def _order_by_id(self, step: OrderById) -> None:
        self._rebuild_indexes(step.table, by_time=False)
        self._drop_index(DropIndex(step.table, TIME_INDEX))

    def _order_by_time(self, step: OrderByTime) -> None:
        self._rebuild_indexes(step.table, by_time=True)

    def _rebuild_indexes(self, table: Table[Any], *, by_time: bool) -> None:
        """Rebuild all indexes, after the last columns of those that order rows have changed."""
        for index in table.indexes.values():
            self._drop_index(DropIndex(table, index.name))
            if by_time or index.name != TIME_INDEX:
                self._create_index(CreateIndex(table, index, by_time))

    def _store_shape(self, new: Shape) -> None:
        shape = msgspec.json.encode(new).decode()
        self._connection.execute(
            "INSERT INTO _settings (_id, _creation_time, key, value) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (new_id("_settings", 0), 0.0, SHAPE_KEY, shape),
        )


def _index_statements(table: Table[Any], index: Index, *, by_time: bool) -> Iterator[str]:
    """Yield the SQL of an index.

    A unique index with nullable columns becomes two: a partial unique index without NULL, and an index for the order.
    With one index for both, SQLite would assume that rows with NULL are unique too, and sort them.
    """
    name = index_name(table, index.name)
    nullable = [field for field in index.fields if field in table.nullable]
    order = quoted_names(index.stored_columns(by_time=by_time))
    if not index.unique:
        yield f'CREATE INDEX "{name}" ON "{table.name}" ({order})'
        return
    present = " AND ".join(f'"{field}" IS NOT NULL' for field in nullable)
    only = f" WHERE {present}" if present else ""
    yield f'CREATE UNIQUE INDEX "{name}" ON "{table.name}" ({quoted_names(index.fields)}){only}'
    if nullable:
        yield f'CREATE INDEX "{name}{ORDER}" ON "{table.name}" ({order})'
