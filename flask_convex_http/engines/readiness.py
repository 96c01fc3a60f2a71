"""Whether a database has the tables of a schema. The same for every engine, and without changing anything."""

from __future__ import annotations

from typing import Protocol

from flask_convex_http.errors import MigrationRefusedError, MigrationRequiredError
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.migrations import Migration, Shape, plan, shape_of

_HOW_TO_MIGRATE = "run `flask convex migrate` (with your app's --app) to bring it up to date"


class StoredTables(Migration, Protocol):
    """The tables of a database, and their shape after the last migration."""

    def stored_shape(self) -> Shape:
        """Return the shape that the last migration stored."""


def check_tables(tables: StoredTables | None, schema: Schema) -> None:
    """Check that the tables of the schema exist.

    Args:
        tables: The tables of the database, or None if there is no database.
        schema: The tables that must exist.

    Raises:
        MigrationRequiredError: A table, column or index is missing. The message names the command to run.
    """
    if tables is None:
        raise MigrationRequiredError(f"There is no database yet; {_HOW_TO_MIGRATE}")
    if tables.stored_shape().items() >= shape_of(schema).items():
        return
    try:
        missing = [step for step in plan(schema, tables, allow_destructive=True) if step.required]
    except MigrationRefusedError as error:
        raise MigrationRequiredError(f"The database does not fit the schema: {error}. Then {_HOW_TO_MIGRATE}") from None
    if missing:
        raise MigrationRequiredError(f"The database is not migrated ({missing[0]}, ...); {_HOW_TO_MIGRATE}")


def pending_steps(tables: StoredTables, schema: Schema) -> list[str]:
    """Return one sentence per step of the migration that is due.

    Nothing is tried, because a migration makes writers wait. So a step may still fail.
    """
    try:
        steps = plan(schema, tables, allow_destructive=True)
    except MigrationRefusedError as error:
        return [f"The database does not fit the schema: {error}"]
    option = " --allow-destructive"
    return [
        f"The database waits for a migration: {step}; run `flask convex migrate{option if step.destructive else ''}`"
        for step in steps
    ]
