"""Serve the function API of an app.

The last part of a rule is a variable with the lowest rank, which matches one name. So a route of the app under `/api/`
wins, by its exact path and by its prefix.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flask import Flask, Request, Response, request
from flask.signals import got_request_exception
from werkzeug.routing import BaseConverter, Map

from flask_convex_http.backend import Backend
from flask_convex_http.function_api.calls import Calls
from flask_convex_http.function_api.missing_sync import MissingSync
from flask_convex_http.function_api.options import FunctionApi
from flask_convex_http.function_api.surface import Surface
from flask_convex_http.function_api.views import KINDS, Body, Views, respond
from flask_convex_http.web.cors import Cors, allow_everyone, cors_policy
from flask_convex_http.web.matching import CORS, END, NAMED, RestConverter, prepare
from flask_convex_http.web.routing.views import cors_applier

#: The app's `Surface`, in its extensions.
SURFACE = "convex_http_function_api"
View = Callable[[Request], Body]
_RUN = "run/"


class _NamedEndpoint(BaseConverter):
    """Matches the name of an endpoint if no rule of the app matches it.

    Args:
        url_map: The app's rules.
        name: The name. After a slash at its end, anything follows.
    """

    part_isolating = False
    weight = 20_000

    def __init__(self, url_map: Map, name: str) -> None:
        super().__init__(url_map)
        self.regex = re.escape(name) + (RestConverter.regex if name.endswith("/") else "")


@dataclass(frozen=True, slots=True)
class Served:
    """The function API of an app, for parts of the package that add to it.

    Attributes:
        surface: The functions.
        views: The views.
        routes: Adds further endpoints.
        prefix: The path before `/api/`.
    """

    surface: Surface
    views: Views
    routes: Routes
    prefix: str


def serve(app: Flask, backend: Backend, options: FunctionApi) -> Served:
    """Add the endpoints to an app.

    Args:
        app: The app.
        backend: Its backend.
        options: The options.

    Raises:
        RegistrationError: Two names are one on the wire.
    """
    prepare(app)
    app.url_map.converters.setdefault(NAMED, _NamedEndpoint)
    surface = Surface(backend.functions, options.casing)
    for table in backend.schema.tables.values():
        if not table.system:
            surface.decoders.of(table.document)  # refuses fields that would collide
    app.extensions[SURFACE] = surface

    def report(error: Exception) -> None:
        got_request_exception.send(app, exception=error)

    calls = Calls(surface, backend.runtime, lambda: app.debug, report)
    views = Views(app, backend, calls, f"flask-convex-http {importlib.metadata.version('flask-convex-http')}")
    routes = Routes(app, options)
    routes.add_all(views)
    routes.add_sync(app, backend, calls)
    return Served(surface, views, routes, options.prefix)


class Routes:
    """Adds rules with their views, preflights and CORS headers."""

    def __init__(self, app: Flask, options: FunctionApi) -> None:
        self._app = app
        self._prefix = options.prefix
        self._cors = cors_policy(options.cors, None)

    def add_all(self, views: Views) -> None:
        """Add every endpoint."""
        self.add_below("query", {"GET": views.get_query, "POST": partial(views.call, "query")})
        for kind in KINDS[1:]:
            self.add_below(kind, {"POST": partial(views.call, kind)})
        for name in ("function", "query_batch", "query_ts", "query_at_ts"):
            self.add_below(name, {"POST": getattr(views, name)})
        self.add_below(_RUN, {"POST": lambda current: views.run(_rest_of_path(current), current)})
        self._add(f"/version<{END}:{END}>", "version", {"GET": views.version})

    def add_below(self, name: str, methods: dict[str, View]) -> None:
        """Add an endpoint below `/api/`.

        Args:
            name: Its name. After a slash at its end, anything follows.
            methods: Its views by method.
        """
        self._add(f"/api/<{NAMED}({name!r}):{END}>", name.strip("/"), methods)

    def add_sync(self, app: Flask, backend: Backend, calls: Calls) -> None:
        """Add the sync protocol, or refusals if its package is missing."""
        view = self._sync_view(app, backend, calls)
        places = itertools.product(("/api", "/api/<version>"), (True, False))
        for path, is_websocket in places:  # Werkzeug tells the requests that ask for one from others
            app.add_url_rule(
                f"{self._prefix}{path}/<{NAMED}('sync'):{END}>",
                "convex_sync",
                view,
                methods=["GET"],
                provide_automatic_options=False,
                websocket=is_websocket,
                merge_slashes=False,
                strict_slashes=True,
            )

    def _sync_view(self, app: Flask, backend: Backend, calls: Calls) -> Callable[..., Response]:
        if importlib.util.find_spec("websockets") is None:
            return MissingSync(app).sync
        from flask_convex_http.sync.serving import sync_views

        return sync_views(app, backend, calls, self._cors).sync

    def _add(self, path: str, endpoint: str, methods: dict[str, View]) -> None:
        app, applier = self._app, cors_applier(self._cors, list(methods)) if self._cors is not None else None
        is_open = self._cors == Cors()
        by_method = methods | ({"HEAD": methods["GET"]} if "GET" in methods else {})

        def view(**values: str) -> Response:
            current: Request = request._get_current_object()  # type: ignore[attr-defined]  # not its proxy
            called = by_method.get(current.method)
            if called is None:
                response = app.response_class(status=204)
                response.headers.remove("Content-Type")
                response.headers["Allow"] = ", ".join((*methods, "OPTIONS"))
            else:
                response = respond(app, called, current)
                if is_open:
                    return allow_everyone(response)
            return response if applier is None else applier(response)

        if applier is not None:
            setattr(view, CORS, applier)
        app.add_url_rule(
            f"{self._prefix}{path}",
            f"convex_function_api_{endpoint}",
            view,
            methods=[*methods, "OPTIONS"],
            provide_automatic_options=False,
            merge_slashes=False,
            strict_slashes=True,
        )


def _rest_of_path(current: Request) -> str:
    """Return what follows `/api/run/` in the path of a request."""
    values = current.view_args or {}
    return str(values[END]).removeprefix(_RUN)
