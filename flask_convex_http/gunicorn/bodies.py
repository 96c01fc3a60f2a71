"""The bodies that have arrived with their heads.

gunicorn reads a body through two objects, each with a buffer, which takes as long as to parse its head. A small body is
usually in the same packets as the head, so its bytes are in memory before the application asks for them.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from gunicorn.http.body import Body, LengthReader  # type: ignore[import-untyped]


class ArrivedBody(BytesIO):
    """A whole body in memory, in place of gunicorn's `Body`."""

    #: Whether reading has failed, as gunicorn asks.
    failed = False


def arrived_body(body: Any, unreader: Any) -> Any:
    """Return a body in memory if all of it has arrived, or else the body as it is.

    Args:
        body: The body, from which nothing was read.
        unreader: The bytes behind the head, from which the body is then taken.
    """
    if type(body) is not Body or type(body.reader) is not LengthReader:
        return body
    held, length = unreader.buf.getvalue(), body.reader.length
    if not 0 < length <= len(held):
        return body
    unreader.buf = BytesIO()
    unreader.buf.write(held[length:])  # of the next request
    return ArrivedBody(held[:length])


def is_read(body: Any) -> bool:
    """Return whether nothing of a body is left on its connection, without looking at the connection."""
    if isinstance(body, ArrivedBody):
        return True
    return not body.failed and isinstance(body.reader, LengthReader) and not body.reader.length
