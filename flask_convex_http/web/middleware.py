"""WSGI middleware around the Flask app.

It starts the background worker with the first request of a process, and makes query strings and chunked bodies safe for
Werkzeug. It adds `X-Request-Id` to every response, at a third of the cost of an `after_request` function. In a response
with status 405 it sets the route's CORS headers. If that is a preflight that flask-cors on the whole app allows, the
status is 204.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote_from_bytes

from flask import Flask, has_request_context
from flask.logging import default_handler

from flask_convex_http.log import formats_all_lines, show_unless_configured
from flask_convex_http.telemetry import RequestScope, Telemetry
from flask_convex_http.web.matching import cors_headers_of_405, preflight_headers
from flask_convex_http.web.observed import note_start, observe
from flask_convex_http.web.requests.body_streams import ChunkedStream
from flask_convex_http.web.requests.request_ids import HEADER, id_of
from flask_convex_http.worker import BackgroundWorker

_ASCII = bytes(range(128))

Environ = dict[str, Any]


class Middleware:
    """A WSGI application around Flask's own.

    Args:
        app: The Flask app.
        background: The worker to start with the first request.
        telemetry: Receives an event for each request.
    """

    def __init__(self, app: Flask, background: BackgroundWorker, telemetry: Telemetry) -> None:
        self._app = app
        self._background = background
        self._telemetry = telemetry
        self._wsgi_app = app.wsgi_app

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Handle one request."""
        if self._background.pid != os.getpid():
            if not self._app.testing:
                _show_lines(self._app)  # by now the application has configured logging, if it ever does
            self._background.ensure()
        identity = id_of(environ)
        if self._telemetry.is_on:
            return observe(self._telemetry, self._handle, environ, start_response, identity)
        return self._handle(environ, start_response, identity)

    def _handle(
        self, environ: Environ, start_response: Callable[..., Any], identity: str, scope: RequestScope | None = None
    ) -> Iterable[bytes]:
        query = environ.get("QUERY_STRING", "")
        if not query.isascii():  # Werkzeug fails on bytes that are not UTF-8 unless they are escaped
            environ["QUERY_STRING"] = quote_from_bytes(query.encode("latin-1"), safe=_ASCII)

        if "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input"] = ChunkedStream(environ["wsgi.input"])
        is_preflight = False

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            nonlocal is_preflight
            if status.startswith("405") and has_request_context():  # else it is of a WSGI application before Flask
                headers = cors_headers_of_405(self._app, headers)
                allowed = preflight_headers(headers)
                if allowed is not None:
                    is_preflight, status, headers = True, "204 NO CONTENT", allowed
            headers.append((HEADER, identity))
            if scope is not None:
                note_start(scope, environ, status)
            return start_response(status, headers, *more)

        body = self._wsgi_app(environ, start)
        return _closed(body) if is_preflight else body


def _show_lines(app: Flask) -> None:
    """Show log lines, unless the application has configured logging; in JSON also those of the app's own logger."""
    show_unless_configured()
    if formats_all_lines():
        app.logger.removeHandler(default_handler)


def _closed(body: Iterable[bytes]) -> Iterable[bytes]:
    """Close the body of a response whose status allows none."""
    close = getattr(body, "close", None)
    if close is not None:
        close()
    return ()
