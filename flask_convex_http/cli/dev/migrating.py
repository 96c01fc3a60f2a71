"""The migration at each start, which loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_convex_http.backend import Backend
from flask_convex_http.cli.database import step_lines
from flask_convex_http.cli.output import note
from flask_convex_http.errors import ConvexHTTPError

if TYPE_CHECKING:
    from flask_convex_http.schema.migrations import MigrationStep


def migrate(backend: Backend, flask: str) -> None:
    """Migrate the database without loss, and print the steps that were done and those that were left.

    A database that cannot be migrated is left as it is: the app then responds with 503 and the same message.

    Args:
        backend: The deployment.
        flask: How the user calls `flask` for this app.
    """
    try:
        steps = backend.migrate(keep_dropped=True)
        notes = [str(table) for table in backend.tables.undescribed()]
    except ConvexHTTPError as error:
        note(f"The database was not migrated: {error}.")
        return
    _print_taken(backend, [step for step in steps if not step.keeps])
    left = [step for step in steps if step.keeps]
    for step in left:
        note(f"  {step}: no field of {step.table.document.__name__} describes it")
    if left:
        note(f"To drop what no field describes, run: {flask} convex migrate --allow-destructive")
    for sentence in notes:
        note(f"Note: {sentence}.")


def _print_taken(backend: Backend, steps: list[MigrationStep]) -> None:
    if steps:
        note(f"Migrated the database {backend.location}:")
    for line in step_lines(steps):
        note(f"  {line}")
