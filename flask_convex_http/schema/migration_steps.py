"""The steps of a migration, and the shapes of tables that they lead from and to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import msgspec

from flask_convex_http.schema.columns import Kind
from flask_convex_http.schema.documents import TIME_INDEX, Column, Index, Table


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
    """A table of a database.

    Attributes:
        columns: The columns by name.
        indexes: The indexes by name.
        old_names: The names that the table had in earlier releases, with which ids may begin.
        by_time: Whether the rows are ordered by creation time, with an index of it, since their ids are in another
            order. All tables of the first releases are, which did not store it.
    """

    columns: dict[str, ColumnShape]
    indexes: dict[str, IndexShape]
    old_names: tuple[str, ...] = ()
    by_time: bool = True


Shape = dict[str, TableShape]

#: The digits of a digest that an id has.
ID_DIGITS = 16


class Migration(Protocol):
    """The view of a database that `plan` decides on."""

    def describe(self) -> Shape:
        """Return the existing tables: those of the schema, by old names too, and those that earlier schemas had."""

    def stored_shape(self) -> Shape:
        """Return the shape that the last migration stored."""

    def rows(self, table: str, column: str) -> Iterator[tuple[str, Any]]:
        """Yield the id and one column of every row."""

    def any_row(self, table: str, id_prefix: str | None = None) -> str | None:
        """Return the id of any row, or of any whose id has the name of this table, or None if there is none."""

    def creation_times(self, table: str) -> Iterator[tuple[str, float]]:
        """Yield the id and the creation time of every row, by creation time and then by id."""

    def count(self, table: str) -> int:
        """Return the number of rows in a table."""

    def duplicate(self, table: str, columns: Sequence[str]) -> str | None:
        """Return the id of a row that equals another one in these columns, or None."""


@dataclass(frozen=True, slots=True)
class MigrationStep:
    """One change of a database. `str()` describes it in a line.

    Attributes:
        table: The table.
        destructive: Whether it loses data.
        creates_table: Whether it creates the table.
        keeps: Whether it only keeps what a destructive step would drop.
    """

    table: Table[Any]
    destructive: ClassVar[bool] = False
    keeps: ClassVar[bool] = False
    creates_table: ClassVar[bool] = False

    @property
    def required(self) -> bool:
        """Whether the application cannot run before this step."""
        return True


@dataclass(frozen=True, slots=True)
class CreateTable(MigrationStep):
    """Creates a table.

    Attributes:
        by_time: Whether its rows are ordered by creation time, since their ids will be in another order.
    """

    by_time: bool = False
    creates_table: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"create table {self.table.name} ({', '.join(self.table.columns) or 'no fields'})"


@dataclass(frozen=True, slots=True)
class RenameTable(MigrationStep):
    """Renames a table, with its rows and indexes.

    Attributes:
        old: Its name in the database.
        replaces: Whether an empty table has its new name, which is dropped.
    """

    old: str
    replaces: bool = False

    def __str__(self) -> str:
        return f"rename table {self.old} to {self.table.name}"


@dataclass(frozen=True, slots=True)
class RenameColumn(MigrationStep):
    """Renames a column, with its values and in its indexes.

    Attributes:
        old: Its name in the database.
        column: The column.
    """

    old: str
    column: Column

    def __str__(self) -> str:
        return f"rename column {self.table.name}.{self.old} to {self.column.name}"


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
        by_time: Whether the rows are ordered by creation time.
    """

    column: Column
    old: ColumnShape
    values: dict[str, Any] = field(repr=False)
    by_time: bool

    @property
    def required(self) -> bool:
        """False if all rows fit and the column can store every new value, so that older code can still run."""
        can_store = self.old.kind == self.column.type.kind and self.old.nullable >= self.column.nullable
        return bool(self.values) or not can_store

    def __str__(self) -> str:
        name = f"{self.table.name}.{self.column.name}"
        if not self.values and (self.old.kind, self.old.nullable) == (self.column.type.kind, self.column.nullable):
            return f"change what {name} takes (its rows fit)"
        return f"change column {name} to {described(self.column)}"


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
class KeepColumn(MigrationStep):
    """Keeps a column that the schema no longer has, and lets new rows leave it empty."""

    name: str
    keeps: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"keep column {self.table.name}.{self.name} and what it holds"


@dataclass(frozen=True, slots=True)
class UseAsIds(MigrationStep):
    """Makes the first digits of the values of a column the ids of the rows, and drops the column.

    Attributes:
        column: The column. Its values are digests, of which the first digits differ.
    """

    column: str

    def __str__(self) -> str:
        return f"use column {self.table.name}.{self.column} as the ids of its rows"


@dataclass(frozen=True, slots=True)
class ShortenIds(MigrationStep):
    """Leaves of each id, which has the name of the table and a digest, the first digits of the digest."""

    def __str__(self) -> str:
        return f"shorten the ids of {self.table.name}"


@dataclass(frozen=True, slots=True)
class CreateIndex(MigrationStep):
    """Creates an index.

    Attributes:
        index: The index.
        by_time: Whether the rows are ordered by creation time.
    """

    index: Index
    by_time: bool

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


@dataclass(frozen=True, slots=True)
class OrderById(MigrationStep):
    """Drops the index of creation times and the creation times in other indexes: the ids are in the same order."""

    @property
    def required(self) -> bool:
        """Always False."""
        return False

    def __str__(self) -> str:
        return f"drop index {TIME_INDEX} of {self.table.name} and shorten the others (its ids are in the same order)"


@dataclass(frozen=True, slots=True)
class OrderByTime(MigrationStep):
    """Creates the index of creation times and adds them to other indexes: the ids are in another order."""

    def __str__(self) -> str:
        return f"create index {TIME_INDEX} on {self.table.name} and extend the others (its ids are in another order)"


def described(column: Column) -> str:
    """Return the type of a column for people."""
    return column.type.kind + (" or None" if column.nullable else "")
