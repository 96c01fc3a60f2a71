"""Errors that an application raises."""

from __future__ import annotations

from typing import Any

from flask_convex_http.errors.base import ConvexHTTPError


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
