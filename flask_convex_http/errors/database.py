"""Failures of the database and of its transactions."""

from __future__ import annotations

from flask_convex_http.errors.base import ConvexHTTPError
from flask_convex_http.errors.requests import RateLimitedError
from flask_convex_http.errors.setup import MigrationRequiredError


class EngineError(ConvexHTTPError):
    """The database failed, or holds values that do not match the schema."""


class OverloadedError(ConvexHTTPError):
    """The database is busy. The same request may succeed a moment later."""

    status = 503
    public = True
    retry_after = 1


class ConflictError(OverloadedError):
    """A transaction conflicts with another one, and is retried from its start.

    A function sees this error only if it catches every exception, and cannot continue its transaction. A client sees it
    if the time for retries is over.
    """


class MutationTimeoutError(ConvexHTTPError):
    """A mutation ran longer than CONVEX_MUTATION_TIMEOUT and was rolled back."""

    status = 503
    public = True


class MutationInterruptedError(BaseException):
    """Is raised inside a mutation that is over its time limit. It becomes a `MutationTimeoutError`.

    It is no `Exception`, so that a function which catches every `Exception` in a loop is interrupted too.
    """


class UnavailableError(EngineError):
    """The database or the file store cannot be used at the moment: the disk is full or fails, or a server is away.

    The write is not acknowledged. If its commit failed, it may exist after a restart nevertheless.

    Args:
        message: The problem, without details that a client must not see.
        by_engine: Whether the deployment's own database raised it, and not a function.
        detail: Details for the operator, such as the address and the driver's message.
    """

    status = 503
    public = True
    retry_after = 10

    def __init__(self, message: str = "", *, by_engine: bool = False, detail: str = "") -> None:
        super().__init__(message)
        self.by_engine = by_engine
        self.detail = detail


#: The message of the `UnavailableError` for a table or column that has gone while this process was running.
OTHER_RELEASE = "The database was migrated for another release of this application; restart this process with that one"


def is_of_transaction(error: BaseException) -> bool:
    """Return whether an error ends the whole transaction, so that no function of it can go on or record its failure."""
    if isinstance(error, ConflictError | MutationTimeoutError | MutationInterruptedError):
        return True
    return isinstance(error, UnavailableError) and error.by_engine


def is_engine_failure(error: BaseException) -> bool:
    """Return whether the database failed, or a limit was reached, so that the function itself did not fail."""
    if isinstance(error, UnavailableError):
        return error.by_engine
    return isinstance(error, OverloadedError | MigrationRequiredError | RateLimitedError)
