"""Convex's path matching in Werkzeug's rules.

Two converters keep Werkzeug from redirecting at a slash: one matches the end of an exact path that ends in a slash, one
matches the rest of a path after a prefix.
"""

from __future__ import annotations

import re
from typing import Any

from flask import Flask, Request, Response, abort, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, Rule
from werkzeug.wsgi import get_path_info

from flask_convex_http.web.cors import without_cors
from flask_convex_http.web.route_names import END as END
from flask_convex_http.web.route_names import NAMED as NAMED
from flask_convex_http.web.route_names import REST as REST

#: The attribute of a view with the function that adds its CORS headers to a response.
CORS = "convex_cors"
Headers = list[tuple[str, str]]
_ROOT_PREFIX = f"/<{REST}:suffix>"
_VARIABLE = re.compile(r"<(?:[^<>]*:)?([^<>:]+)>")


class EndConverter(BaseConverter):
    """Matches the empty string: the end of a path that ends in a slash."""

    regex = ""
    part_isolating = False
    weight = 0


class RestConverter(BaseConverter):
    """Matches the rest of a path: any text, also an empty one, with slashes and line breaks."""

    regex = r"[\s\S]*?"
    part_isolating = False
    weight = 10_000


def rule_of(path: str) -> tuple[str, dict[str, str]]:
    """Return the Werkzeug rule of a path, and the defaults that `url_for` needs to build it.

    Args:
        path: An exact path, or a prefix followed by `*`.
    """
    if path.endswith("/*"):
        return f"{path[:-1]}<{REST}:suffix>", {}
    if path.endswith("/"):
        return f"{path}<{END}:{END}>", {END: ""}
    return path, {}


def path_of(app: Flask, endpoint: str, path: str) -> str:
    """Return the path of a route in an app, with the prefixes of its blueprints.

    Args:
        app: The app.
        endpoint: The full endpoint of the route.
        path: The path in its router, where a prefix is followed by `*`.
    """
    rule = next(app.url_map.iter_rules(endpoint)).rule
    own, _, _ = path.partition("*")
    return rule[: rule.rindex(own) + len(own)] + path[len(own) :]


def variables_of(path: str) -> set[str]:
    """Return the names of Flask's converters in a path."""
    return set(_VARIABLE.findall(path))


def prepare(app: Flask) -> None:
    """Register the converters of routers in an app. Idempotent."""
    app.url_map.converters.setdefault(END, EndConverter)
    app.url_map.converters.setdefault(REST, RestConverter)


def restore_leading_slashes(request: Request, values: dict[str, Any]) -> None:
    """Correct a match of a path that starts with `//`, whose leading slashes Werkzeug drops.

    No exact path starts with `//`, and of all prefixes only `/` does.
    """
    if request.url_rule is None or request.url_rule.rule != _ROOT_PREFIX:
        abort(404)
    values["suffix"] = get_path_info(request.environ)[1:]


def apply_cors(response: Response) -> Response:
    """Add the CORS headers of the route to a response, errors included."""
    apply = getattr(current_app.view_functions.get(request.endpoint or ""), CORS, None)
    return response if apply is None else apply(response)


def cors_headers_of_405(app: Flask, headers: Headers) -> Headers:
    """Set the CORS headers of a path's route on a 405, without which a browser hides the response from scripts."""
    error = request.routing_exception
    methods = (error.valid_methods or ()) if isinstance(error, MethodNotAllowed) else ()
    wanted = request.headers.get("Access-Control-Request-Method", "")
    rules = [_rule_for(app, method) for method in ((wanted,) if wanted in methods else methods)]
    found = [getattr(app.view_functions.get(rule.endpoint), CORS, None) for rule in rules if rule]
    appliers = sorted((apply for apply in found if apply), key=lambda apply: apply is without_cors)  # policies first
    return list(appliers[0](Response(headers=headers)).headers.to_wsgi_list()) if appliers else headers


def preflight_headers(headers: Headers) -> Headers | None:
    """Return the headers of the response to a preflight of a route without a policy, from those of its 405.

    Returns:
        The headers, or None unless flask-cors on the whole app allows the origin.
    """
    names = {name.lower() for name, _ in headers}
    if request.method != "OPTIONS" or "access-control-allow-origin" not in names:
        return None
    return [(name, value) for name, value in headers if not name.lower().startswith("content-")]


def _rule_for(app: Flask, method: str) -> Rule | None:
    adapter = app.create_url_adapter(request)
    try:
        return adapter.match(method=method, return_rule=True)[0] if adapter is not None else None
    except HTTPException:
        return None
