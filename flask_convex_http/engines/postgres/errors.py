"""The translation of psycopg's errors, and which of them a retry may fix.

The codes are SQLSTATEs, explained in the appendix "PostgreSQL Error Codes" of PostgreSQL's documentation.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.pq import ConnStatus

from flask_convex_http.errors import (
    OTHER_RELEASE,
    ConflictError,
    ConvexHTTPError,
    DocumentValidationError,
    EngineError,
    OverloadedError,
    UnavailableError,
)
from flask_convex_http.log import logger_of

logger = logger_of("database")

#: Errors of the driver, and those that Python raises while it encodes values.
DRIVER_ERRORS = (psycopg.Error, OverflowError, UnicodeEncodeError, MemoryError)

#: Serialization failure, deadlock, a unique index that a concurrent transaction has changed, a table that a
#: migration has changed under a prepared statement, a prepared statement that the server has dropped.
_CONFLICTS = frozenset({"40001", "40P01", "23505", "0A000", "26000"})
#: The server has become a standby, shuts down or starts up.
_FAILOVER = frozenset({"25006", "57P01", "57P02", "57P03", "57P05"})
#: A row lock was not acquired within lock_timeout. No retry, because no time is left for one.
_LOCK_TIMEOUT = "55P03"
_OVERLOADED = {
    "57014": "A statement took too long",
    "53300": "The server has no connection left",
}
#: A table or a column does not exist, because another release of the application has renamed or dropped it.
_MISSING = ("42P01", "42703")
#: Classes of SQLSTATEs: insufficient resources, system errors, connection exceptions.
_UNAVAILABLE_CLASSES = ("53", "58", "08")


def is_conflict(error: Exception) -> bool:
    """Return whether the same transaction may succeed when it runs again."""
    state = getattr(error, "sqlstate", None)
    return state in _CONFLICTS and (state != "0A000" or "cached plan" in str(error))


def is_lost(error: Exception, connection: psycopg.Connection[Any]) -> bool:
    """Return whether a connection is dead, or leads to a server that no longer takes writes."""
    return connection.pgconn.status == ConnStatus.BAD or getattr(error, "sqlstate", None) in _FAILOVER


def translate(error: Exception) -> ConvexHTTPError:
    """Return the package's error for one of the driver's."""
    state, text = getattr(error, "sqlstate", None) or "", _first_line(error)
    if is_conflict(error):
        return ConflictError("The database is busy with other writes of the same rows; try again in a moment")
    if state == _LOCK_TIMEOUT:
        return ConflictError("A row that another write holds was not released in time; try again in a moment")
    if state in _OVERLOADED:
        return OverloadedError(f"{_OVERLOADED[state]}; try again in a moment")
    is_of_connection = not state and type(error) in (psycopg.OperationalError, psycopg.DatabaseError)
    if is_of_connection or state in _FAILOVER or state.startswith(_UNAVAILABLE_CLASSES):
        logger.warning("The database cannot be used at the moment: %s", text)
        return UnavailableError("The database cannot be used at the moment", by_engine=True, detail=text)
    if state in _MISSING:
        logger.error("%s: %s", OTHER_RELEASE, text)
        return UnavailableError(OTHER_RELEASE, by_engine=True, detail=text)
    if state == "42501":
        return EngineError(f"PostgreSQL: {text}; GRANT it to the app's user, or make that the owner of the database")
    if state == "54000":
        return DocumentValidationError("A value is too long for an index of PostgreSQL")
    if isinstance(error, OverflowError):
        return EngineError("An integer does not fit 64 bits")
    return EngineError(f"PostgreSQL: {text}")


def _first_line(error: Exception) -> str:
    """Return the message without its details, which may contain values of rows."""
    return str(error).strip().partition("\n")[0]
