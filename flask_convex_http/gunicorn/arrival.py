"""The number of bytes that the event loop awaits of a request before a thread reads it.

Until then the kernel holds the bytes. The event loop looks at them without taking them.
"""

from __future__ import annotations

import re
import socket
from typing import Any

from gunicorn.http.unreader import IterUnreader  # type: ignore[import-untyped]

from flask_convex_http.gunicorn.heads import PlainRequest

#: Pollers ignore SO_RCVLOWAT on Unix sockets, which proxies use.
_INTERNET = frozenset({socket.AF_INET, socket.AF_INET6})
_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT
#: Bytes of a request that are awaited.
AWAITED = 32 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
#: The size of a chunk, and a part of it. A size in another form is left to gunicorn.
_SIZE, _PART_OF_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n"), re.compile(rb"[0-9A-Fa-f]{0,8}\r?")
#: The chunks that are looked at, so that many small ones cannot keep the event loop busy.
_MOST_CHUNKS = 64
#: The client sends the body only after this response to the head (RFC 9110, 10.1.1).
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)


def awaited_bytes(conn: Any) -> int | None:
    """Return the number of bytes to await before a thread reads from a connection, or None if it should read now."""
    if conn.sock.family not in _INTERNET:
        return None
    if conn.parser is not None and (conn.is_http2 or conn.parser.unreader.buf.getvalue()):
        return None
    try:
        data = socket.socket.recv(conn.sock, AWAITED, _PEEK)
    except BlockingIOError:
        return 1
    except OSError:
        return None  # the thread finds the same error
    awaited = _length_of_request(data) if data else None
    if awaited is None or conn.sock.is_continued or not _EXPECT.search(data, 0, data.find(b"\r\n\r\n") + 2):
        return awaited
    number = 1 if conn.parser is None else conn.parser.req_count + 1
    try:
        request = PlainRequest(conn.cfg, IterUnreader([data]), conn.client, number)
    except Exception:  # the thread rejects it with the same error
        return None
    if request._expected_100_continue:  # not by a client of HTTP/1.0
        conn.sock.send_continue()
    return awaited


def has_head(conn: Any) -> bool:
    """Return whether the head of a request has arrived on a connection that no thread reads."""
    try:
        return b"\r\n\r\n" in socket.socket.recv(conn.sock, AWAITED, _PEEK)
    except OSError:
        return False


def _length_of_request(data: bytes) -> int | None:
    """Return the number of bytes to await of a request that begins with these, or None if they suffice."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return len(data) + 1 if len(data) < AWAITED else None
    if data.startswith(b"GET "):
        return None
    length = _LENGTH.search(data, 0, end + 2)
    if length is not None:
        whole = end + 4 + int(length[1])
    elif _CHUNKED.search(data, 0, end + 2):
        whole = _length_of_chunks(data, end + 4)
    else:
        return None
    whole = min(whole, AWAITED)
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
