"""Every error of the package, one sentence each.

Errors say what happened in the words of the domain; `status` is the HTTP status the edge answers when nobody
caught them. What lives here knows no HTTP library and no database driver: those errors are translated where
they arise (`engines/`, `blobs/`, `webhooks/`), and never leave those folders raw.
"""

from __future__ import annotations

import traceback
from typing import Any, ClassVar


class ConvexHTTPError(Exception):
    """Something in flask_convex_http failed."""

    #: The HTTP status the edge answers.
    status: ClassVar[int] = 500
    #: Whether the message may be shown to a client; otherwise it goes to the log only.
    public: ClassVar[bool] = False
    #: Seconds after which a client may come back; the edge says so in `Retry-After`.
    retry_after: int | None = None


class ConvexError(ConvexHTTPError):
    """An application error, raised by your own functions, whose data reaches the client.

    Args:
        data: Any JSON value that says what happened. A string is the message; a mapping's `message` is.
        status: The HTTP status of the answer, 400 to 599.
    """

    public = True

    def __init__(self, data: Any = None, *, status: int = 400) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"ConvexError(status={status}) is not an error status: use 400 to 599")
        super().__init__(data)
        self.data = data
        self.status = status  # type: ignore[misc]  # the class says the default, each instance its own

    @property
    def message(self) -> str:
        """The data as one line for people."""
        if isinstance(self.data, str):
            return self.data
        if isinstance(self.data, dict) and isinstance(self.data.get("message"), str):
            return str(self.data["message"])
        return "Application error"

    def __str__(self) -> str:
        return self.data if isinstance(self.data, str) else repr(self.data)


# --- mistakes of the developer, raised when something is defined or started ------------------------------------


class RegistrationError(ConvexHTTPError, ValueError):
    """A table, function or route was defined in a way that cannot work."""


class ConfigurationError(ConvexHTTPError):
    """A setting is missing or wrong."""


class MigrationRequiredError(ConvexHTTPError):
    """The database does not have the tables of the schema yet."""

    status = 503
    public = True


class MigrationRefusedError(ConvexHTTPError):
    """A change of the schema would lose or break data that is there."""


# --- what a call can get wrong -----------------------------------------------------------------------------------


class ArgumentValidationError(ConvexHTTPError):
    """An argument does not match its annotation."""

    status = 400
    public = True


class ReturnsValidationError(ConvexHTTPError):
    """A returned value does not match its annotation."""


class DocumentValidationError(ConvexHTTPError):
    """A document does not match its table."""

    status = 400
    public = True


class FunctionNotFoundError(ConvexHTTPError):
    """No function has that name."""

    status = 404
    public = True


class FunctionCallError(ConvexHTTPError):
    """A function was called in a way its kind does not allow."""


class DocumentNotFoundError(ConvexHTTPError):
    """A document to change does not exist."""

    status = 404
    public = True


class UniqueConstraintError(ConvexHTTPError):
    """Another document already has this value in a unique index."""

    status = 409
    public = True


class NotUniqueError(ConvexHTTPError):
    """unique() found more than one document."""


class QueryError(ConvexHTTPError):
    """A query was put together in a way that cannot be answered."""


class InvalidCursorError(ConvexHTTPError):
    """A pagination cursor is not one of this query."""

    status = 400
    public = True


# --- what the world around does ------------------------------------------------------------------------------------


class EngineError(ConvexHTTPError):
    """The database could not do what was asked."""


class OverloadedError(ConvexHTTPError):
    """The database is busy; the same request may succeed a moment later."""

    status = 503
    public = True
    retry_after = 1


class ConflictError(OverloadedError):
    """A transaction has met another one, and is run again from its start. A function that catches this can do nothing
    more, and only sees it if it catches everything; a client sees it if there was no time left to run it again."""


class RateLimitedError(ConvexHTTPError):
    """Somebody has used up what a rate limit gives them.

    Args:
        message: Which limit.
        retry_after: Seconds until the same is allowed again.
    """

    status = 429
    public = True

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CallInProgressError(ConvexHTTPError):
    """`ctx.once` found that somebody else makes this very call at the moment."""

    status = 409
    public = True
    retry_after = 5


class SchedulingError(ConvexHTTPError):
    """A function was scheduled in a way that cannot work."""


class UnavailableError(EngineError):
    """The database cannot be used at the moment, for want of space or because its disk fails.

    What was asked is not acknowledged. If it was the commit that failed, it may be there after a restart nevertheless.

    Args:
        message: What is wrong.
        by_engine: Whether it is this database, and not something that a function speaks of.
        detail: What the operator is to know, and clients are not: where it is, and what it has said.
    """

    status = 503
    public = True
    retry_after = 10

    def __init__(self, message: str = "", *, by_engine: bool = False, detail: str = "") -> None:
        super().__init__(message)
        self.by_engine = by_engine
        self.detail = detail


class BlobNotFoundError(ConvexHTTPError):
    """There are no bytes under that key."""

    status = 404
    public = True


class StorageIdError(ConvexHTTPError):
    """A value is not the id of a stored file."""

    status = 400
    public = True


class PayloadTooLargeError(ConvexHTTPError):
    """The body is larger than this endpoint takes."""

    status = 413
    public = True


class MissingSecretError(ConvexHTTPError):
    """A secret that is needed to answer is not set."""

    status = 503
    public = True
    retry_after = 60


class VerificationError(ConvexHTTPError):
    """A webhook was refused.

    Args:
        reason: A machine word: missing-header, malformed, too-old, too-new or no-match.
        message: The same for people. It never holds a secret or an expected signature.
    """

    status = 400
    public = True

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class DeadLetterError(ConvexHTTPError):
    """A webhook's handler gives a delivery up: its effects are undone, and it is not to be sent or run again.

    Raise it for what no repetition can mend. The sender is answered as if all were well, because that is what stops it;
    the delivery is kept as "dead", with this message.
    """


class WebhookFailedError(ConvexHTTPError):
    """A webhook's handler has failed; its effects are undone, and the sender is to send the delivery again."""


class RequestError(ConvexHTTPError):
    """A request is not what the endpoint takes.

    Args:
        message: What is wrong with it.
        status: The HTTP status of the answer.
    """

    status = 400
    public = True

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]  # the class says the default, each instance its own


#: Characters of an exception's text that are stored.
_LONGEST_TEXT = 2000


def text_of(error: BaseException) -> str:
    """An exception in a line or a few, whatever it says of itself; at most 2000 characters."""
    try:
        if isinstance(error, DeadLetterError):  # somebody has put that into words
            return plain(str(error))[:_LONGEST_TEXT] or "The handler gave it up"
        text = "".join(traceback.format_exception_only(error)).strip()
    except BaseException:  # its notes, or the line of a SyntaxError, may be anything
        text = type(error).__name__
    return plain(text)[:_LONGEST_TEXT]


def plain(text: str) -> str:
    """A text that can be stored: without halves of characters."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_of_transaction(error: BaseException) -> bool:
    """Whether it is no fault of the function's: its transaction cannot go on, and all that is in it is tried again."""
    return isinstance(error, ConflictError) or (isinstance(error, UnavailableError) and error.by_engine)
