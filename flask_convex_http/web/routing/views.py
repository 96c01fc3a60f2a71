"""The Flask views behind the routes of a router."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from flask import Flask, Request, Response, current_app, request

from flask_convex_http.backend import Backend
from flask_convex_http.web.cors import Cors, Policy, without_cors
from flask_convex_http.web.guards.auth import run_of
from flask_convex_http.web.guards.request_identity import request_auth
from flask_convex_http.web.handlers.operations import Operation
from flask_convex_http.web.handlers.readers import CONTENT_TYPES, read_variables
from flask_convex_http.web.matching import END, restore_leading_slashes
from flask_convex_http.web.requests.limits import Limits
from flask_convex_http.web.requests.request_ids import id_of
from flask_convex_http.web.requests.requests import has_body
from flask_convex_http.web.responses.responses import to_response
from flask_convex_http.web.routing.routes import Route
from flask_convex_http.web.state import backend_of, site_of
from flask_convex_http.web.webhooks.own_code import VIEW
from flask_convex_http.web.webhooks.webhooks import WebhookRoute

Applier = Callable[[Response], Response]


def handler_view(handler: Callable[..., Any], operation: Operation, limits: Limits) -> Callable[..., Response]:
    """Return the Flask view of a handler, which takes `(ctx, request, **variables)`."""
    is_prefix = operation.path.endswith("*")
    suffix_parameter = operation.suffix_name
    is_async = inspect.iscoroutinefunction(handler)
    has_end = operation.path.endswith("/")
    status, content_types = operation.status, operation.content_types
    guarded = run_of(handler)
    prepare = partial(_prepare, operation) if operation.needs_schema else None

    def view(**values: Any) -> Response:
        # each use of a proxy looks the object up again
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        current: Request = request._get_current_object()  # type: ignore[attr-defined]
        if current.environ["PATH_INFO"].startswith("//"):
            restore_leading_slashes(current, values)
        if has_end:
            del values[END]
        elif is_prefix:
            suffix = values.pop("suffix")
            if suffix_parameter is not None:
                values[suffix_parameter] = suffix
        backend = backend_of(app)
        if prepare is not None:
            prepare(backend, values)
        if has_body(current.environ):
            limits.apply(current, app, backend.settings)
            if content_types:
                current.environ[CONTENT_TYPES] = content_types
        if guarded is not None:
            return to_response(app, guarded(backend, current, **values), status)
        auth = request_auth(backend, current)
        ctx = backend.ctx(auth, site=lambda: site_of(current), request_id=id_of(current.environ))
        call = app.ensure_sync(handler) if is_async else handler
        return to_response(app, call(ctx, current, **values), status)

    view.__name__ = getattr(handler, "__name__", "view")
    view.__doc__ = handler.__doc__
    return view


def _prepare(operation: Operation, backend: Backend, values: dict[str, Any]) -> None:
    """Convert the variables of a path, with ids of the app's tables."""
    operation.bind(backend.schema)
    read_variables(operation.converters, values)


def webhook_view(
    webhook: WebhookRoute, limits: Limits, name: str, handler: Callable[..., Any] | None
) -> Callable[..., Response]:
    """Return the Flask view of a webhook.

    Args:
        webhook: The webhook.
        limits: The limits of its body.
        name: The name of its endpoint.
        handler: Its handler, or None if it has handlers for types.
    """

    def view(**values: Any) -> Response:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        current: Request = request._get_current_object()  # type: ignore[attr-defined]
        if current.environ["PATH_INFO"].startswith("//"):
            restore_leading_slashes(current, values)
        return webhook.receive(app, current, limits)

    view.__dict__[VIEW] = view
    view.__name__ = getattr(handler, "__name__", name)
    view.__doc__ = None if handler is None else handler.__doc__
    return view


def preflight_view(routes: Sequence[Route]) -> Callable[..., Response]:
    """Return the view for the preflights of a path, each with the policy of the method that it asks for.

    A method without a policy is left to flask-cors on the whole app. Other methods get the first policy.
    """
    appliers = {method: _preflight_applier(routes, route.cors) for route in routes for method in route.methods}
    default = next(appliers[route.methods[0]] for route in routes if route.cors)
    allow = ", ".join((*appliers, "OPTIONS"))

    def preflight(**values: Any) -> Response:
        response = current_app.response_class(status=204)
        response.headers.remove("Content-Type")
        response.headers["Allow"] = allow
        apply = appliers.get(request.headers.get("Access-Control-Request-Method", "").upper(), default)
        return response if apply is None else apply(response)

    return preflight


def _preflight_applier(routes: Sequence[Route], cors: Policy) -> Applier | None:
    alike = [route for route in routes if route.cors == cors]
    methods = [method for route in alike for method in route.methods]
    return (
        None if cors is None else cors_applier(cors, methods, takes=[name for route in alike for name in route.takes])
    )


def cors_applier(
    cors: Cors | Literal[False], methods: Sequence[str], *, takes: Sequence[str] = (), sends: Sequence[str] = ()
) -> Applier:
    """Return the function that adds a policy's headers to a response, or removes those of the whole app."""
    return cors.applier(methods, takes, sends) if cors else without_cors
