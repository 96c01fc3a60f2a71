"""Refuse Flask-CORS on a router or a handler, where browsers would get no response to a preflight.

A route matches its own methods only, so that its guards run for each of them. Flask-CORS would need OPTIONS among them.
On the whole app it works, and routes with a policy of their own are not concerned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask_convex_http.errors import RegistrationError
from flask_convex_http.web.routing.routes import Route


def refuse_cross_origin(handler: Callable[..., Any], path: str) -> None:
    """Refuse `@cross_origin` on the handler of a route without a policy.

    Args:
        handler: The handler.
        path: The path of its route.

    Raises:
        RegistrationError: It has the decorator.
    """
    if "OPTIONS" not in getattr(handler, "required_methods", ()):  # which cross_origin sets, for Flask
        return
    raise RegistrationError(
        f"@cross_origin on {getattr(handler, '__name__', 'a handler')} does not respond to preflights here; write "
        f'cors=... on the route {path} instead: cors="https://app.example" or cors=Cors(origins=..., credentials=True)'
    )


def refuse_cors_of_router(after_request: Iterable[Callable[..., Any]], routes: Iterable[Route]) -> None:
    """Refuse `CORS(router)` if a route of the router has no policy.

    Args:
        after_request: The functions of the router that run after each request.
        routes: Its routes.

    Raises:
        RegistrationError: One of the functions is of Flask-CORS.
    """
    if not any(function.__module__.startswith("flask_cors.") for function in after_request):
        return
    bare = next((route for route in routes if route.operation is not None and route.cors is None), None)
    if bare is not None:
        raise RegistrationError(
            f"CORS(router) does not respond to preflights, such as that of {bare.path}; write HttpRouter(..., "
            'cors="https://app.example") or cors=Cors(...) instead, or CORS(app) for the whole app'
        )
