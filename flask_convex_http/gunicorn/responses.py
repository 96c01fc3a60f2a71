"""The response of gunicorn, whose head and body leave in one system call.

Each system call lets another thread run, which on a busy worker costs more than the call.
"""

from __future__ import annotations

import time
from typing import Any

from gunicorn.http.wsgi import Response  # type: ignore[import-untyped]
from gunicorn.util import http_date  # type: ignore[import-untyped]

#: Bytes of a body up to which it is copied behind the head.
_SMALL = 64 * 1024


class Date:
    """The value of the field Date, which changes once a second."""

    def __init__(self) -> None:
        self._cached = (0, "")

    def now(self) -> str:
        """Return the current value."""
        second = int(time.time())
        cached = self._cached  # one read: threads share the object
        if cached[0] != second:
            self._cached = cached = (second, http_date(second))
        return cached[1]


_date = Date()


class WholeResponse(Response):  # type: ignore[misc]
    """A response whose head is sent together with a small body."""

    headers_sent: bool

    def write(self, arg: Any) -> None:
        """Send a part of the body, and the head before the first one."""
        if self.headers_sent or self._omits_body or self.response_length != len(arg) or not 0 < len(arg) <= _SMALL:
            super().write(arg)
            return
        if not isinstance(arg, bytes):
            raise TypeError(f"{arg!r} is not a byte string")
        head = "".join((*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers), "\r\n"))
        self.headers_sent = True
        self.sent = len(arg)
        self.sock.sendall(head.encode("latin-1") + arg)

    def default_headers(self) -> list[str]:
        """Return the lines that each response begins with."""
        connection = "upgrade" if self.upgrade else "close" if self.should_close() else "keep-alive"
        major, minor = self.req.version
        lines = [
            f"HTTP/{major}.{minor} {self.status}\r\n",
            f"Server: {self.version}\r\n",
            f"Date: {_date.now()}\r\n",
            f"Connection: {connection}\r\n",
        ]
        return [*lines, "Transfer-Encoding: chunked\r\n"] if self.chunked else lines
