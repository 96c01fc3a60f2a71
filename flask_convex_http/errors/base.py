"""The base classes of all errors."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


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


class ClientValueError(ConvexHTTPError):
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
