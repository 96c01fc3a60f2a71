"""HTTP for urllib with a deadline for a whole response.

The timeout of a socket starts anew with each read. A server that sends a byte now and then would hold a fetch for as
long as it likes, also in the middle of a header, which urllib reads line by line.
"""

from __future__ import annotations

import io
import socket
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any


class DeadlineHandler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens URLs whose responses must be complete at a moment. A later read raises `TimeoutError`.

    Args:
        end: The moment, on the monotonic clock.
    """

    def __init__(self, end: float) -> None:
        super().__init__()
        self._end = end

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Open an http:// URL; urllib calls this."""
        return self._open(HTTPConnection, req)

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Open an https:// URL; urllib calls this."""
        return self._open(HTTPSConnection, req)

    def _open(self, kind: Callable[..., HTTPConnection], req: urllib.request.Request) -> HTTPResponse:
        def connect(host: str, **options: Any) -> HTTPConnection:
            connection = kind(host, **options)
            response_class: Any = partial(_Response, end=self._end)
            connection.response_class = response_class
            return connection

        return self.do_open(connect, req)


class _Response(HTTPResponse):
    """A response whose bytes must arrive before the deadline."""

    def __init__(self, sock: socket.socket, *args: Any, end: float, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_DeadlineReader(sock, self.fp.detach(), end))


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket, and waits for the time that is left at most."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, end: float) -> None:
        self._sock = sock
        self._raw = raw
        self._end = end

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read some bytes, as `io.RawIOBase` has it."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the response is not complete in time")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close the reader of the socket too."""
        self._raw.close()
        super().close()
