"""Migrations: the steps from the tables of a database to the tables of the schema.

This module decides; an engine describes the database and applies the steps. A step that would lose data is refused
unless the operator allows it. A step that existing rows do not fit is always refused. Both messages name the table, the
field and a row.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import msgspec
from msgspec import UNSET

from flask_convex_http.errors import MigrationRefusedError
from flask_convex_http.schema import decimals
from flask_convex_http.schema.columns import Kind, fingerprint
from flask_convex_http.schema.documents import Column, Index, Schema, Table
from flask_convex_http.validation.validator import InvalidValueError


class ColumnShape(msgspec.Struct, frozen=True):
    """A column of a database.

    Attributes:
        kind: The kind of stored value.
        nullable: Whether it can hold NULL.
        checks: The fingerprint of the annotation that its rows were last checked against.
    """

    kind: Kind
    nullable: bool
    checks: str = ""


class IndexShape(msgspec.Struct, frozen=True):
    """An index of a database, with its declared fields."""

    fields: tuple[str, ...]
    unique: bool


class TableShape(msgspec.Struct, frozen=True):
    """A table of a database."""

    columns: dict[str, ColumnShape]
    indexes: dict[str, IndexShape]


Shape = dict[str, TableShape]


class Migration(Protocol):
    """The view of a database that `plan` decides on."""

    def describe(self) -> Shape:
        """Return the existing tables."""

    def rows(self, table: str, column: str) -> Iterator[tuple[str, Any]]:
        """Yield the id and one column of every row."""

    def any_row(self, table: str) -> str | None:
        """Return the id of any row, or None if there is none."""

    def duplicate(self, table: str, columns: Sequence[str]) -> str | None:
        """Return the id of a row that equals another one in these columns, or None."""


@dataclass(frozen=True, slots=True)
class MigrationStep:
    """One change of a database. `str()` describes it in a line.

    Attributes:
        table: The table.
        destructive: Whether it loses data.
        creates_table: Whether it creates the table.
    """

    table: Table[Any]
    destructive: ClassVar[bool] = False
    creates_table: ClassVar[bool] = False

    @property
    def required(self) -> bool:
        """Whether the application cannot run before this step."""
        return True


@dataclass(frozen=True, slots=True)
class CreateTable(MigrationStep):
    """Creates a table."""

    creates_table: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"create table {self.table.name} ({', '.join(self.table.columns) or 'no fields'})"


@dataclass(frozen=True, slots=True)
class AddColumn(MigrationStep):
    """Adds a column.

    Attributes:
        column: The column.
        value: The stored value for existing rows.
    """

    column: Column
    value: Any

    def __str__(self) -> str:
        return f"add column {self.table.name}.{self.column.name} ({self.column.type.kind})"


@dataclass(frozen=True, slots=True)
class ChangeColumn(MigrationStep):
    """Changes the type of a column, or the values that it accepts.

    Attributes:
        column: The new column.
        old: The existing column.
        values: The new stored values by id, of the rows whose value changes.
    """

    column: Column
    old: ColumnShape
    values: dict[str, Any] = field(repr=False)

    @property
    def required(self) -> bool:
        """False if all rows fit and the column can store every new value, so that older code can still run."""
        can_store = self.old.kind == self.column.type.kind and self.old.nullable >= self.column.nullable
        return bool(self.values) or not can_store

    def __str__(self) -> str:
        name = f"{self.table.name}.{self.column.name}"
        if not self.values and (self.old.kind, self.old.nullable) == (self.column.type.kind, self.column.nullable):
            return f"change what {name} takes (its rows fit)"
        return f"change column {name} to {_described(self.column)}"


@dataclass(frozen=True, slots=True)
class DropColumn(MigrationStep):
    """Drops a column with its values."""

    name: str
    destructive: ClassVar[bool] = True

    @property
    def required(self) -> bool:
        """Always False."""
        return False

    def __str__(self) -> str:
        return f"drop column {self.table.name}.{self.name} and what it holds"


@dataclass(frozen=True, slots=True)
class CreateIndex(MigrationStep):
    """Creates an index."""

    index: Index

    def __str__(self) -> str:
        kind = "unique index" if self.index.unique else "index"
        return (
            f"create {kind} {self.index.name} on {self.table.name} ({', '.join(self.index.fields) or 'creation time'})"
        )


@dataclass(frozen=True, slots=True)
class DropIndex(MigrationStep):
    """Drops an index."""

    name: str

    @property
    def required(self) -> bool:
        """Always False."""
        return False

    def __str__(self) -> str:
        return f"drop index {self.name} of {self.table.name}"


def shape_of(schema: Schema) -> Shape:
    """Return the tables that a schema needs in a database."""
    return {
        table.name: TableShape(
            {name: _column_shape(column) for name, column in table.columns.items()},
            {index.name: IndexShape(index.fields, index.unique) for index in table.indexes.values()},
        )
        for table in schema.tables.values()
    }


def plan(schema: Schema, migration: Migration, *, allow_destructive: bool = False) -> list[MigrationStep]:
    """Return the steps from the existing tables to the schema, in order. Tables outside the schema are ignored.

    Args:
        schema: The tables of the application.
        migration: The database.
        allow_destructive: Whether steps may lose data.

    Raises:
        MigrationRefusedError: A step would lose data without permission, or existing rows do not fit.
    """
    existing = migration.describe()
    steps: list[MigrationStep] = []
    for table in schema.tables.values():
        shape = existing.get(table.name)
        if shape is None:
            steps += [CreateTable(table), *(CreateIndex(table, index) for index in table.indexes.values())]
        else:
            steps += _change(table, shape, migration)
    lost = [step for step in steps if step.destructive]
    if lost and not allow_destructive:
        raise MigrationRefusedError(_loss(lost[0], migration))
    return steps


def _change(table: Table[Any], shape: TableShape, migration: Migration) -> Iterator[MigrationStep]:
    wanted = {index.name: IndexShape(index.fields, index.unique) for index in table.indexes.values()}
    changed = {name for name, index in shape.indexes.items() if wanted.get(name) != index}
    yield from (DropIndex(table, name) for name in sorted(changed))
    for name, column in table.columns.items():
        if name not in shape.columns:
            yield _add_column(table, column, migration)
        elif shape.columns[name] != _column_shape(column):
            yield _change_column(table, column, shape.columns[name], migration)
    yield from (DropColumn(table, name) for name in shape.columns if name not in table.columns)
    for index in table.indexes.values():
        if index.name not in shape.indexes or index.name in changed:
            _refuse_duplicates(table, index, shape, migration)
            yield CreateIndex(table, index)


def _add_column(table: Table[Any], column: Column, migration: Migration) -> AddColumn:
    default = column.default
    if default is not UNSET:
        return AddColumn(table, column, table.store(column.name, default))
    example = None if column.nullable else migration.any_row(table.name)
    if example is not None:
        raise MigrationRefusedError(
            f"{table.name}.{column.name} is new and required, but there are rows without it, such as {example}: "
            f"give the field a default in class {table.document.__name__}, or allow None"
        )
    return AddColumn(table, column, None)


def _change_column(table: Table[Any], column: Column, old: ColumnShape, migration: Migration) -> ChangeColumn:
    values = {}
    for document_id, stored in migration.rows(table.name, column.name):
        try:
            fitting = None if stored is None and column.nullable else _converted(column, old.kind, stored)
        except (ValueError, msgspec.MsgspecError) as error:
            why = error.inside(f".{column.name}") if isinstance(error, InvalidValueError) else error
            raise MigrationRefusedError(
                f"{table.name}.{column.name} cannot become {_described(column)}: the row {document_id} does not fit "
                f"({why}). Change the rows first, or keep the type"
            ) from None
        if fitting != stored or (old.kind != column.type.kind and type(fitting) is not type(stored)):
            values[document_id] = fitting
    return ChangeColumn(table, column, old, values)


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


def _refuse_duplicates(table: Table[Any], index: Index, shape: TableShape, migration: Migration) -> None:
    if not index.unique or any(name not in shape.columns for name in index.fields):
        return
    example = migration.duplicate(table.name, index.fields)
    if example is not None:
        raise MigrationRefusedError(
            f"{table.name}: the unique index {index.name} ({', '.join(index.fields)}) cannot be made, since "
            f"another row has the same values as {example}. Change or delete one of them first"
        )


def _loss(step: MigrationStep, migration: Migration) -> str:
    example = migration.any_row(step.table.name)
    rows = f", for example in the row {example}" if example else ""
    return f"Refused to {step}{rows}. Run `flask convex migrate --allow-destructive` to lose it"


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


def _described(column: Column) -> str:
    return column.type.kind + (" or None" if column.nullable else "")
