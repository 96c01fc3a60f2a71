"""Evaluation of a `Range` header (RFC 9110, section 14).

Werkzeug's parser is not used: it responds with 416 to a suffix longer than the file, where the RFC wants the whole
file, and cannot tell a header to ignore (200) from an unsatisfiable one (416).
"""

from __future__ import annotations

import re
from typing import ClassVar, NamedTuple

from flask_convex_http.errors import ConvexHTTPError

#: ASCII digits only: `\d` and int() also accept the digits of other scripts, underscores and signs.
_ONE_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
#: More digits than any size has. int() rejects thousands of digits and is slow on hundreds.
_MOST_DIGITS = 19
_BLANK = " \t"


class ByteRange(NamedTuple):
    """The bytes from `start` up to, but not including, `stop`; never empty."""

    start: int
    stop: int

    def content_range(self, size: int) -> str:
        """Return the `Content-Range` header of a 206 response.

        Args:
            size: The size of the whole file in bytes.
        """
        return f"bytes {self.start}-{self.stop - 1}/{size}"


class RangeNotSatisfiable(ConvexHTTPError):
    """The file has none of the requested bytes.

    Args:
        size: The size of the whole file in bytes.
    """

    status: ClassVar[int] = 416
    public: ClassVar[bool] = True

    def __init__(self, size: int) -> None:
        super().__init__(f"The range starts beyond the end of the file, which has {size} bytes")
        self.size = size

    @property
    def content_range(self) -> str:
        """The `Content-Range` header of the 416 response."""
        return f"bytes */{self.size}"


def parse(header: str | None, size: int) -> ByteRange | None:
    """Evaluate a `Range` header against a file.

    Args:
        header: The value of the header, or None without one.
        size: The size of the file in bytes.

    Returns:
        The range of a 206 response, or None for a response with the whole file. None means that the header is missing,
        malformed, in another unit or names several ranges (RFC 9110, 14.2 lets a server ignore these), or that the file
        is empty, of which `Content-Range` can name no part.

    Raises:
        RangeNotSatisfiable: The range is well-formed, but the file has none of its bytes.
    """
    numbers = _numbers_of_single_range(header or "")
    if numbers is None or size == 0:
        return None
    first, last = numbers
    if first is None:
        return _suffix(last or 0, size)
    if last is not None and last < first:
        return None
    if first >= size:
        raise RangeNotSatisfiable(size)
    return ByteRange(first, size if last is None else min(last + 1, size))


def _suffix(length: int, size: int) -> ByteRange:
    if length == 0:
        raise RangeNotSatisfiable(size)
    return ByteRange(max(size - length, 0), size)


def _numbers_of_single_range(header: str) -> tuple[int | None, int | None] | None:
    """Return the two numbers of the header's range, or None unless it is exactly one range of bytes."""
    unit, _, rest = header.partition("=")
    # A recipient of a list skips its empty elements (RFC 9110, 5.6.1.2).
    ranges = [item for item in (item.strip(_BLANK) for item in rest.split(",")) if item]
    if unit.strip(_BLANK).lower() != "bytes" or len(ranges) != 1:
        return None
    match = _ONE_RANGE.fullmatch(ranges[0])
    if match is None or ranges[0] == "-":
        return None
    return _number(match[1]), _number(match[2])


def _number(digits: str) -> int | None:
    if not digits:
        return None
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _MOST_DIGITS else 10**_MOST_DIGITS
