"""The routes of the routers of an app."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Flask

from flask_convex_http.web.files import files
from flask_convex_http.web.routing.router import HttpRouter
from flask_convex_http.web.routing.routes import Route


def app_routes(app: Flask) -> Iterator[tuple[str, Route]]:
    """Yield the routes of the application, each with the full name of its router."""
    for name, blueprint in app.blueprints.items():
        if isinstance(blueprint, HttpRouter) and blueprint is not files:
            yield from ((name, route) for route in blueprint.routes)
