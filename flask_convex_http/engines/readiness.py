"""Whether a database has the tables of a schema. The same for every engine, and without changing anything."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from flask_convex_http.errors import MigrationRefusedError, MigrationRequiredError
from flask_convex_http.schema.columns import Kind
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.migrations import (
    Migration,
    has_long_ids,
    is_described,
    ordered_by_time,
    plan,
    shape_of,
)

_HOW_TO_MIGRATE = "run `flask convex migrate` (with your app's --app) to bring it up to date"


class UndescribedTable(NamedTuple):
    """A table that an earlier schema had, with rows that no class describes.

    Attributes:
        name: Its name.
        rows: The number of its rows.
        example: The id of one of them.
    """

    name: str
    rows: int
    example: str

    def __str__(self) -> str:
        noun = "1 row" if self.rows == 1 else f"{self.rows:,} rows"
        return (
            f"No class describes the table {self.name}, which has {noun}, such as {self.example}. If its class has "
            f'another table now, write renamed_from="{self.name}" in the class statement and run `flask convex '
            f'migrate`; if nobody needs the rows, DROP TABLE "{self.name}"'
        )


def undescribed_tables(tables: Migration, schema: Schema) -> list[UndescribedTable]:
    """Return the tables that earlier schemas had and that have rows, but no class now."""
    if all(is_described(schema, name) for name in tables.stored_shape()):
        return []
    found = []
    try:
        names = list(tables.describe())
    except MigrationRefusedError:  # a table of the schema is another program's; `check_tables` reports that
        return []
    for name in names:
        example = None if is_described(schema, name) else tables.any_row(name)
        if example is not None:
            found.append(UndescribedTable(name, tables.count(name), example))
    return found


def kinds_by_name(schema: Schema, name: str) -> dict[str, Kind]:
    """Return the kinds that the columns of a table should have, by their names and old names.

    Args:
        schema: The tables of the application.
        name: The name of the table, which may be an old one.
    """
    table = schema.tables.get(name) or next((one for one in schema.tables.values() if name in one.old_names), None)
    columns = table.columns.values() if table else ()
    return {name: column.type.kind for column in columns for name in (column.name, *column.old_names)}


def id_range(table: str | None, placeholder: str) -> tuple[str, tuple[str, ...]]:
    """Return the condition for the rows whose ids begin with the name of a table, and its values; all rows for None."""
    if table is None:
        return "", ()
    after = chr(ord("_") + 1)
    return f' WHERE "_id" >= {placeholder} AND "_id" < {placeholder}', (f"{table}_", f"{table}{after}")


def check_tables(tables: Migration | None, schema: Schema, path: Path | None = None) -> frozenset[str]:
    """Check that the tables of the schema exist, and return the names of those that are ordered by creation time.

    Args:
        tables: The tables of the database, or None if there is no database.
        schema: The tables that must exist.
        path: Where the database would be, if that is a file.

    Raises:
        MigrationRequiredError: A table, column or index is missing. The message names the command to run.
    """
    if tables is None:
        raise MigrationRequiredError(f"There is no database{f' {path}' if path else ''} yet; {_HOW_TO_MIGRATE}")
    stored = tables.stored_shape()
    by_time = ordered_by_time(stored)
    if stored.items() >= shape_of(schema, by_time).items() and not _have_long_ids(tables, schema):
        return by_time
    try:
        missing = [step for step in plan(schema, tables, allow_destructive=True) if step.required]
    except MigrationRefusedError as error:
        raise MigrationRequiredError(f"The database does not fit the schema: {error}. Then {_HOW_TO_MIGRATE}") from None
    if missing:
        raise MigrationRequiredError(f"The database is not migrated ({missing[0]}, ...); {_HOW_TO_MIGRATE}")
    return ordered_by_time(tables.describe())


def _have_long_ids(tables: Migration, schema: Schema) -> bool:
    return any(has_long_ids(table, table.name, tables) for table in schema.tables.values())


def pending_steps(tables: Migration, schema: Schema) -> list[str]:
    """Return one sentence per step of the migration that is due.

    Nothing is tried, because a migration makes writers wait. So a step may still fail.
    """
    try:
        steps = plan(schema, tables, allow_destructive=True, advance=lambda count: None)
    except MigrationRefusedError as error:
        return [f"The database does not fit the schema: {error}"]
    option = " --allow-destructive"
    return [
        f"The database waits for a migration: {step}; run `flask convex migrate{option if step.destructive else ''}`"
        for step in steps
    ]
