"""Publish requests, while telemetry is on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask_convex_http.telemetry import RequestFinished, RequestScope, Telemetry
from flask_convex_http.telemetry.requests import status_of
from flask_convex_http.web.route_names import route_name

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Handle = Callable[[Environ, StartResponse, str, RequestScope], Iterable[bytes]]

#: The scope of a request that is observed.
_SCOPE_KEY = "flask_convex_http.scope"
#: Where Flask's request is until the request context ends.
_REQUEST_KEY = "werkzeug.request"
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


def observe(
    telemetry: Telemetry, handle: Handle, environ: Environ, start_response: StartResponse, request_id: str
) -> Iterable[bytes]:
    """Handle a request, and publish its end.

    Args:
        telemetry: Receives the end.
        handle: Handles the request, and passes the start of its response to `note_start`.
        environ: The WSGI environment.
        start_response: As in WSGI.
        request_id: The id of the request.
    """
    method = environ["REQUEST_METHOD"]
    scope = telemetry.enter_request(method if method in _METHODS else "_OTHER", request_id, environ)
    environ[_SCOPE_KEY] = scope
    try:
        return handle(environ, start_response, request_id, scope)
    except BaseException as error:
        scope.error = error
        raise
    finally:
        seconds, groups = telemetry.leave(scope), telemetry.groups
        if groups is not None and scope.error is None and scope.status is not None:
            groups.add(scope, seconds)
        else:
            _publish(telemetry, scope, seconds)


def note_start(scope: RequestScope, environ: Environ, line: str) -> None:
    """Note the status line of the response, and the route while Flask has the request."""
    scope.status = line
    rule = getattr(environ.get(_REQUEST_KEY), "url_rule", None)  # a test client leaves a request without one there
    if rule is not None:
        scope.route = route_name(rule.rule)


def note_route(environ: Environ, route: str, *, is_health_check: bool = False) -> None:
    """Note the route of a request that Flask does not route, if the request is observed."""
    scope: RequestScope | None = environ.get(_SCOPE_KEY)
    if scope is not None:
        scope.route, scope.is_health_check = route, is_health_check


def note_error(environ: Environ, error: BaseException) -> None:
    """Note the exception that the response of a request stands for, if the request is observed."""
    scope: RequestScope | None = environ.get(_SCOPE_KEY)
    if scope is not None:
        scope.error = error


def note_handover(environ: Environ) -> None:
    """Note that the connection of a request has left the server, which then gets an exception and no response."""
    scope: RequestScope | None = environ.get(_SCOPE_KEY)
    if scope is not None:
        note_start(scope, environ, "101")
        scope.is_handed_over = True


def _publish(telemetry: Telemetry, scope: RequestScope, seconds: float) -> None:
    error, scope.error = scope.error, None  # its traceback has frames with the scope
    status = 0 if scope.status is None else status_of(scope.status)
    status = status or (200 if error is None else 500)
    if scope.is_handed_over:
        error = None
    event = RequestFinished(scope, scope.name, scope.route, status, seconds, error, scope.is_of_operators)
    telemetry.publish(event)
