"""A socket that measures how long its thread waits, and the error of a client that is too slow."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from typing import Any

from werkzeug.exceptions import RequestTimeout

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class SlowClientError(RequestTimeout, ConnectionResetError):
    """The client sends its request too slowly. Flask responds 408, and gunicorn closes the connection."""

    def __init__(self) -> None:
        super().__init__("The request did not arrive in time")
        self.errno = errno.ECONNRESET


class TimedSocket(socket.socket):
    """A socket that knows how long its thread has waited for the bytes of a request."""

    __slots__ = ("awaited", "is_continued", "is_cut", "is_watched", "received", "send_timeout", "waited", "waits_since")

    awaited: int
    send_timeout: float
    is_continued: bool
    is_watched: bool

    @classmethod
    def take_over(cls, other: socket.socket, send_timeout: float) -> TimedSocket:
        """Return a socket that replaces another one.

        Args:
            other: The socket, which is detached.
            send_timeout: Seconds without a byte sent after which sending fails.
        """
        sock = cls(other.family, other.type, other.proto, fileno=other.detach())
        # The kernel measures, which costs nothing for each response. `settimeout` would cost a poll for each call.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(send_timeout), 0))
        socket.socket.setblocking(sock, True)  # a new object assumes it
        sock.is_continued = sock.is_watched = False
        sock.send_timeout = send_timeout
        return sock

    def setblocking(self, flag: bool) -> None:
        """Set whether calls wait, without a system call if that is so already."""
        if flag != (self.gettimeout() is None):
            super().setblocking(flag)

    def start_request(self) -> None:
        """Begin to count for the next request."""
        self.is_cut = False
        self.received = 0
        self.waited = 0.0
        self.waits_since: float | None = None

    def report_at(self, size: int) -> None:
        """Let the poller report the socket when this number of bytes has arrived, or no more will."""
        self.awaited = size
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def send_continue(self) -> None:
        """Tell the client to send the body, once for each request. Never wait."""
        if self.is_continued:
            return
        self.is_continued = True
        with contextlib.suppress(OSError):  # the client is gone
            super().send(_CONTINUE, socket.MSG_DONTWAIT)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some bytes, but not the 100 of gunicorn if the client has received one."""
        if self.is_continued and data == _CONTINUE:
            self.is_continued = False
            return len(data)
        return super().send(data, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send bytes.

        Raises:
            ConnectionResetError: The client has taken none of them for `send_timeout` seconds.
        """
        try:
            super().sendall(data, flags)
        except BlockingIOError:
            raise ConnectionResetError(errno.ECONNRESET, "The client does not take the response") from None

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file, and return the number of its bytes.

        Raises:
            ConnectionResetError: The client has taken none of them for `send_timeout` seconds.
        """
        self.settimeout(self.send_timeout)  # after the kernel's timeout, `sendfile` would wait without a limit
        try:
            return super().sendfile(file, offset, count)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "The client does not take the response") from None
        finally:
            self.settimeout(None)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive some bytes.

        Raises:
            SlowClientError: The worker has cut the request off.
        """
        began = self.waits_since = time.monotonic()
        try:
            data = super().recv(size, flags)
        finally:
            self.waits_since = None
            self.waited += time.monotonic() - began
        if self.is_cut:
            raise SlowClientError
        self.received += len(data)
        return data

    def stalled_for(self, now: float) -> float:
        """Return for how many seconds the thread has waited for the next byte."""
        since = self.waits_since
        return 0.0 if since is None else now - since

    def cut(self) -> None:
        """End the wait of the thread. The response can still be sent."""
        self.is_cut = True
        try:
            self.shutdown(socket.SHUT_RD)
        except OSError:
            return  # the client is gone
