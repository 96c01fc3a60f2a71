"""Errors of a process that has no file descriptors left, which are temporary."""

from __future__ import annotations

import errno
import os

from flask_convex_http.errors import UnavailableError

_TOO_MANY = frozenset({errno.EMFILE, errno.ENFILE})
#: SQLite's message, which does not say why.
_SQLITE = "unable to open database file"


def out_of_descriptors(error: BaseException) -> UnavailableError | None:
    """Return the error that a client gets if an error has arisen because no file descriptor is left, or None.

    Args:
        error: Any exception that left a handler.
    """
    cause: BaseException | None = error
    seen: set[int] = set()  # causes may form a circle
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, OSError) and cause.errno in _TOO_MANY:
            return _unavailable(error)
        if _SQLITE in "".join(text for text in cause.args if isinstance(text, str)) and not _one_is_left():
            return _unavailable(error)
        cause = cause.__cause__ or cause.__context__
    return None


def _unavailable(error: BaseException) -> UnavailableError:
    unavailable = UnavailableError("The server has too many open files at the moment")
    unavailable.__cause__ = error
    return unavailable


def _one_is_left() -> bool:
    try:
        os.close(os.open("/", os.O_RDONLY))
    except OSError as error:
        return error.errno not in _TOO_MANY
    return True
