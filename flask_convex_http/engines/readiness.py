"""Whether a database has the tables of a schema, asked without changing anything; the same for every member."""

from __future__ import annotations

from typing import Protocol

from flask_convex_http.errors import MigrationRefusedError, MigrationRequiredError
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.migrations import Migration, Shape, plan, shape_of

_HOW_TO_MIGRATE = "run `flask convex migrate` (with your app's --app) to bring it up to date"


class Tables(Migration, Protocol):
    """The tables of a database, and how the last migration has left them."""

    def stored_shape(self) -> Shape:
        """The shape after the last migration."""


def check_tables(tables: Tables | None, schema: Schema) -> None:
    """See that the tables of the schema are there.

    Raises:
        MigrationRequiredError: They are not; the message says which command to run.
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


def waiting(tables: Tables, schema: Schema) -> list[str]:
    """What a migration would do, a sentence each, without trying it: that would make writers wait."""
    try:
        steps = plan(schema, tables, allow_destructive=True)
    except MigrationRefusedError as error:
        return [f"The database does not fit the schema: {error}"]
    option = " --allow-destructive"
    return [
        f"The database waits for a migration: {step}; run `flask convex migrate{option if step.destructive else ''}`"
        for step in steps
    ]
