"""The handover of a connection from a WSGI server to an event loop, so that an idle client holds no thread.

The server goes on to own a descriptor of the same number, behind which there is now a socket without a peer. It shuts
that down and closes it at the end of the request, as it would the client's. gunicorn's gthread and Werkzeug's server,
which `flask run` uses, put the socket into the environ. A connection whose TLS ends in the server itself cannot be
handed over, since its keys are in the server's own object.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

from flask_convex_http.web.observed import note_handover

Environ = dict[str, Any]

#: For each server: the key of the socket in the environ, and the exception that ends a request without a response.
_SERVERS: dict[str, Callable[[], BaseException]] = {
    "gunicorn.socket": StopIteration,
    "werkzeug.socket": lambda: ConnectionError("The connection was handed over"),
}


#: gunicorn sets this for a request over HTTP/2.
_HTTP2 = "gunicorn.http2.send_trailers"


def can_hand_over(environ: Environ) -> bool:
    """Return whether the server lends its socket to the application."""
    return _found(environ) is not None


def take_socket(environ: Environ) -> tuple[socket.socket, BaseException]:
    """Take the connection of a request from its server.

    Args:
        environ: The WSGI environ of a request for which `can_hand_over` is true, and whose body is empty.

    Returns:
        The connection, and the exception to raise from the WSGI application so that the server sends nothing.

    Raises:
        OSError: No descriptor is left. The request is still the server's.
    """
    key = _found(environ)
    assert key is not None
    lent: socket.socket = environ[key]
    taken = socket.socket(lent.family, lent.type, lent.proto, fileno=os.dup(lent.fileno()))
    try:
        _replace(lent)
    except BaseException:
        taken.close()
        raise
    note_handover(environ)
    taken.setblocking(False)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)  # the gunicorn worker may have set another
    return taken, _SERVERS[key]()


def _found(environ: Environ) -> str | None:
    if _HTTP2 in environ:  # other requests use the connection too
        return None
    for key in _SERVERS:
        lent = environ.get(key)
        if isinstance(lent, socket.socket) and not isinstance(lent, ssl.SSLSocket):
            return key
    return None


def _replace(lent: socket.socket) -> None:
    """Let the server's descriptor mean a socket without a peer."""
    near, far = socket.socketpair()
    with near, far:
        os.dup2(near.fileno(), lent.fileno(), inheritable=False)
