"""Migrations of PostgreSQL: all steps in one transaction, since DDL is transactional there."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from flask_convex_http.engines.postgres.commit_log import CREATE_SEQUENCE, CREATE_VIEW
from flask_convex_http.engines.postgres.connections import (
    PooledConnection,
    PostgresConnections,
    end_transaction,
    execute,
)
from flask_convex_http.engines.postgres.errors import DRIVER_ERRORS, is_conflict, translate
from flask_convex_http.engines.postgres.statements import order_term, quoted
from flask_convex_http.engines.postgres.tables import SHAPE_KEY, TYPES, PostgresTables, check_names, index_name
from flask_convex_http.engines.postgres.values import encoded
from flask_convex_http.errors import MigrationRefusedError
from flask_convex_http.ids import new_id
from flask_convex_http.schema.columns import TEXT_KINDS
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, TIME_INDEX, Column, Index, Schema, Table
from flask_convex_http.schema.history_tables import COMMITS
from flask_convex_http.schema.migrations import (
    ID_DIGITS,
    AddColumn,
    ChangeColumn,
    CreateIndex,
    CreateTable,
    DropColumn,
    DropIndex,
    IndexShape,
    KeepColumn,
    Migration,
    MigrationStep,
    OrderById,
    OrderByTime,
    RenameColumn,
    RenameTable,
    Shape,
    ShortenIds,
    TableShape,
    UseAsIds,
    shape_after,
    with_new_names,
)

#: The name of a column while it is being replaced. No field starts with an underscore.
_OLD = "_old"
#: Suffix of the second index that `_index_statements` builds beside a unique index.
_ORDER = ".order"
#: The number of attempts of a migration that conflicts with concurrent ones, and the maximum seconds between two.
_ATTEMPTS, _MAX_PAUSE = 20, 0.1
#: SQLSTATEs that say that a concurrent migration was faster: duplicate table, column or schema, and "tuple
#: concurrently updated".
_OVERTAKEN = ("42P07", "42701", "42P06", "XX000")


def migrate(
    connections: PostgresConnections,
    schema: Schema,
    plan: Callable[[Migration], Sequence[MigrationStep]],
    *,
    dry_run: bool,
) -> list[MigrationStep]:
    """Apply the steps that `plan` returns, in one transaction, and return them.

    A migration that conflicts with a concurrent one is retried.

    Args:
        connections: The connections of the engine.
        schema: The application's schema.
        plan: Returns the steps for the tables that exist. It may be called several times.
        dry_run: Whether to roll the steps back.
    """
    check_names(schema)
    for attempts_left in reversed(range(_ATTEMPTS)):
        connection = connections.begin(b"BEGIN; SET LOCAL statement_timeout = 0")
        try:
            return PostgresMigration(connection, schema).migrate(plan, dry_run=dry_run)
        except DRIVER_ERRORS as error:
            retryable = is_conflict(error) or getattr(error, "sqlstate", None) in _OVERTAKEN
            if not retryable or not attempts_left:
                raise translate(error) from error
        finally:
            end_transaction(connection, b"ROLLBACK")  # has no effect after COMMIT
            connections.give_back(connection)
        time.sleep(random.uniform(0, _MAX_PAUSE))
    raise AssertionError


class PostgresMigration(PostgresTables):
    """A migration in progress, in the transaction of its connection.

    Args:
        connection: The connection, in a transaction.
        schema: The application's schema.
    """

    def __init__(self, connection: PooledConnection, schema: Schema) -> None:
        super().__init__(connection, schema)
        #: The old name of each table that was renamed.
        self._renamed: dict[str, str] = {}
        self._created: set[str] = set()

    def migrate(self, plan: Callable[[Migration], Sequence[MigrationStep]], *, dry_run: bool) -> list[MigrationStep]:
        """Apply the steps that `plan` returns, and return them.

        A dry run applies them too, to find the steps that fail, but does not commit.
        """
        steps = list(plan(self))
        if steps and self._lock():  # the rows may have changed before the lock
            steps = list(plan(self))
        stored = self.stored_shape()
        shape = shape_after(self._schema, stored, self.describe(), steps)
        for step in steps:
            self._apply(step)
        if not dry_run and shape != stored:
            self._store_shape(shape)
        if not dry_run:
            execute(self._connection, b"COMMIT")
        return steps

    def _lock(self) -> bool:
        """Lock the existing tables against writes, and return whether there are any."""
        relations = self._relations()
        known = [name for table in self._schema.tables.values() for name in table.id_prefixes]
        names = sorted(name for name in known if relations.get(name) in ("r", "p"))
        if names:
            lock = f"LOCK TABLE {', '.join(map(quoted, names))} IN SHARE ROW EXCLUSIVE MODE"
            execute(self._connection, lock.encode())
        return bool(names)

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
        except (psycopg.IntegrityError, psycopg.errors.DependentObjectsStillExist) as error:
            if is_conflict(error) and isinstance(step, CreateTable):
                raise
            text = str(error).strip().partition("\n")[0]
            raise MigrationRefusedError(f"Could not {step}: {text}. Change that first") from error

    def _create_table(self, step: CreateTable) -> None:
        columns = [f'"{ID_COLUMN}" {TYPES["text"]} PRIMARY KEY', f'"{TIME_COLUMN}" {TYPES["real"]} NOT NULL']
        columns += [self._definition(step.table, column) for column in step.table.columns.values()]
        self._run(f'CREATE TABLE "{step.table.name}" ({", ".join(columns)})')
        self._created.add(step.table.name)
        if step.table.name == COMMITS:
            for statement in (*CREATE_SEQUENCE, CREATE_VIEW):
                self._run(statement)

    def _rename_table(self, step: RenameTable) -> None:
        name = step.table.name
        if step.replaces:
            self._run(f'DROP TABLE "{name}"')
        self._run(f'ALTER TABLE "{step.old}" RENAME TO "{name}"')
        self._renamed[name] = step.old
        stored = self._stored(step.table)
        for index in {*step.table.indexes, *(stored.indexes if stored else ())}:
            for old in (index, index + _ORDER):
                self._run(f'ALTER INDEX IF EXISTS "{index_name(step.old, old)}" RENAME TO "{index_name(name, old)}"')

    def _rename_column(self, step: RenameColumn) -> None:
        self._run(f'ALTER TABLE "{step.table.name}" RENAME COLUMN "{step.old}" TO "{step.column.name}"')

    def _stored(self, table: Table[Any]) -> TableShape | None:
        """Return the shape that the last migration stored of a table, with the names that its columns have now."""
        found = self.stored_shape().get(self._renamed.get(table.name, table.name))
        return None if found is None else with_new_names(table, found)[0]

    def _definition(self, table: Table[Any], column: Column) -> str:
        """Return the SQL of a column.

        Its default serves inserts by programs that do not know the column, such as the previous release of the app.
        """
        default, nullable = self._default(table, column), "" if column.nullable else " NOT NULL"
        return f'"{column.name}" {TYPES[column.type.kind]}{nullable}' + (f" DEFAULT {default}" if default else "")

    def _default(self, table: Table[Any], column: Column) -> str:
        is_constant = column.field.default is not msgspec.NODEFAULT or column.field.default_factory in (list, dict, set)
        value = table.store(column.name, column.default) if is_constant else None
        if value is None:
            return ""
        return sql.Literal(encoded([value])[0]).as_string(self._connection)

    def _add_column(self, step: AddColumn) -> None:
        table, column = f'"{step.table.name}"', step.column
        self._run(f'ALTER TABLE {table} ADD COLUMN "{column.name}" {TYPES[column.type.kind]}')
        if step.value is not None:
            self._run(f'UPDATE {table} SET "{column.name}" = %s', step.value)
        self._finish(step.table, column)

    def _finish(self, table: Table[Any], column: Column) -> None:
        """Set the default and the nullability of a column, after its rows have their values."""
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
            self._rebuild_indexes_on(step)

    def _replace_column(self, step: ChangeColumn) -> None:
        """Replace a column by one of another type.

        The values come from the migration's plan, since no cast of PostgreSQL converts them in the same way.
        """
        table, name, kind = f'"{step.table.name}"', step.column.name, step.column.type.kind
        self._run(f'ALTER TABLE {table} RENAME COLUMN "{name}" TO "{_OLD}"')
        self._run(f'ALTER TABLE {table} ADD COLUMN "{name}" {TYPES[kind]}')
        self._fill(step)
        if step.old.kind in TEXT_KINDS and kind in TEXT_KINDS:  # `values` has only those whose text differs
            self._run(
                f'UPDATE {table} SET "{name}" = "{_OLD}"::text::{TYPES[kind].partition(" ")[0]} '
                'WHERE NOT "_id" = ANY(%s)',
                list(step.values),
            )
        self._keep_foreign_indexes(step, f"{_OLD}")
        self._run(f'ALTER TABLE {table} DROP COLUMN "{_OLD}"')

    def _fill(self, step: ChangeColumn) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(
                f'UPDATE "{step.table.name}" SET "{step.column.name}" = %s WHERE "_id" = %s',
                [encoded((value, document_id)) for document_id, value in step.values.items()],
            )

    def _drop_column(self, step: DropColumn) -> None:
        self._keep_foreign_indexes(step, step.name)
        self._run(f'ALTER TABLE "{step.table.name}" DROP COLUMN "{step.name}"')

    def _use_as_ids(self, step: UseAsIds) -> None:
        name = step.table.name
        self._run(f'UPDATE "{name}" SET "_id" = left("{step.column}", {ID_DIGITS})')
        self._run(f'ALTER TABLE "{name}" DROP COLUMN "{step.column}"')

    def _shorten_ids(self, step: ShortenIds) -> None:
        prefix = f"{step.table.name}_"
        self._run(
            f'UPDATE "{step.table.name}" SET "_id" = substr("_id", {len(prefix) + 1}, {ID_DIGITS}) '
            'WHERE starts_with("_id", %s)',
            prefix,
        )

    def _keep_column(self, step: KeepColumn) -> None:
        self._run(f'ALTER TABLE "{step.table.name}" ALTER COLUMN "{step.name}" DROP NOT NULL')

    def _keep_foreign_indexes(self, step: MigrationStep, column: str) -> None:
        """Refuse a step that drops a column if another program has created an index on it.

        PostgreSQL would drop that index with the column.
        """
        rows = self._rows(
            "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_attribute "
            "ON attrelid = indrelid AND attnum = ANY(indkey) WHERE indrelid = %s::regclass AND attname = %s",
            f'"{step.table.name}"',
            column,
        )
        known = self._stored(step.table)
        names = {*step.table.indexes, *(known.indexes if known else ())}
        ours = {index_name(step.table.name, name + ending) for name in names for ending in ("", _ORDER)}
        others = [name for (name,) in rows if name not in ours]
        if others:
            raise MigrationRefusedError(f"Could not {step}: the index {others[0]} has it. Drop that first")

    def _create_index(self, step: CreateIndex) -> None:
        if step.table.name not in self._created:
            self._drop_index(DropIndex(step.table, step.index.name))  # it may exist already, rebuilt with its column
        for statement in _index_statements(step.table, step.index, by_time=step.by_time):
            self._run(statement)

    def _drop_index(self, step: DropIndex) -> None:
        for name in (step.name, step.name + _ORDER):
            self._run(f'DROP INDEX IF EXISTS "{index_name(step.table.name, name)}"')

    def _rebuild_indexes_on(self, step: ChangeColumn) -> None:
        """Rebuild the indexes on a column whose type or nullability has changed.

        PostgreSQL drops them with a replaced column, and whether a unique index needs a second one depends on the
        nullability. Indexes whose own declaration has changed are left out, since they are steps of their own.
        """
        table, known = step.table, self._stored(step.table)
        for index in table.indexes.values():
            is_unchanged = known is not None and known.indexes.get(index.name) == IndexShape(index.fields, index.unique)
            if step.column.name in index.fields and is_unchanged:
                self._create_index(CreateIndex(table, index, step.by_time))

    def _order_by_id(self, step: OrderById) -> None:
        self._rebuild_indexes(step.table, by_time=False)
        self._drop_index(DropIndex(step.table, TIME_INDEX))

    def _order_by_time(self, step: OrderByTime) -> None:
        self._rebuild_indexes(step.table, by_time=True)

    def _rebuild_indexes(self, table: Table[Any], *, by_time: bool) -> None:
        """Rebuild all indexes, after the last columns of those that order rows have changed."""
        for index in table.indexes.values():
            if by_time or index.name != TIME_INDEX:
                self._create_index(CreateIndex(table, index, by_time))

    def _store_shape(self, new: Shape) -> None:
        shape = msgspec.json.encode(new).decode()
        self._run(
            "INSERT INTO _settings (_id, _creation_time, key, value) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            new_id("_settings", 0),
            0.0,
            SHAPE_KEY,
            shape,
        )


def _index_statements(table: Table[Any], index: Index, *, by_time: bool) -> Iterator[str]:
    """Yield the statements that create an index.

    An index that is not unique ends in the id, or in the creation time and the id, so that it orders all rows. A unique
    index has only the declared fields. If one of them is nullable, several rows may have NULL in it, and a second index
    that is not unique orders these.
    """
    order = ", ".join(
        quoted(name) if not by_time and name == ID_COLUMN else order_term(quoted(name))
        for name in index.stored_columns(by_time=by_time)
    )
    name = index_name(table.name, index.name)
    if not index.unique:
        yield f'CREATE INDEX "{name}" ON "{table.name}" ({order})'
        return
    fields = ", ".join(order_term(quoted(field)) for field in index.fields)
    yield f'CREATE UNIQUE INDEX "{name}" ON "{table.name}" ({fields})'
    if any(field in table.nullable for field in index.fields):
        yield f'CREATE INDEX "{index_name(table.name, index.name + _ORDER)}" ON "{table.name}" ({order})'
