"""Migrate a database to its schema, and report how far the migration has come."""

from __future__ import annotations

from flask_convex_http.config import Location
from flask_convex_http.engines import Engine
from flask_convex_http.errors import MigrationRefusedError
from flask_convex_http.log import logger_of
from flask_convex_http.operations.progress import Meter, Progress
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.lossless import plan_lossless
from flask_convex_http.schema.migrations import Migration, MigrationStep, ordered_by_time, plan

logger = logger_of("database")


def migrate(
    engine: Engine,
    schema: Schema,
    location: Location,
    *,
    dry_run: bool,
    allow_destructive: bool,
    keep_dropped: bool,
    progress: Progress | None,
) -> list[MigrationStep]:
    """Change the tables of a database to match the schema, in one transaction, and log the steps.

    Args:
        engine: The database.
        schema: All tables.
        location: The location of the database, for the log.
        dry_run: Whether to roll back at the end.
        allow_destructive: Whether to drop columns that the schema no longer has.
        keep_dropped: Whether to keep columns that the schema no longer has, so that new rows leave them empty.
        progress: Receives how many rows of earlier releases were looked at for their order, and how many there are.

    Returns:
        The steps that were applied, or would be.

    Raises:
        MigrationRefusedError: Data would be lost or does not fit. Nothing was changed.
    """

    def plan_steps(migration: Migration) -> list[MigrationStep]:
        if keep_dropped:
            return plan_lossless(schema, migration)
        return _plan_with_progress(schema, migration, allow_destructive=allow_destructive, progress=progress)

    steps = engine.migrate(plan_steps, dry_run=dry_run)
    if not dry_run:
        _log([step for step in steps if not step.keeps], location)
    return steps


def _log(steps: list[MigrationStep], location: Location) -> None:
    if steps:
        logger.info("Migrated the database %s: %d steps", location, len(steps))
    for step in steps:
        logger.debug("Migrated the database %s: %s", location, step)


def _plan_with_progress(
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
