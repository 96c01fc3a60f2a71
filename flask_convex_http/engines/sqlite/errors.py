"""The translation of the errors of SQLite's driver."""

from __future__ import annotations

from flask_convex_http.errors import (
    OTHER_RELEASE,
    ConvexHTTPError,
    EngineError,
    OverloadedError,
    UnavailableError,
    UniqueConstraintError,
)
from flask_convex_http.log import logger_of
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.tables import unique_violation
from flask_convex_http.sqlite.connections import DISK_FAILURES, is_damage, sqlite3

logger = logger_of("database")

#: Parts of the messages for a table or column that another release of the application has renamed or dropped.
_MISSING = ("no such table: ", "no such column: ", " has no column named ")


def translate(error: Exception, schema: Schema) -> ConvexHTTPError:
    """Return the package's error for one of the driver's.

    Args:
        error: The driver's error.
        schema: The tables, to name the unique index of a collision.
    """
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError) and text.startswith("UNIQUE constraint failed: "):
        return _collision(text.removeprefix("UNIQUE constraint failed: "), schema)
    if isinstance(error, OverflowError):
        return EngineError("An integer does not fit 64 bits")
    if isinstance(error, sqlite3.OperationalError) and text.startswith("database") and "locked" in text:
        return OverloadedError("The database is busy with other writes; try again in a moment")
    if is_damage(error) or (isinstance(error, sqlite3.OperationalError) and text in DISK_FAILURES):
        return UnavailableError(f"The database cannot be used at the moment: {text}", by_engine=True)
    if isinstance(error, sqlite3.OperationalError) and any(part in text for part in _MISSING):
        logger.error("%s: %s", OTHER_RELEASE, text)
        return UnavailableError(OTHER_RELEASE, by_engine=True, detail=text)
    return EngineError(f"SQLite: {text}")


def _collision(names: str, schema: Schema) -> UniqueConstraintError:
    """Return the error for a collision in columns such as "users.clerk_id"."""
    table_name = names.partition(".")[0]
    return unique_violation(
        schema.tables.get(table_name), table_name, [part.partition(".")[2] for part in names.split(", ")]
    )
