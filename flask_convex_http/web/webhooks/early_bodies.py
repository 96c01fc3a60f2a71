"""The bodies of deliveries, read before Flask and left to be read again."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from werkzeug.exceptions import HTTPException

from flask_convex_http.web.requests.body_streams import BoundedStream, announced_length


def early_body(environ: dict[str, Any], most_bytes: int) -> bytes | None:
    """Return the body of a request, or None if it is not as short as announced, too large, or has begun to be read.

    Args:
        environ: The WSGI environment. Its stream becomes one with the same content, or with the same error.
        most_bytes: The limit of the body.
    """
    stream, length = environ["wsgi.input"], announced_length(environ)
    if length is None or length > most_bytes:
        return None
    if not isinstance(stream, BytesIO):  # of a server whose requests do not wait for their bodies
        stream = environ["wsgi.input"] = _read(stream, length)
    if not isinstance(stream, BytesIO) or stream.tell():
        return None
    body = stream.getvalue()
    return body if len(body) == length else None


def _read(stream: Any, length: int) -> BytesIO | _Failed:
    try:
        return BytesIO(BoundedStream(stream, length, length).read())
    except HTTPException as error:
        return _Failed(error)


class _Failed:
    """A stream that could not be read. The view gets the same error."""

    def __init__(self, error: HTTPException) -> None:
        self._error = error

    def read(self, size: int = -1) -> bytes:
        """Raise the error."""
        raise self._error
