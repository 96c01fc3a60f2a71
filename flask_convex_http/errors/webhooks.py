"""Webhook deliveries that are not accepted, or not processed."""

from __future__ import annotations

from flask_convex_http.errors.base import ConvexHTTPError


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


class WebhookFailedError(ConvexHTTPError):
    """A webhook's handler failed. Its effects are rolled back, and the sender should retry."""
