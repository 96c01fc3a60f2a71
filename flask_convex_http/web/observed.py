"""Publish requests, while telemetry is on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask_convex_http.telemetry import RequestFinished, Telemetry
from flask_convex_http.web.requests.request_ids import id_of

Environ = dict[str, Any]
WsgiApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

#: The exception that the response of a request stands for. The key is there while the request is observed.
_ERROR_KEY = "flask_convex_http.error"
#: Where the dashboard and the metrics are.
_OPERATORS_PREFIX = "/_convex"
#: Is there for a health check.
_OPERATORS_KEY = "flask_convex_http.of_operators"
#: The status line of its response.
_STATUS_KEY = "flask_convex_http.status"
#: The rule of a request's route.
ROUTE_KEY = "flask_convex_http.route"
#: Is there when the connection has left the server.
_HANDED_OVER_KEY = "flask_convex_http.handed_over"
#: Where Flask's request is until the request context ends.
_REQUEST_KEY = "werkzeug.request"
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


def observe(
    telemetry: Telemetry, app: WsgiApp, environ: Environ, start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """Pass a request to a WSGI application, and publish its end."""
    scope = telemetry.enter("request", _method(environ), id_of(environ), carrier=environ)
    error = None
    environ[_ERROR_KEY] = environ[_STATUS_KEY] = None
    try:
        return app(environ, start_response)
    except BaseException as raised:
        error = raised
        raise
    finally:
        seconds = telemetry.leave(scope)
        line = environ.pop(_STATUS_KEY, None)
        status = int(line[:3]) if line else 0
        if _HANDED_OVER_KEY in environ:
            status, error = 101, None
        noted = environ.pop(_ERROR_KEY, None)
        error = noted if error is None else error
        status = status or (200 if error is None else 500)
        route = environ.get(ROUTE_KEY)
        is_of_operators = _OPERATORS_KEY in environ or (route is not None and route.startswith(_OPERATORS_PREFIX))
        telemetry.publish(RequestFinished(scope, scope.name, route, status, seconds, error, is_of_operators))
        error = noted = None  # its traceback has this frame


def note_start(environ: Environ, line: str) -> None:
    """Note the status line of the response, and the route while Flask has the request."""
    environ[_STATUS_KEY] = line
    _note_route(environ)


def note_health_check(environ: Environ, path: str) -> None:
    """Note that a request is a health check, which Flask does not route."""
    environ[ROUTE_KEY], environ[_OPERATORS_KEY] = path, True


def note_error(environ: Environ, error: BaseException) -> None:
    """Note the exception that the response of a request stands for, if the request is observed."""
    if _ERROR_KEY in environ:
        environ[_ERROR_KEY] = error


def note_handover(environ: Environ) -> None:
    """Note that the connection of a request has left the server, which then gets an exception and no response."""
    environ[_HANDED_OVER_KEY] = True
    _note_route(environ)


def _method(environ: Environ) -> str:
    method: str = environ["REQUEST_METHOD"]
    return method if method in _METHODS else "_OTHER"


def _note_route(environ: Environ) -> None:
    rule = getattr(environ.get(_REQUEST_KEY), "url_rule", None)  # a test client leaves a request without one there
    if rule is not None:
        environ[ROUTE_KEY] = rule.rule
