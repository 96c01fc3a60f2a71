"""A worker of gunicorn that slow clients cannot stop.

gunicorn's `gthread` gives a thread to each connection that has sent a byte, and waits without a limit for the rest: as
many half-sent requests as there are threads stop a worker. Here five rules hold:

* A connection gets a thread when its request has arrived, or the first 32 KiB of it. Until then it waits in the event
  loop, for `arrival_timeout` seconds.
* A request gets 408 if its thread has waited for `read_timeout` seconds, and fewer than `least_rate` bytes for each of
  these seconds have arrived in them.
* If more than half of the threads wait for bodies that have stalled for `stall_timeout` seconds, those that stalled
  first get 408.
* A connection that the client does not close after its last response is awaited in the event loop. gunicorn would stop
  the event loop for two seconds.
* The connection of a client that takes nothing of its response for `send_timeout` seconds is closed.

A proxy that collects requests before it passes them on is better: it needs no thread for a large body either.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import operator
import re
import selectors
import socket
import struct
import time
from typing import Any

from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]
from werkzeug.exceptions import RequestTimeout

_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
#: Pollers ignore SO_RCVLOWAT on Unix sockets, which proxies use.
_INTERNET = frozenset({socket.AF_INET, socket.AF_INET6})
_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT
#: Bytes of a request that are awaited in the event loop, where the kernel holds them.
_AWAITED = 32 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
#: The size of a chunk, and a part of it. A size in another form is left to gunicorn.
_SIZE, _PART_OF_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n"), re.compile(rb"[0-9A-Fa-f]{0,8}\r?")
#: The chunks that the event loop looks at, so that many small ones cannot keep it busy.
_MOST_CHUNKS = 64
#: The client sends the body only after this response to the head (RFC 9110, 10.1.1).
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
#: Seconds between two looks at the threads that read, and between two log lines about descriptors.
_PERIOD, _COMPLAINT = 0.5, 10.0
#: Seconds for which a client may leave a connection open after its last response (RFC 9112, 9.6).
_LINGER = 2.0


class SlowClientError(RequestTimeout, ConnectionResetError):
    """The client sends its request too slowly. Flask responds 408, and gunicorn closes the connection."""

    def __init__(self) -> None:
        super().__init__("The request did not arrive in time")
        self.errno = errno.ECONNRESET


class TimedSocket(socket.socket):
    """A socket that knows how long its thread has waited for the bytes of a request."""

    __slots__ = ("awaited", "is_continued", "is_cut", "received", "waited", "waits_since")

    awaited: int
    is_continued: bool

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
        sock.is_continued = False
        return sock

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


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's `gthread` with limits on the time that a request takes to arrive.

    Attributes:
        arrival_timeout: Seconds for the first 32 KiB of a request, and for a new connection without a request.
        read_timeout: Seconds that a thread waits for bytes until their number is checked.
        least_rate: The smallest number of bytes per second of these.
        stall_timeout: Seconds without a byte after which a body may be cut off to free a thread.
        send_timeout: Whole seconds for which a client may take nothing of its response.
    """

    arrival_timeout = 10.0
    read_timeout = 20.0
    least_rate = 1024
    stall_timeout = 1.0
    send_timeout = 30

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._arriving: dict[Any, float] = {}  # in the order of their deadlines
        self._reading: set[Any] = set()
        self._lingering: dict[TimedSocket, float] = {}
        self._next_look = self._next_complaint = 0.0

    # --- gunicorn's own methods, called in its event loop ------------------------------------------------------------

    def accept(self, *arguments: Any) -> None:
        """Accept a connection. Without a free descriptor, close idle connections instead of ending the worker."""
        try:
            super().accept(*arguments)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS:
                raise
            if time.monotonic() >= self._next_complaint:
                self._next_complaint = time.monotonic() + _COMPLAINT
                self.log.warning("No file descriptor is left for a connection; raise the limit (ulimit -n)")
            self.murder_keepalived(force=True)
            time.sleep(0.05)  # the connection stays in the queue of the kernel

    def enqueue_req(self, conn: Any) -> None:
        """Give a connection to a thread, once its request has arrived."""
        if self.cfg.is_ssl:
            super().enqueue_req(conn)
            return
        if not isinstance(conn.sock, TimedSocket):
            conn.sock = TimedSocket.take_over(conn.sock, self.send_timeout)
            conn.close = functools.partial(self._close, conn)
        awaited = _awaited(conn)
        if awaited is None:
            self._start(conn)
            return
        conn.sock.setblocking(False)
        conn.sock.report_at(awaited)
        self._arriving[conn] = time.monotonic() + self.arrival_timeout
        self.poller.register(conn.sock, selectors.EVENT_READ, functools.partial(self._on_readable, conn))

    def finish_request(self, conn: Any, future: Any) -> None:
        """Take a connection back from its thread."""
        self._reading.discard(conn)
        super().finish_request(conn, future)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close connections that are due. gunicorn calls this after each event, and at least once a second."""
        is_full = self.nr_conns >= self.worker_connections  # idle connections must not keep others out
        super().murder_keepalived(force=force or is_full)
        now = time.monotonic()
        if now < self._next_look and not is_full:
            return
        self._next_look = now + _PERIOD
        self._close_lingering(now)
        self._close_late(now + self.arrival_timeout - 1 if is_full else now)
        if not self.cfg.is_ssl:
            self._cut_slow(now)

    # --- gunicorn's own method, called in a thread after a response ---------------------------------------------------

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """Return whether a connection can be used again. gunicorn would respond to an error in an unread body again."""
        try:
            return bool(super()._keepalive_after(conn, keepalive))
        except ParseException:
            return False

    # --- the rules ---------------------------------------------------------------------------------------------------

    def _on_readable(self, conn: Any, client: Any) -> None:
        awaited = _awaited(conn)
        # Fewer bytes than awaited are reported if no more will come. The thread finds the end.
        if awaited is not None and awaited > conn.sock.awaited:
            conn.sock.report_at(awaited)
            return
        self._forget(conn)
        conn.sock.report_at(1)
        self._start(conn)

    def _start(self, conn: Any) -> None:
        conn.sock.start_request()
        conn.data_ready = True
        self._reading.add(conn)
        super().enqueue_req(conn)

    def _forget(self, conn: Any) -> None:
        del self._arriving[conn]
        self.poller.unregister(conn.sock)

    def _close(self, conn: Any, graceful: bool = False) -> None:
        """Close a connection. After a response, let the client close it first, so that it receives all of it."""
        del conn.close  # gunicorn's own again, without a cycle of references
        sock: TimedSocket = conn.sock
        if not graceful:
            conn.close()
            return
        try:
            sock.shutdown(socket.SHUT_WR)
            sock.setblocking(False)
            self._lingering[sock] = time.monotonic() + _LINGER
            self.poller.register(sock, selectors.EVENT_READ, self._on_lingering)
        except OSError:  # the client is gone
            self._lingering.pop(sock, None)
            conn.close()

    def _on_lingering(self, sock: TimedSocket) -> None:
        try:
            data = socket.socket.recv(sock, _AWAITED)
        except OSError:
            data = b""
        if not data:
            self._end_lingering(sock)

    def _close_lingering(self, now: float) -> None:
        for sock in [sock for sock, end in self._lingering.items() if end <= now]:
            self._end_lingering(sock)

    def _end_lingering(self, sock: TimedSocket) -> None:
        del self._lingering[sock]
        self.poller.unregister(sock)
        sock.close()

    def _close_late(self, now: float) -> None:
        for conn in [conn for conn, end in self._arriving.items() if end <= now or not self.alive]:
            self._forget(conn)
            self.nr_conns -= 1
            conn.close()

    def _cut_slow(self, now: float) -> None:
        late, stalled = [], []
        for sock in [conn.sock for conn in self._reading if not conn.sock.is_cut]:
            stall = sock.stalled_for(now)
            if sock.waited + stall > self.read_timeout:
                if sock.received < self.read_timeout * self.least_rate:
                    late.append(sock)
                sock.received, sock.waited = 0, 0.0
            elif stall > self.stall_timeout:
                stalled.append((stall, sock))
        stalled.sort(key=operator.itemgetter(0), reverse=True)
        late += [sock for _, sock in stalled[: max(0, len(stalled) - self.cfg.threads // 2)]]
        for sock in late:
            sock.cut()
        if late:
            self.log.info("Cut off %d requests whose bodies do not arrive", len(late))


def _awaited(conn: Any) -> int | None:
    """Return the number of bytes to await before a thread reads from a connection, or None if it should read now."""
    if conn.sock.family not in _INTERNET:
        return None
    if conn.parser is not None and (conn.is_http2 or conn.parser.unreader.buf.getvalue()):
        return None
    try:
        data = socket.socket.recv(conn.sock, _AWAITED, _PEEK)
    except BlockingIOError:
        return 1
    except OSError:
        return None  # the thread finds the same error
    awaited = _length_of_request(data) if data else None
    if awaited is not None and _EXPECT.search(data, 0, data.find(b"\r\n\r\n") + 2):
        conn.sock.send_continue()
    return awaited


def _length_of_request(data: bytes) -> int | None:
    """Return the number of bytes to await of a request that begins with these, or None if they suffice."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return len(data) + 1 if len(data) < _AWAITED else None
    if data.startswith(b"GET "):
        return None
    length = _LENGTH.search(data, 0, end + 2)
    if length is not None:
        whole = end + 4 + int(length[1])
    elif _CHUNKED.search(data, 0, end + 2):
        whole = _length_of_chunks(data, end + 4)
    else:
        return None
    whole = min(whole, _AWAITED)
    return whole if len(data) < whole else None


def _length_of_chunks(data: bytes, start: int) -> int:
    """Return the number of bytes to await of a chunked body that begins at `start`, or 0 if the thread must decide."""
    for _ in range(_MOST_CHUNKS):
        size = _SIZE.match(data, start)
        if size is None:
            return len(data) + 1 if _PART_OF_SIZE.fullmatch(data, start) else 0
        if not int(size[1], 16):
            return 0 if data.find(b"\r\n\r\n", size.end() - 2) >= 0 else len(data) + 1
        start = size.end() + int(size[1], 16) + 2
        if start > len(data):
            return start
        if data[start - 2 : start] != b"\r\n":
            return 0
    return 0
