"""Plan a migration, and report how far it has come."""

from __future__ import annotations

from flask_convex_http.errors import MigrationRefusedError
from flask_convex_http.operations.progress import Meter, Progress
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.migrations import Migration, MigrationStep, ordered_by_time, plan


def plan_with_progress(
    schema: Schema, migration: Migration, *, allow_destructive: bool, progress: Progress | None
) -> list[MigrationStep]:
    """Return the steps from the existing tables to the schema.

    Args:
        schema: The tables of the application.
        migration: The database.
        allow_destructive: Whether steps may lose data.
        progress: Receives how many rows were looked at for their order, and how many there are. Those are the rows of
            tables of earlier releases.

    Raises:
        MigrationRefusedError: A step would lose data without permission, or existing rows do not fit.
    """
    meter = Meter(_ignore, 0) if progress is None else Meter(progress, _count_ordered_by_time(migration))
    steps = plan(schema, migration, allow_destructive=allow_destructive, advance=meter.advance)
    meter.finish()
    return steps


def _count_ordered_by_time(migration: Migration) -> int:
    try:
        return sum(map(migration.count, ordered_by_time(migration.describe())))
    except MigrationRefusedError:  # the plan raises it again, with more in the message
        return 0


def _ignore(done: int, total: int) -> None:
    """Report to nobody."""
