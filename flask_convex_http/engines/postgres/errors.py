"""PostgreSQL's errors as the package's, and what is to be done after each.

The codes are of the SQL standard and of PostgreSQL's own list (appendix "PostgreSQL Error Codes").
"""

from __future__ import annotations

import logging
from typing import Any

import psycopg
from psycopg.pq import ConnStatus

from flask_convex_http.errors import (
    ConflictError,
    ConvexHTTPError,
    DocumentValidationError,
    EngineError,
    OverloadedError,
    UnavailableError,
)

logger = logging.getLogger("flask_convex_http")

#: What the driver raises, and what Python does while it writes values.
DRIVER_ERRORS = (psycopg.Error, OverflowError, UnicodeEncodeError, MemoryError)

#: Serialization failure, deadlock; a unique index that another transaction has changed meanwhile; a table that a
#: migration has changed under a prepared statement; a prepared statement that is gone.
_CONFLICTS = frozenset({"40001", "40P01", "23505", "0A000", "26000"})
#: The server has become a standby, or ends, or begins.
_MOVED = frozenset({"25006", "57P01", "57P02", "57P03", "57P05"})
#: Not that either: who has waited that long has no time left. But the function has not failed.
_HELD = "55P03"
_BUSY = {
    "57014": "A statement took too long",
    "53300": "The server has no connection left",
}
#: Class 53 is want of space or memory, 58 a failure of the system.
_UNUSABLE = ("53", "58", "08")


def is_conflict(error: Exception) -> bool:
    """Whether the same transaction may succeed when it is run again."""
    state = getattr(error, "sqlstate", None)
    return state in _CONFLICTS and (state != "0A000" or "cached plan" in str(error))


def is_lost(error: Exception, connection: psycopg.Connection[Any]) -> bool:
    """Whether the server cannot be reached by a connection any more, or is not the one to write to."""
    return connection.pgconn.status == ConnStatus.BAD or getattr(error, "sqlstate", None) in _MOVED


def translate(error: Exception) -> ConvexHTTPError:
    """Our error for one of the driver's."""
    state, text = getattr(error, "sqlstate", None) or "", _first_line(error)
    if is_conflict(error):
        return ConflictError("The database is busy with other writes of the same rows; try again in a moment")
    if state == _HELD:
        return ConflictError("A row that another write holds was not let go in time; try again in a moment")
    if state in _BUSY:
        return OverloadedError(f"{_BUSY[state]}; try again in a moment")
    is_of_connection = not state and type(error) in (psycopg.OperationalError, psycopg.DatabaseError)
    if is_of_connection or state in _MOVED or state.startswith(_UNUSABLE):
        logger.warning("The database cannot be used at the moment: %s", text)
        return UnavailableError("The database cannot be used at the moment", by_engine=True, detail=text)
    if state == "42501":
        return EngineError(f"PostgreSQL: {text}; GRANT it to the app's user, or make that the owner of the database")
    if state == "54000":
        return DocumentValidationError("A value is too long for an index of PostgreSQL")
    if isinstance(error, OverflowError):
        return EngineError("An integer does not fit 64 bits")
    return EngineError(f"PostgreSQL: {text}")


def _first_line(error: Exception) -> str:
    """Without what the server adds, which may hold values of rows."""
    return str(error).strip().partition("\n")[0]
