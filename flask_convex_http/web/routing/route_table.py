"""The routes of a router: their rules, the names of their endpoints, and which paths and methods are in use."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

from flask import Blueprint

from flask_convex_http.errors import RegistrationError
from flask_convex_http.web.handlers.route_checks import REGISTERED
from flask_convex_http.web.matching import CORS, rule_of
from flask_convex_http.web.routing.routes import Route
from flask_convex_http.web.routing.views import cors_applier, preflight_view


class RouteTable:
    """The routes of a router.

    Args:
        router: The router, to which the rules are added.

    Attributes:
        routes: The routes, in the order in which they were added.
    """

    def __init__(self, router: Blueprint) -> None:
        self._router = router
        self.routes: list[Route] = []
        self._endpoints: set[str] = set()
        self._taken: dict[tuple[str, str], str] = {}

    def add(self, route: Route, view: Callable[..., Any], options: dict[str, Any]) -> None:
        """Add a route to the router.

        Args:
            route: The route.
            view: The view.
            options: Options of `flask.Blueprint.add_url_rule`.
        """
        if route.cors is not None:
            view.__dict__[CORS] = cors_applier(route.cors, route.methods, takes=route.takes, sends=route.sends)
        rule, defaults = rule_of(route.path)
        self._router.add_url_rule(
            rule,
            route.endpoint,
            view,
            methods=route.methods,
            provide_automatic_options=False,
            merge_slashes=False,
            strict_slashes=True,
            **({"defaults": defaults | options.pop("defaults", {})} if defaults else {}),
            **options,
        )
        self.routes.append(route)
        self._endpoints.add(route.endpoint)
        self._taken.update({(route.path, method): route.endpoint for method in route.methods})

    def endpoint(self, handler: Callable[..., Any] | None, endpoint: str | None) -> str:
        """Return the name of the endpoint of a handler.

        Args:
            handler: The handler. One that has a route already gets another name.
            endpoint: The name that the application gives, or None.

        Raises:
            RegistrationError: Another handler has the name.
        """
        name = str(endpoint or getattr(handler, "__name__", "handler"))
        if name not in self._endpoints:
            return name
        if endpoint is None and hasattr(handler, REGISTERED):
            return self._numbered(name)
        raise RegistrationError(
            f"The endpoint {name!r} of {self._router.name!r} is taken; rename the function or pass endpoint="
        )

    def endpoint_of_path(self, path: str, endpoint: str | None) -> str:
        """Return the endpoint of a webhook with handlers for types, whose names say nothing about all of them."""
        name = endpoint or re.sub(r"\W+", "_", path).strip("_") or "webhook"
        if name not in self._endpoints or endpoint is not None:
            return self.endpoint(None, name)
        return self._numbered(name)

    def _numbered(self, name: str) -> str:
        return next(more for number in itertools.count(2) if (more := f"{name}_{number}") not in self._endpoints)

    def check_free(self, path: str, methods: tuple[str, ...]) -> None:
        """Check that a path has no handler yet for any of the methods.

        Raises:
            RegistrationError: It has one.
        """
        for method in methods:
            taken = self._taken.get((path, method))
            if taken is not None:
                raise RegistrationError(
                    f"{method} {path} is registered already, for {taken!r}; a path has one handler for a method"
                )

    def add_preflights(self) -> None:
        """Add a route for preflights to each path that has a CORS policy and no OPTIONS handler."""
        by_path: dict[str, list[Route]] = {}
        for route in self.routes:
            by_path.setdefault(route.path, []).append(route)
        for number, (path, routes) in enumerate(by_path.items()):
            if any(route.cors for route in routes) and not any("OPTIONS" in route.methods for route in routes):
                preflight = Route(path, ("OPTIONS",), f"cors_preflight_{number}", None)
                self.add(preflight, preflight_view(routes), {})
