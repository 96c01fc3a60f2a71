"""The request that opens a WebSocket, as a WSGI server has parsed it."""

from __future__ import annotations

from typing import Any

Environ = dict[str, Any]

#: The headers of RFC 6455. Extensions are left out: compression would hold tens of kilobytes for each connection.
_HEADERS = (
    ("HTTP_HOST", "Host"),
    ("HTTP_ORIGIN", "Origin"),
    ("HTTP_SEC_WEBSOCKET_KEY", "Sec-WebSocket-Key"),
    ("HTTP_SEC_WEBSOCKET_VERSION", "Sec-WebSocket-Version"),
)


def is_upgrade(environ: Environ) -> bool:
    """Return whether a request asks for a WebSocket."""
    connection = environ.get("HTTP_CONNECTION", "").lower()
    return environ.get("HTTP_UPGRADE", "").lower() == "websocket" and "upgrade" in connection


def request_head(environ: Environ) -> bytes:
    """Return the request as the client has sent it, as far as the handshake needs it."""
    lines = ["GET / HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade"]
    for key, name in _HEADERS:
        value = environ.get(key)
        if value:
            lines.append(f"{name}: {' '.join(str(value).split())}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
