"""Plans of migrations that lose nothing, for a database that follows its classes while they are written.

A column whose field is gone stays, with its values, and new rows leave it empty. A column of a table without rows is
dropped. A table that loses one field and gets another is refused, because the new one may be the old one by another
name: its values could not follow once both columns exist.
"""

from __future__ import annotations

from flask_convex_http.errors import MigrationRefusedError
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.migration_steps import (
    AddColumn,
    DropColumn,
    KeepColumn,
    Migration,
    MigrationStep,
    RenameTable,
)
from flask_convex_http.schema.migrations import plan


def plan_lossless(schema: Schema, migration: Migration) -> list[MigrationStep]:
    """Return the steps from the existing tables to the schema, in order, with `KeepColumn` for what would be lost.

    Args:
        schema: The tables of the application.
        migration: The database.

    Raises:
        MigrationRefusedError: A field may have a new name, or existing rows do not fit.
    """
    steps = plan(schema, migration, allow_destructive=True)
    old_names = {step.table.name: step.old for step in steps if isinstance(step, RenameTable)}
    for dropped in [step for step in steps if isinstance(step, DropColumn)]:
        name = old_names.get(dropped.table.name, dropped.table.name)
        if migration.any_row(name) is None:
            continue
        if _was_declared(migration, name, dropped):
            _refuse_new_name(dropped, steps)
        steps[steps.index(dropped)] = KeepColumn(dropped.table, dropped.name)
    return steps


def _was_declared(migration: Migration, name: str, dropped: DropColumn) -> bool:
    """Return whether the schema of the last migration had a column."""
    stored = migration.stored_shape().get(name)
    return stored is not None and dropped.name in stored.columns


def _refuse_new_name(dropped: DropColumn, steps: list[MigrationStep]) -> None:
    table = dropped.table.name
    added = [step.column.name for step in steps if isinstance(step, AddColumn) and step.table.name == table]
    if added:
        raise MigrationRefusedError(
            f"{table}.{dropped.name} is gone and {table}.{added[0]} is new. If it is the same field, write "
            f"renamed_from({dropped.name!r}) in the Annotated of {added[0]}. If not, run `flask convex migrate "
            f"--allow-destructive`, which drops {table}.{dropped.name} with its values"
        )
