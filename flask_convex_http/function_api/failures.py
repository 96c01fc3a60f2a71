"""Describe errors to clients: failures of functions, and failures of the protocol.

The response to a function that failed has status 200, so that clients can tell its failure from one of the connection
or the server. The message contains the request id, with which the error is found in the log. It describes the error if
the client can act on it. All other errors are described in debug mode only.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from flask_convex_http.errors import (
    AuthenticationError,
    AuthProviderError,
    ConflictError,
    ConvexError,
    ConvexHTTPError,
    InvalidCursorError,
    OverloadedError,
    RateLimitedError,
)
from flask_convex_http.log import logger_of
from flask_convex_http.web.responses.descriptors import out_of_descriptors

logger = logger_of()

_LONGEST_TEXT = 2000
_CODES = {
    ConflictError: "OptimisticConcurrencyControlFailure",
    OverloadedError: "Overloaded",
    AuthProviderError: "AuthProviderDiscoveryFailed",
}


class ProtocolError(Exception):
    """A call did not reach a function, or the deployment could not run it.

    Args:
        status: The HTTP status.
        code: The kind of the error, for programs.
        message: The error, for people.
        retry_after: Seconds after which the same call may succeed, or None.
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


class CallError(Exception):
    """A call names no function that the client may call, or has arguments that cannot be read.

    Args:
        message: The error, for the client.
    """


class Failure(msgspec.Struct, frozen=True):
    """A failure of a function.

    Attributes:
        message: The message for the client.
        data: The data of an application error, as a Python value. Unset for other errors.
        is_expected: Whether the application has raised it on purpose, or a client caused it.
    """

    message: str
    data: Any | UnsetType = UNSET
    is_expected: bool = True


def failure_of(error: Exception, *, name: str, request_id: str, debug: bool) -> Failure:
    """Return the failure that a client sees for an error of a function, and log the rest of the error.

    Args:
        error: The error.
        name: The function as the client named it.
        request_id: The id of the request.
        debug: Whether the app is in debug mode, in which the client is the developer.

    Raises:
        ProtocolError: The deployment could not run the function: it is overloaded, or its database is away.
    """
    head = f"[Request ID: {request_id}] Server Error"
    if isinstance(error, CallError):
        return Failure(f"{head}\n{error}")
    if isinstance(error, ConvexError):
        return Failure(f"{head}\nUncaught ConvexError: {error.message}", error.data)
    if isinstance(error, RateLimitedError):
        data = {"kind": "RateLimited", "retryAfter": float((error.retry_after or 0) * 1000)}
        return Failure(f"{head}\nUncaught ConvexError: {error.client_message}", data)
    if not isinstance(error, ConvexHTTPError) or not error.public:
        return _unexpected(error, head, name, request_id, debug)
    if error.status >= 500:
        raise protocol_error(error, name, request_id)
    _log(logging.INFO if isinstance(error, AuthenticationError) else logging.WARNING, name, request_id, error)
    kind = "InvalidCursor" if isinstance(error, InvalidCursorError) else _public_kind(error)
    return Failure(f"{head}\nUncaught {kind}: {error.client_message or error}")


def _public_kind(error: ConvexHTTPError) -> str:
    """Return the name of the error's class, or of the one of this package that an application's class extends."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == ConvexHTTPError.__module__)


def protocol_error(error: ConvexHTTPError, name: str, request_id: str) -> ProtocolError:
    """Return the response to an error of the deployment, and log it."""
    _log(logging.ERROR, name, request_id, error)
    code = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), "ServiceUnavailable")
    message = error.client_message or "The deployment cannot run functions at the moment; try again later"
    return ProtocolError(error.status, code, message, retry_after=error.retry_after)


def _unexpected(error: Exception, head: str, name: str, request_id: str, debug: bool) -> Failure:
    unavailable = out_of_descriptors(error)
    if unavailable is not None:
        raise protocol_error(unavailable, name, request_id)
    logger.error("%r failed [request %s]", name, request_id, exc_info=error)
    shown = f"{head}\nUncaught {type(error).__name__}: {error}" if debug else head
    return Failure(shown, is_expected=False)


def _log(level: int, name: str, request_id: str, error: ConvexHTTPError) -> None:
    detail = getattr(error, "detail", "")  # for the operator only
    text = f"{error}: {detail}" if detail else str(error)
    logger.log(level, "%r [request %s]: %r", name, request_id, text[:_LONGEST_TEXT])
