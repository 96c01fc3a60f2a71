"""The bodies that have arrived with their heads.

gunicorn reads a body through two objects, each with a buffer, which takes as long as to parse its head. A small body is
usually in the same packets as the head, so its bytes are in memory before the application asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import Any

from gunicorn.http.body import LengthReader  # type: ignore[import-untyped]

#: Digits of a length that are read here.
_LONGEST_LENGTH = 18


class ArrivedBody(BytesIO):
    """A whole body in memory, in place of gunicorn's `Body`."""

    #: Whether reading has failed, as gunicorn asks.
    failed = False


def announced_length(fields: Iterable[tuple[str, str]]) -> int | None:
    """Return the length of a body, or None if gunicorn must read the fields that frame it, and may reject them.

    Args:
        fields: The fields of the head, with upper-case names.
    """
    lengths = []
    for name, value in fields:
        if name == "TRANSFER-ENCODING":
            return None
        if name == "CONTENT-LENGTH":
            lengths.append(value)
    if not lengths:
        return 0
    length = lengths[0]
    is_usual = len(lengths) == 1 and length.isascii() and length.isdecimal() and len(length) <= _LONGEST_LENGTH
    return int(length) if is_usual else None


def arrived_body(length: int, unreader: Any) -> ArrivedBody | None:
    """Return a body in memory if all of it has arrived, or else None.

    Args:
        length: The length of the body.
        unreader: The bytes behind the head, from which the body is then taken.
    """
    if not length:
        return ArrivedBody()
    held = unreader.buf.getvalue()
    if length > len(held):
        return None
    unreader.buf = BytesIO()
    unreader.buf.write(held[length:])  # of the next request
    return ArrivedBody(held[:length])


def is_read(body: Any) -> bool:
    """Return whether nothing of a body is left on its connection, without looking at the connection."""
    if isinstance(body, ArrivedBody):
        return True
    return not body.failed and isinstance(body.reader, LengthReader) and not body.reader.length
