"""`npx convex function-spec`: the functions with their types, and the routes, as Convex lists them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Flask

from flask_convex_http.backend import Backend
from flask_convex_http.codegen.api import callable_function
from flask_convex_http.codegen.reader import Reader
from flask_convex_http.convex_cli.validators import object_of, validator_of
from flask_convex_http.function_api.names import Casing
from flask_convex_http.functions.function import Function
from flask_convex_http.web.app_routes import app_routes
from flask_convex_http.web.matching import path_of

#: The methods that Convex's routers have.
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")


def api_spec(app: Flask, backend: Backend, casing: Casing) -> list[dict[str, Any]]:
    """Return the functions of an app, internal ones included, and then its routes.

    Args:
        app: The app.
        backend: Its backend.
        casing: The casing of names for clients.
    """
    reader = Reader(backend.schema, casing, for_javascript=True)
    return [*(_function(function, reader, casing) for function in backend.functions), *_routes(app)]


def _function(function: Function[Any, Any], reader: Reader, casing: Casing) -> dict[str, Any]:
    described = callable_function(function, reader, casing, for_javascript=True)
    *modules, name = described.path
    return {
        "identifier": f"{'/'.join(modules)}.js:{name}",
        "functionType": function.kind.capitalize(),
        "visibility": {"kind": "public" if function.public else "internal"},
        "args": object_of(described.arguments),
        "returns": validator_of(described.result),
    }


def _routes(app: Flask) -> Iterator[dict[str, Any]]:
    for name, route in app_routes(app):
        path = path_of(app, f"{name}.{route.endpoint}", route.path)
        for method in _METHODS:
            if method in route.methods:
                yield {"functionType": "HttpAction", "method": method, "path": path}
