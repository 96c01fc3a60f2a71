"""Below Flask: what is done to every request and answer of the app as WSGI middleware.

The first request of a process starts its background worker.

Every answer says in `X-Request-Id` which request it answers, and so do our logs. Added here, no answer is without it,
whoever made it, and it costs a third of what an `after_request` function does.
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote_from_bytes

from flask import Flask, Request

from flask_convex_http.web.matching import headers_of_405, settle_slashes
from flask_convex_http.worker.background import BackgroundWorker

HEADER = "X-Request-Id"
_KEPT = "flask_convex_http.request_id"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)

_ASCII = bytes(range(128))

Environ = dict[str, Any]


class Middleware:
    """A WSGI application with request ids, and with query strings that Werkzeug can read.

    Args:
        app: The Flask app.
        background: The worker to be started in a process that serves.
    """

    def __init__(self, app: Flask, background: BackgroundWorker) -> None:
        self._app = app
        self._background = background
        self._wsgi_app = app.wsgi_app

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._background.pid != os.getpid():
            self._background.ensure()
        identity = _identity(environ)
        query = environ.get("QUERY_STRING", "")
        if not query.isascii():  # Werkzeug fails on bytes that are not UTF-8, but not when they are escaped
            environ["QUERY_STRING"] = quote_from_bytes(query.encode("latin-1"), safe=_ASCII)

        if "//" in environ.get("PATH_INFO", ""):
            settle_slashes(self._app)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            if status.startswith("405"):
                headers = headers_of_405(self._app, headers)
            headers.append((HEADER, identity))
            return start_response(status, headers, *more)

        return self._wsgi_app(environ, start)


def request_id(request: Request) -> str:
    """The request's id: the one that came with it if it is well formed, else a new one of 16 hex digits."""
    return _identity(request.environ)


def _start_counting() -> None:
    """Ids of a process start at a random number, so that those of two processes do not meet; then they count."""
    global _next
    _next = map("{:016x}".format, itertools.count(random.SystemRandom().getrandbits(63))).__next__


_next: Callable[[], str]
_start_counting()
os.register_at_fork(after_in_child=_start_counting)


def _identity(environ: Environ) -> str:
    kept: str | None = environ.get(_KEPT)
    if kept is None:
        incoming = environ.get("HTTP_X_REQUEST_ID")
        kept = incoming if incoming and _WELL_FORMED.fullmatch(incoming) else _next()
        environ[_KEPT] = kept
    return kept
