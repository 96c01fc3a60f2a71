"""Requests that are not accepted."""

from __future__ import annotations

from flask_convex_http.errors.base import ConvexHTTPError


class RequestError(ConvexHTTPError):
    """The endpoint does not accept a request.

    Args:
        message: The mismatch.
        status: The HTTP status of the response.
    """

    status = 400
    public = True

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]  # the class says the default, each instance its own


class PayloadTooLargeError(ConvexHTTPError):
    """The body is larger than the endpoint accepts."""

    status = 413
    public = True


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


class KeyInUseError(ConvexHTTPError):
    """A request with the same `Idempotency-Key` is being processed at this moment."""

    status = 409
    public = True
    retry_after = 1
