"""What is made of an exception of application code: a text that any database takes, and whose fault it is."""

from __future__ import annotations

import traceback

from flask_convex_http.errors import ConflictError, DeadLetterError, UnavailableError

_LONGEST = 2000


def text_of(error: BaseException) -> str:
    """An exception in a line or a few, whatever it says of itself; at most 2000 characters."""
    try:
        if isinstance(error, DeadLetterError):  # somebody has put that into words
            return plain(str(error))[:_LONGEST] or "The handler gave it up"
        text = "".join(traceback.format_exception_only(error)).strip()
    except BaseException:  # its notes, or the line of a SyntaxError, may be anything
        text = type(error).__name__
    return plain(text)[:_LONGEST]


def plain(text: str) -> str:
    """A text that can be stored: without halves of characters."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_of_transaction(error: BaseException) -> bool:
    """Whether it is no fault of the function's: its transaction cannot go on, and all that is in it is tried again."""
    return isinstance(error, ConflictError) or (isinstance(error, UnavailableError) and error.by_engine)
