"""Add what Convex's command line asks for to the function API of an app."""

from __future__ import annotations

import functools
from typing import Any

from flask import Flask, Request

from flask_convex_http.backend import Backend
from flask_convex_http.convex_cli.log_stream import LogStream
from flask_convex_http.convex_cli.refusals import ENDPOINTS, refusal_of
from flask_convex_http.convex_cli.tables import table_queries
from flask_convex_http.function_api.failures import ProtocolError
from flask_convex_http.function_api.serving import Served, View
from flask_convex_http.functions.function import QueryFunction
from flask_convex_http.runtime import QueryCtx, caller_of
from flask_convex_http.web.route_names import is_of_package, route_name


def serve(app: Flask, backend: Backend, api: Served) -> None:
    """Add the queries, and refuse the operations that a Flask app does not have.

    Args:
        app: The app.
        backend: Its backend.
        api: Its function API.
    """
    encoders = api.surface.encoders["encoded"]
    queries = table_queries(backend.schema, encoders) | _description_queries(app, backend, api)
    for name, query in queries.items():
        query.name = name
        query.bind(backend.schema)
    api.surface.add_system(queries.values(), refusal_of)
    logs = LogStream(backend, api.surface.casing, functools.cache(lambda: _own_routes(app)))
    api.routes.add_below("stream_function_logs", {"GET": _administrative(api, logs.respond)})
    for name, text in ENDPOINTS.items():
        view = _refusing(api, text)
        api.routes.add_below(name, {"GET": view, "POST": view})


def _own_routes(app: Flask) -> frozenset[str]:
    """Return the routes of the function API that no route of the application hides."""
    rules = {rule.rule for rule in app.url_map.iter_rules()}
    return frozenset(route_name(rule) for rule in rules if is_of_package(rule)) - rules


def _description_queries(app: Flask, backend: Backend, api: Served) -> dict[str, QueryFunction[..., Any]]:
    """Return the queries that describe the deployment, by their names."""

    def api_spec(ctx: QueryCtx) -> list[Any]:
        from flask_convex_http.convex_cli.function_spec import api_spec as described

        return described(app, backend, api.surface.casing)

    def url(ctx: QueryCtx) -> str:
        return f"{caller_of(ctx).site()}{api.prefix}"

    def site_url(ctx: QueryCtx) -> str:
        return caller_of(ctx).site()

    def imports(ctx: QueryCtx) -> list[Any]:
        return []  # so that the command line goes on to the endpoint that refuses imports, whose message it prints

    functions = {
        "modules:apiSpec": api_spec,
        "convexUrl:cloudUrl": url,
        "convexUrl:siteUrl": site_url,
        "queryImport:list": imports,
    }
    return {f"_system/cli/{name}": QueryFunction(function, public=False) for name, function in functions.items()}


def _refusing(api: Served, text: str) -> View:
    """Return a view that tells administrators why an operation is refused."""

    def refuse(current: Request) -> Any:
        raise ProtocolError(403, "NotSupported", text)

    return _administrative(api, refuse)


def _administrative(api: Served, view: View) -> View:
    """Return a view for administrators only."""

    def checked(current: Request) -> Any:
        api.views.check_administrator(current)
        return view(current)

    return checked
