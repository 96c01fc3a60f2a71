"""Forgeries of a flood are rejected before Flask.

In a flood the rejections of a webhook are only counted, but for one each second (`inbox.rejections`). A counted one
leaves nothing but its response. Flask's own work on it takes longer than the check of its signature, so the check comes
first here. Everything that could make a difference to the application or the client goes through Flask as ever: a
delivery that verifies, or whose key must be fetched first, an app with code of its own for each request (`own_code`), a
provider of the application, a request with a cookie, a chunked body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Request

from flask_convex_http.backend import Backend
from flask_convex_http.errors import VerificationError
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.telemetry import DeliveryRejected
from flask_convex_http.web.observed import note_route
from flask_convex_http.web.requests.limits import Limits
from flask_convex_http.web.requests.request_ids import id_of
from flask_convex_http.web.responses.responses import has_own_handler
from flask_convex_http.web.route_names import END, route_name
from flask_convex_http.web.state import backend_of
from flask_convex_http.web.webhooks.early_bodies import early_body
from flask_convex_http.web.webhooks.own_code import has_receivers, runs_own_code
from flask_convex_http.web.webhooks.rejected_deliveries import send_rejection
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import Delivery
from flask_convex_http.webhooks.headers import WsgiHeaders
from flask_convex_http.webhooks.verification import authenticate

Environ = dict[str, Any]

#: The app's `FloodGate`. An app with other WSGI middleware below the package's has none.
_FLOODS = "convex_http_floods"
_PACKAGE = __name__.partition(".")[0] + "."
#: The variables of requests for which Flask, the view or the test client does more.
_UNUSUAL = ("HTTP_COOKIE", "HTTP_CONTENT_ENCODING", "HTTP_UPGRADE", "werkzeug.debug.preserve_context")
#: The variables on which the route of a request depends, besides its path.
_PLACE = ("SCRIPT_NAME", "wsgi.url_scheme", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT")
_MOST_PLACES = 200


@dataclass(frozen=True, slots=True)
class _Flood:
    """A webhook with a flood.

    Attributes:
        webhook: The webhook.
        route: The name of its route.
        limits: The limits of its body.
        places: The hosts, schemes and so on with which Flask has routed its path to it.
    """

    webhook: Webhook
    route: str
    limits: Limits
    places: set[tuple[Any, ...]] = field(default_factory=set)


class FloodGate:
    """A WSGI application directly around Flask's own, which rejects the forgeries of a flood.

    Args:
        app: The Flask app.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._wsgi_app = app.wsgi_app
        self._floods: dict[str, _Flood] = {}
        self._passes: dict[str, bool] = {}

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Handle one request."""
        flood = self._floods.get(environ.get("PATH_INFO", ""))
        if flood is not None and environ["REQUEST_METHOD"] == "POST":
            error = self._forgery(flood, environ)
            if error is not None:
                return send_rejection(environ, start_response, error)
        return self._wsgi_app(environ, start_response)

    def note(self, webhook: Webhook, request: Request, limits: Limits) -> None:
        """Note a rejection that Flask has routed, after which further ones may be only counted."""
        if not (request.view_args or {}).keys() <= {END}:
            return  # each of its paths would be noted, and a converter of the application may read its variables
        endpoint = request.endpoint or ""
        passes = self._passes.get(endpoint)
        if passes is None:
            passes = self._passes[endpoint] = self._must_pass(endpoint, webhook, request)
        if passes or not backend_of(self._app).rejections.is_flooded(webhook.source):
            return
        route = "" if request.url_rule is None else route_name(request.url_rule.rule)
        flood = self._floods.setdefault(request.environ["PATH_INFO"], _Flood(webhook, route, limits))
        if flood.webhook is not webhook:  # another host has another webhook at this path
            return
        if len(flood.places) >= _MOST_PLACES:  # a client may send any host
            flood.places.clear()
        flood.places.add(_place_of(request.environ))

    def _must_pass(self, endpoint: str, webhook: Webhook, request: Request) -> bool:
        """Return whether Flask must see each delivery of a webhook."""
        provider = webhook.provider
        if webhook.tenant is not None or not type(provider).__module__.startswith(_PACKAGE):
            return True
        error = VerificationError("no-match", "")
        return has_own_handler(self._app, request, error) or runs_own_code(self._app, endpoint)

    def _forgery(self, flood: _Flood, environ: Environ) -> VerificationError | None:
        """Count a forgery and return why it is one, or return None for a request that Flask must see."""
        backend, webhook = backend_of(self._app), flood.webhook
        if not backend.rejections.is_flooded(webhook.source) or has_receivers():
            return None
        if _place_of(environ) not in flood.places or any(map(environ.__contains__, _UNUSUAL)):
            return None
        body = early_body(environ, flood.limits.body_bytes(self._app, backend.settings))  # of now: they may change
        if body is None:
            return None
        try:
            delivery = Delivery(WsgiHeaders(environ), body, backend.clock(), may_fetch=False)
            error = _forgery(webhook.provider, delivery)
        except Exception:  # it is raised again in the view, or the view fetches a key
            return None
        if error is None:
            return None
        backend.rejections.count(webhook.source, error.reason)
        if backend.telemetry.is_on:
            _observe(backend, flood, environ, error)
        return error


def open_gate(app: Flask) -> None:
    """Put the gate around Flask's own WSGI application, unless there is another one already."""
    if "wsgi_app" not in vars(app):
        app.extensions[_FLOODS] = app.wsgi_app = FloodGate(app)  # type: ignore[method-assign]


def note_rejection(app: Flask, webhook: Webhook, request: Request, limits: Limits) -> None:
    """Note a rejected delivery, whose error the application does not handle itself.

    Args:
        app: The app.
        webhook: The webhook.
        request: The request.
        limits: The limits of its body.
    """
    gate: FloodGate | None = app.extensions.get(_FLOODS)
    if gate is not None:
        gate.note(webhook, request, limits)


def _place_of(environ: Environ) -> tuple[Any, ...]:
    return tuple(map(environ.get, _PLACE))


def _forgery(provider: Provider, delivery: Delivery) -> VerificationError | None:
    """Return why a delivery is rejected, or None if it is not, or perhaps not."""
    error = authenticate(provider, provider.current_keys(), delivery)
    if type(error) is not VerificationError:
        return None
    if not provider.greets:
        return error
    # A provider looks for its handshake in a request without a signature, and may then do more than to respond.
    return error if error.reason == "no-match" and provider.unsigned_handshake(delivery) is None else None


def _observe(backend: Backend, flood: _Flood, environ: Environ, error: VerificationError) -> None:
    note_route(environ, flood.route)
    webhook = flood.webhook
    backend.telemetry.publish(DeliveryRejected(webhook.source, webhook.provider.name, error.reason, id_of(environ)))
