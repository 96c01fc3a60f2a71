"""Migrations: the steps from the tables of a database to the tables of the schema.

This module decides; an engine describes the database and applies the steps. A step that would lose data is refused
unless the operator allows it. A step that existing rows do not fit is always refused. Both messages name the table, the
field and a row.

Tables and columns are looked up under their old names too. A plan is made before its steps are applied, so rows are
read under the names that the database has (`_Source`).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from flask_convex_http.errors import MigrationRefusedError
from flask_convex_http.schema import decimals
from flask_convex_http.schema.columns import Kind, fingerprint
from flask_convex_http.schema.creation_order import Advance, ids_are_in_order
from flask_convex_http.schema.documents import TIME_INDEX, Column, Index, Schema, Table
from flask_convex_http.schema.migration_steps import ID_DIGITS as ID_DIGITS
from flask_convex_http.schema.migration_steps import AddColumn as AddColumn
from flask_convex_http.schema.migration_steps import ChangeColumn as ChangeColumn
from flask_convex_http.schema.migration_steps import ColumnShape as ColumnShape
from flask_convex_http.schema.migration_steps import CreateIndex as CreateIndex
from flask_convex_http.schema.migration_steps import CreateTable as CreateTable
from flask_convex_http.schema.migration_steps import DropColumn as DropColumn
from flask_convex_http.schema.migration_steps import DropIndex as DropIndex
from flask_convex_http.schema.migration_steps import IndexShape as IndexShape
from flask_convex_http.schema.migration_steps import KeepColumn as KeepColumn
from flask_convex_http.schema.migration_steps import Migration as Migration
from flask_convex_http.schema.migration_steps import MigrationStep as MigrationStep
from flask_convex_http.schema.migration_steps import OrderById as OrderById
from flask_convex_http.schema.migration_steps import OrderByTime as OrderByTime
from flask_convex_http.schema.migration_steps import RenameColumn as RenameColumn
from flask_convex_http.schema.migration_steps import RenameTable as RenameTable
from flask_convex_http.schema.migration_steps import Shape as Shape
from flask_convex_http.schema.migration_steps import ShortenIds as ShortenIds
from flask_convex_http.schema.migration_steps import TableShape as TableShape
from flask_convex_http.schema.migration_steps import UseAsIds as UseAsIds
from flask_convex_http.schema.migration_steps import described
from flask_convex_http.validation.validator import InvalidValueError


def shape_of(schema: Schema, by_time: Collection[str]) -> Shape:
    """Return the tables that a schema needs in a database.

    Args:
        schema: The tables.
        by_time: The names of those whose rows are ordered by creation time.
    """
    return {
        table.name: TableShape(
            {name: _column_shape(column) for name, column in table.columns.items()},
            _wanted_indexes(table, by_time=table.name in by_time),
            table.old_names,
            table.name in by_time,
        )
        for table in schema.tables.values()
    }


def has_long_ids(table: Table[Any], name: str, migration: Migration) -> bool:
    """Return whether ids that are keys have the name of their table before the digits, as in an earlier release.

    Args:
        table: The table.
        name: The name that it has in the database.
        migration: The database.
    """
    return table.former_key is not None and migration.any_row(name, table.name) is not None


def ordered_by_time(shape: Shape) -> frozenset[str]:
    """Return the names of the tables whose rows are ordered by creation time, since their ids are in another order."""
    return frozenset(name for name, table in shape.items() if table.by_time)


def shape_after(schema: Schema, stored: Shape, existing: Shape, steps: Sequence[MigrationStep]) -> Shape:
    """Return the shape to store after a migration.

    Tables that have left the schema keep their shape: a later release may declare them again.

    Args:
        schema: The tables of the application.
        stored: The shape that the migration before has stored.
        existing: The tables before this migration.
        steps: The steps of this migration.
    """
    names = {step.table.name: step.old for step in steps if isinstance(step, RenameTable)}
    before = ordered_by_time(existing)
    by_time = {name for name in schema.tables if names.get(name, name) in before}
    by_time -= {step.table.name for step in steps if isinstance(step, OrderById | CreateTable)}
    by_time |= {step.table.name for step in steps if isinstance(step, OrderByTime)}
    by_time |= {step.table.name for step in steps if isinstance(step, CreateTable) and step.by_time}
    kept = {name: shape for name, shape in stored.items() if name not in names.values()}
    return kept | shape_of(schema, by_time)


def plan(
    schema: Schema,
    migration: Migration,
    *,
    allow_destructive: bool = False,
    advance: Advance | None = None,
    by_time: Collection[str] = (),
) -> list[MigrationStep]:
    """Return the steps from the existing tables to the schema, in order. Tables outside the schema stay as they are.

    Args:
        schema: The tables of the application.
        migration: The database.
        allow_destructive: Whether steps may lose data.
        advance: Is called as rows are read to find the tables whose ids are in the order of creation by now. None to
            leave out that step, which reads whole tables.
        by_time: The names of the tables whose rows will be ordered by creation time if they are created.

    Raises:
        MigrationRefusedError: A step would lose data without permission, or existing rows do not fit.
    """
    existing = migration.describe()
    try:
        steps = [
            step for table in schema.tables.values() for step in _steps(table, schema, existing, migration, by_time)
        ]
        if advance is not None:
            steps += _shorter_indexes(schema, existing, steps, migration, advance)
        lost = [step for step in steps if step.destructive]
        if lost and not allow_destructive:
            names = {step.table.name: step.old for step in steps if isinstance(step, RenameTable)}
            table = lost[0].table.name
            raise MigrationRefusedError(_loss(lost[0], migration.any_row(names.get(table, table))))
    except MigrationRefusedError as error:
        hint = _hint_at_renamed(schema, existing, migration)
        raise MigrationRefusedError(f"{error}{hint}") from None
    return steps


def with_new_names(table: Table[Any], shape: TableShape) -> tuple[TableShape, dict[str, str]]:
    """Return the shape of a table after its columns are renamed, and the old name of each renamed column."""
    renamed: dict[str, str] = {}
    for name, column in table.columns.items():
        old = next((old for old in column.old_names if old in shape.columns), None)
        if name not in shape.columns and old is not None:
            renamed[name] = old
    new_of = {old: name for name, old in renamed.items()}
    columns = {new_of.get(name, name): column for name, column in shape.columns.items()}
    indexes = {
        name: IndexShape(tuple(new_of.get(field, field) for field in index.fields), index.unique)
        for name, index in shape.indexes.items()
    }
    return TableShape(columns, indexes, shape.old_names, shape.by_time), renamed


@dataclass(frozen=True, slots=True)
class _Source:
    """A table as it is in the database before the migration.

    Attributes:
        migration: The database.
        table: The table of the schema.
        name: The name that the table has in the database.
        renamed: The old name of each column that will be renamed.
    """

    migration: Migration
    table: Table[Any]
    name: str
    renamed: dict[str, str]

    def column(self, name: str) -> str:
        """Return the name that a column has in the database."""
        return self.renamed.get(name, name)

    def any_row(self) -> str | None:
        """Return the id of any row, or None."""
        return self.migration.any_row(self.name)


def _steps(
    table: Table[Any], schema: Schema, existing: Shape, migration: Migration, by_time: Collection[str]
) -> Iterator[MigrationStep]:
    _refuse_lost_ids(table, existing.get(table.name), migration)
    rename = _rename(table, schema, existing, migration)
    if rename is not None:
        yield rename
        yield from _change(table, rename.old, existing[rename.old], migration)
        if not existing[rename.old].by_time and migration.any_row(rename.old) is not None:
            yield OrderByTime(table)
    elif table.name in existing:
        yield from _change(table, table.name, existing[table.name], migration)
    else:
        _refuse_renamed_by_newer(table, schema, existing)
        create = CreateTable(table, by_time=table.has_early_ids or table.name in by_time)
        yield create
        yield from (
            CreateIndex(table, index, create.by_time)
            for index in table.indexes.values()
            if create.by_time or index.name != TIME_INDEX
        )


def _shorter_indexes(
    schema: Schema, existing: Shape, steps: Sequence[MigrationStep], migration: Migration, advance: Advance
) -> list[MigrationStep]:
    """Return a step for each table whose ids sort in the order of creation and that has an index of creation times."""
    names = {step.table.name: step.old for step in steps if isinstance(step, RenameTable)}
    found: list[MigrationStep] = []
    for table in schema.tables.values():
        name = names.get(table.name, table.name)
        candidate = name in existing and existing[name].by_time and not table.has_early_ids
        if candidate and ids_are_in_order(migration, name, table.name, advance):
            found.append(OrderById(table))
    return found


def _wanted_indexes(table: Table[Any], *, by_time: bool) -> dict[str, IndexShape]:
    indexes = (index for index in table.indexes.values() if by_time or index.name != TIME_INDEX)
    return {index.name: IndexShape(index.fields, index.unique) for index in indexes}


def _rename(table: Table[Any], schema: Schema, existing: Shape, migration: Migration) -> RenameTable | None:
    """Return the step that renames a table, or None if the database has it under no old name."""
    for old in table.old_names:
        if old not in existing or old in schema.tables:
            continue
        if table.name not in existing:
            return RenameTable(table, old)
        left = migration.any_row(old)
        if left is None:
            continue
        if migration.any_row(table.name) is None:
            return RenameTable(table, old, replaces=True)
        raise MigrationRefusedError(
            f"Both {old} and {table.name}, which is renamed_from it, have rows, such as {left} in {old}: move the rows "
            "of one table to the other with SQL, or delete them"
        )
    return None


def _refuse_lost_ids(table: Table[Any], shape: TableShape | None, migration: Migration) -> None:
    """Refuse a class that has lost an old name of its table with which ids of its rows begin."""
    for old in shape.old_names if shape else ():
        example = None if old in table.old_names else migration.any_row(table.name, old)
        if example is not None:
            raise MigrationRefusedError(
                f"class {table.document.__name__} must keep renamed_from={old!r}, because ids such as {example} begin "
                "with the old name of its table"
            )


def _refuse_renamed_by_newer(table: Table[Any], schema: Schema, existing: Shape) -> None:
    """Refuse to create a table that a newer release has renamed: this release would start without its rows."""
    for name, shape in existing.items():
        if table.name in shape.old_names and name not in schema.tables:
            raise MigrationRefusedError(
                f"A newer release has renamed the table {table.name} to {name}: run that release, or go back with "
                f'class {table.document.__name__}(Document, table="{table.name}", renamed_from="{name}")'
            )


def _change(table: Table[Any], name: str, shape: TableShape, migration: Migration) -> Iterator[MigrationStep]:
    shape, renamed = with_new_names(table, shape)
    source = _Source(migration, table, name, renamed)
    wanted = _wanted_indexes(table, by_time=shape.by_time)
    changed = {name for name, index in shape.indexes.items() if wanted.get(name) != index}
    gone = [name for name in shape.columns if name not in table.columns]
    yield from (RenameColumn(table, old, table.columns[new]) for new, old in renamed.items())
    yield from (DropIndex(table, name) for name in sorted(changed))
    if table.former_key in gone:
        gone.remove(table.former_key)
        yield UseAsIds(table, table.former_key)
    elif has_long_ids(table, name, migration):
        yield ShortenIds(table)
    for name, column in table.columns.items():
        if name not in shape.columns:
            yield _add_column(source, column, gone)
        elif shape.columns[name] != _column_shape(column):
            yield _change_column(source, column, shape.columns[name], by_time=shape.by_time)
    yield from (DropColumn(table, name) for name in gone)
    for index in table.indexes.values():
        if index.name in wanted and (index.name not in shape.indexes or index.name in changed):
            _refuse_duplicates(source, index, shape)
            yield CreateIndex(table, index, shape.by_time)


def _add_column(source: _Source, column: Column, gone: Sequence[str]) -> AddColumn:
    table = source.table
    default = column.default
    if default is not UNSET:
        return AddColumn(table, column, table.store(column.name, default))
    example = None if column.nullable else source.any_row()
    if example is not None:
        other = f"write renamed_from({gone[0]!r}) in its Annotated if it is {gone[0]}, " if gone else ""
        raise MigrationRefusedError(
            f"{table.name}.{column.name} is new and required, but there are rows without it, such as {example}: "
            f"{other}give the field a default in class {table.document.__name__}, or allow None"
        )
    return AddColumn(table, column, None)


def _change_column(source: _Source, column: Column, old: ColumnShape, *, by_time: bool) -> ChangeColumn:
    values = {}
    for document_id, stored in source.migration.rows(source.name, source.column(column.name)):
        try:
            fitting = None if stored is None and column.nullable else _converted(column, old.kind, stored)
        except (ValueError, msgspec.MsgspecError) as error:
            why = error.inside(f".{column.name}") if isinstance(error, InvalidValueError) else error
            raise MigrationRefusedError(
                f"{source.table.name}.{column.name} cannot become {described(column)}: the row {document_id} does not "
                f"fit ({why}). Change the rows first, or keep the type"
            ) from None
        if fitting != stored or (old.kind != column.type.kind and type(fitting) is not type(stored)):
            values[document_id] = fitting
    return ChangeColumn(source.table, column, old, values, by_time)


def _converted(column: Column, old: Kind, stored: Any) -> Any:
    """Return a stored value for a column of another type, if it keeps its meaning."""
    new = column.type.kind
    if old == "json" and new == "json" and stored is not None:
        return column.type.store(column.validator.decode(stored))
    value = _FROM.get(old, _same)(stored) if stored is not None else None
    if new == "datetime" and isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    elif value is not None and (new in _LIKE_JSON or (new == "json" and old in _LIKE_JSON)):
        value = column.validator.check_json(value)
    if new == "text" and old == "datetime":
        value = stored
    fitting = column.type.store(value)
    if isinstance(fitting, float) and fitting != value:
        raise InvalidValueError(f"{value} has more digits than a float - at `$`")
    return fitting


def _refuse_duplicates(source: _Source, index: Index, shape: TableShape) -> None:
    if not index.unique or any(name not in shape.columns for name in index.fields):
        return
    example = source.migration.duplicate(source.name, [source.column(name) for name in index.fields])
    if example is not None:
        raise MigrationRefusedError(
            f"{source.table.name}: the unique index {index.name} ({', '.join(index.fields)}) cannot be made, since "
            f"another row has the same values as {example}. Change or delete one of them first"
        )


def _loss(step: MigrationStep, example: str | None) -> str:
    rows = f", for example in the row {example}" if example else ""
    renamed = (
        f'If the field has a new name, write renamed_from("{step.name}") in its Annotated. '
        if isinstance(step, DropColumn)
        else ""
    )
    return f"Refused to {step}{rows}. {renamed}Run `flask convex migrate --allow-destructive` to lose it"


def _hint_at_renamed(schema: Schema, existing: Shape, migration: Migration) -> str:
    """Return a sentence on a table with rows that no class describes, or nothing."""
    for name in existing:
        if not is_described(schema, name) and (example := migration.any_row(name)) is not None:
            return (
                f". No class describes the rows of the table {name}, such as {example}: if its class has another table "
                f'now, write renamed_from="{name}" in the class statement'
            )
    return ""


def is_described(schema: Schema, name: str) -> bool:
    """Return whether a class describes a table of the database, by its name or an old one."""
    return name in schema.tables or any(name in table.old_names for table in schema.tables.values())


def _same(stored: Any) -> Any:
    return stored


#: Returns the Python value of a stored value, by its old kind.
_FROM: dict[Kind, Callable[[Any], Any]] = {
    "boolean": bool,
    "json": msgspec.json.decode,
    "datetime": datetime.datetime.fromisoformat,
    "decimal": lambda stored: str(decimals.from_text(stored)),
}
#: Kinds whose values JSON holds as text.
_LIKE_JSON: tuple[Kind, ...] = ("date", "uuid", "decimal")


def _column_shape(column: Column) -> ColumnShape:
    return ColumnShape(column.type.kind, column.nullable, fingerprint(column.validator))
