"""Every error of the package.

`web/` turns an uncaught error into a response with its `status`. A mistake of the client is 4xx. A mistake of the
application is 500: it is logged with its traceback, and raised in tests as any error of a Flask view.

Errors of database drivers, object stores and vendors' libraries are translated in the folders that call them
(`engines/`, `storage/blobs/`, `webhooks/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar


class ConvexHTTPError(Exception):
    """Base class of all errors of the package.

    Attributes:
        status: The HTTP status of the response.
        public: Whether the client can act on the error. Otherwise the response says nothing about it.
        client_message: The message of the response, or None to show the error's own. It names no table, index, function
            or class of the application, which only the log has.
        retry_after: Seconds for the `Retry-After` header of the response, or None for no header.
        headers: Further headers of the response.
    """

    status: ClassVar[int] = 500
    public: ClassVar[bool] = False
    client_message: str | None = None
    retry_after: int | None = None
    headers: Mapping[str, str] = MappingProxyType({})


class _ClientValueError(ConvexHTTPError):
    """A value that clients choose is not accepted.

    Args:
        message: The mismatch.
        client_message: The mismatch without names of the application.
    """

    status = 400
    public = True

    def __init__(self, message: str, client_message: str = "A value of the request is not accepted") -> None:
        super().__init__(message)
        self.client_message = client_message


class ConvexError(ConvexHTTPError):
    """An application error, raised by your own functions, whose data reaches the client.

    Args:
        data: Any JSON value. The message is the value itself if it is a string, or its `message` if it is a dict.
        status: The HTTP status of the response, 400 to 599.

    Raises:
        ValueError: The status is not an error status.
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
        """The message for the client."""
        if isinstance(self.data, str):
            return self.data
        if isinstance(self.data, dict) and isinstance(self.data.get("message"), str):
            return str(self.data["message"])
        return "Application error"

    def __str__(self) -> str:
        return self.data if isinstance(self.data, str) else repr(self.data)


# --- mistakes of the developer, raised at definition or at start -----------------------------------------------------


class RegistrationError(ConvexHTTPError, ValueError):
    """A table, function or route was defined in a way that cannot work."""


class ConfigurationError(ConvexHTTPError):
    """A setting is missing or wrong."""


class MigrationRequiredError(ConvexHTTPError):
    """The database does not have the tables of the schema yet."""

    status = 503
    public = True
    client_message = "The database is not migrated; run `flask convex migrate`"


class MigrationRefusedError(ConvexHTTPError):
    """A change of the schema would lose data, or existing rows do not fit it."""


# --- mistakes in a call ----------------------------------------------------------------------------------------------


class ArgumentValidationError(ConvexHTTPError):
    """An argument of a call does not match its annotation: a mistake of the calling code."""


class ArgumentRangeError(_ClientValueError, ArgumentValidationError):
    """An argument has the right type, and its value is not an accepted one.

    It is beyond a bound, not one of the choices, or not an id of the table. Such values come from clients.
    """


class ReturnsValidationError(ConvexHTTPError):
    """A returned value does not match its annotation."""


class DocumentValidationError(ConvexHTTPError):
    """A document does not match its table: a mistake of the code that writes it."""


class UnstorableValueError(_ClientValueError, DocumentValidationError):
    """A field has a value of the right type that the database cannot hold.

    Such as text with a lone surrogate, an integer of more than 64 bits, or NaN. No annotation excludes these, and they
    come from clients.
    """


class FunctionLimitError(ConvexHTTPError):
    """A function reads or returns more bytes than the deployment allows."""


class FunctionNotFoundError(ConvexHTTPError):
    """No function has this name."""


class FunctionCallError(ConvexHTTPError):
    """A function was called in a way that its kind does not allow."""


class DocumentNotFoundError(ConvexHTTPError):
    """The document to change does not exist."""

    status = 404
    public = True
    client_message = "There is no such document"


class UniqueConstraintError(ConvexHTTPError):
    """Another document has the same values in a unique index."""

    status = 409
    public = True
    client_message = "Another document has the same values"


class NotUniqueError(ConvexHTTPError):
    """`unique()` found more than one document."""


class QueryError(ConvexHTTPError):
    """A query is built in a way that cannot run."""


class QueryRangeError(_ClientValueError, QueryError):
    """A value given to a query has the right type and is not accepted. Such values come from clients.

    It is a number of documents that is no integer or out of range, or a value that the field of an index cannot have.
    """


class HistoryError(ConvexHTTPError):
    """The commit log does not reach back that far, or a table is not logged."""

    status = 410
    public = True
    client_message = "The history does not reach back that far"


class UndoRefusedError(ConvexHTTPError):
    """Commits cannot be undone, since a later commit has touched the same fields or the log has not all of it."""


class InvalidCursorError(ConvexHTTPError):
    """A pagination cursor does not belong to this query."""

    status = 400
    public = True
    client_message = "The cursor is not valid here; start again without a cursor"


# --- failures at run time --------------------------------------------------------------------------------------------


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


class AuthenticationError(ConvexHTTPError):
    """A request has no credential where one is needed, or one that is not valid.

    Args:
        message: The reason, for the log. It holds no credential.
        client_message: The reason for the client.
        error: The error code of RFC 6750 in `WWW-Authenticate`; None if the request has no credential.
        description: A sentence on the error for the developer of the client.
    """

    status = 401
    public = True

    def __init__(
        self,
        message: str,
        client_message: str = "Invalid token",
        *,
        error: str | None = "invalid_token",
        description: str | None = None,
    ) -> None:
        super().__init__(message)
        self.client_message = client_message
        self.error = error
        self.description = description


class AuthProviderError(ConvexHTTPError):
    """The keys of an issuer of tokens cannot be fetched, and none are known from before.

    Args:
        message: The problem, for the operator.
    """

    status = 503
    public = True
    client_message = "The token cannot be checked at the moment"
    retry_after = 5


class RateLimitedError(ConvexHTTPError):
    """A rate limit is exceeded.

    Args:
        message: Names the limit.
        retry_after: Seconds until the same call is allowed again.
    """

    status = 429
    public = True

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.client_message = f"Rate limit exceeded; retry after {retry_after} s"
        self.retry_after = retry_after


class CallInProgressError(ConvexHTTPError):
    """`ctx.once` found the same call in progress elsewhere."""

    status = 409
    public = True
    retry_after = 5


class KeyInUseError(ConvexHTTPError):
    """A request with the same `Idempotency-Key` is being processed at this moment."""

    status = 409
    public = True
    retry_after = 1


class SchedulingError(ConvexHTTPError):
    """A function was scheduled in a way that cannot work."""


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


class BlobNotFoundError(ConvexHTTPError):
    """The file or its bytes do not exist."""

    status = 404
    public = True
    client_message = "There is no such file"


class StorageIdError(ConvexHTTPError):
    """A value is not the id of a stored file."""

    status = 400
    public = True


class PayloadTooLargeError(ConvexHTTPError):
    """The body is larger than the endpoint accepts."""

    status = 413
    public = True


class MissingSecretError(ConvexHTTPError):
    """The environment variable of a secret is not set, or the secret cannot be used.

    Args:
        message: The problem, with the label of the secret, for the operator.
        client_message: The problem without that label, for the client. Only in debug mode a client sees the message.
    """

    status = 503
    public = True
    retry_after = 60

    def __init__(self, message: str, client_message: str = "The signing secret is not set") -> None:
        super().__init__(message)
        self.client_message = client_message


class VerificationError(ConvexHTTPError):
    """A webhook delivery was rejected.

    Args:
        reason: A word for programs: missing-header, malformed, too-old, too-new or no-match.
        message: The reason for people, without a secret or an expected signature.
        status: The HTTP status of the response. Some senders demand another one than 400.
    """

    status = 400
    public = True

    def __init__(self, reason: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status  # type: ignore[misc]  # the class says the default, each instance its own


class VerificationUnavailableError(ConvexHTTPError):
    """A webhook delivery cannot be verified now, because the sender's public keys cannot be fetched.

    The response is 503, so that the sender retries.

    Args:
        message: The problem, for the operator.
    """

    status = 503
    public = True
    client_message = "The delivery cannot be verified at the moment"
    retry_after = 5


class NoRetry(ConvexHTTPError):
    """No retry can help. Raise it in a job or in a webhook's handler to dead-letter the work at once.

    An action fails without the attempts that are left, and the job keeps this message. A webhook's handler dead-letters
    its delivery, as with `DeadLetterError`. A mutation is rolled back, as with any exception.
    """


class DeadLetterError(NoRetry):
    """A webhook's handler dead-letters its delivery. Raise it for a delivery that no retry can process.

    The effects are rolled back. The sender receives a success status, so that it stops sending. The inbox keeps the
    delivery with the state "dead" and this message.
    """


class WebhookFailedError(ConvexHTTPError):
    """A webhook's handler failed. Its effects are rolled back, and the sender should retry."""


class RequestError(ConvexHTTPError):
    """A request does not match what the endpoint accepts.

    Args:
        message: The mismatch.
        status: The HTTP status of the response.
    """

    status = 400
    public = True

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]  # the class says the default, each instance its own


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
