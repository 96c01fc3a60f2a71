"""Paths as Convex matches them, said in Werkzeug's rules.

Two converters keep Werkzeug from redirecting at a slash. What rules cannot say is settled when a request starts:
Werkzeug drops slashes at the start of a path, counts the methods of the path with its slashes merged, and fails on
a query that is not UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from flask import Flask, Request, Response, request, request_started
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter, RequestRedirect, Rule
from werkzeug.wsgi import get_path_info

END, REST = "convex_end", "convex_rest"
#: Marks the views of our routes, as opposed to the host app's own.
OURS = "convex_route"
#: Where a view of ours has what puts its CORS headers on a response.
CORS = "convex_cors"
_ROOT_PREFIX = f"/<{REST}:suffix>"
_VARIABLE = re.compile(r"<(?:[^<>]*:)?([^<>:]+)>")


class EndConverter(BaseConverter):
    """Matches nothing: the end of a path that ends in a slash."""

    regex = ""
    part_isolating = False
    weight = 0


class RestConverter(BaseConverter):
    """Matches any rest of a path, also an empty one, slashes and line breaks included."""

    regex = r"[\s\S]*?"
    part_isolating = False
    weight = 10_000


def rule_of(path: str) -> tuple[str, dict[str, str]]:
    """The Werkzeug rule of a path, and the defaults that let `url_for` build it."""
    if path.endswith("/*"):
        return f"{path[:-1]}<{REST}:suffix>", {}
    if path.endswith("/"):
        return f"{path}<{END}:{END}>", {END: ""}
    return path, {}


def path_of(app: Flask, endpoint: str, path: str) -> str:
    """The path of a route in an app, with the prefixes of the blueprints around it.

    Args:
        app: The app.
        endpoint: The route's full endpoint.
        path: Its path in its router, a prefix with `*` behind it.
    """
    rule = next(app.url_map.iter_rules(endpoint)).rule
    own, _, _ = path.partition("*")
    return rule[: rule.rindex(own) + len(own)] + path[len(own) :]


def variables_of(path: str) -> set[str]:
    """What Flask's converters in a path are called."""
    return set(_VARIABLE.findall(path))


def prepare(app: Flask) -> None:
    """Let an app match as routers do; doing it again changes nothing."""
    app.url_map.converters.setdefault(END, EndConverter)
    app.url_map.converters.setdefault(REST, RestConverter)


def settle_slashes(app: Flask) -> None:
    """From now on settle what rules cannot say of paths with `//`. Asked for when one arrives, since most apps never
    see one and a receiver costs every request; doing it again changes nothing."""
    request_started.connect(_settle_slashes, app)


def headers_of_405(app: Flask, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of a 405 with `Allow` in a fixed order and, if a method of the path has one, with its CORS policy:
    without, a browser would not show a script why it failed."""
    response = Response(headers=[(name, value) for name, value in headers if name.lower() != "allow"])
    allowed = sorted(
        {method.strip() for name, value in headers if name.lower() == "allow" for method in value.split(",")}
    )
    if allowed:
        response.headers["Allow"] = ", ".join(allowed)
    if request.url_rule is not None:  # a handler's own answer has its headers already
        return response.headers.to_wsgi_list()
    for method in allowed:
        rule = _rule_for(app, request, method)
        apply = getattr(app.view_functions.get(rule.endpoint), CORS, None) if rule is not None else None
        if apply is not None:
            return list(apply(response).headers.to_wsgi_list())
    return response.headers.to_wsgi_list()


def _settle_slashes(app: Flask, **_: Any) -> None:
    current: Request = request._get_current_object()  # type: ignore[attr-defined]  # each use of a proxy looks it up
    if "//" not in current.environ["PATH_INFO"]:
        return
    refused = current.routing_exception
    if current.environ["PATH_INFO"].startswith("//"):
        _match_root(app, current)
    elif isinstance(refused, MethodNotAllowed):
        allowed = [method for method in refused.valid_methods or () if _answers(app, current, method)]
        current.routing_exception = MethodNotAllowed(allowed) if allowed else NotFound()


def _match_root(app: Flask, request: Request) -> None:
    """No exact path starts with `//`, and of all prefixes only `/` does; the host app's own rules stay Werkzeug's."""
    found, refused = request.url_rule, request.routing_exception
    if not (_is_ours(app, found) if found is not None else isinstance(refused, MethodNotAllowed)):
        return
    roots = [rule for rule in app.url_map.iter_rules() if rule.rule == _ROOT_PREFIX and _same_host(rule, found)]
    root = next((rule for rule in roots if request.method in (rule.methods or ())), None)
    if root is not None:
        request.url_rule = root
        request.view_args = {**(root.defaults or {}), "suffix": get_path_info(request.environ)[1:]}
        return
    of_host = getattr(refused, "valid_methods", None) or ()
    others = {method for method in of_host if not _is_ours(app, _rule_for(app, request, method))}
    allowed = _methods(roots) | others
    request.url_rule = request.view_args = None
    request.routing_exception = MethodNotAllowed(sorted(allowed)) if allowed else NotFound()


def _is_ours(app: Flask, rule: Rule | None) -> bool:
    return rule is not None and hasattr(app.view_functions.get(rule.endpoint), OURS)


def _same_host(rule: Rule, other: Rule | None) -> bool:
    return other is None or (rule.host, rule.subdomain) == (other.host, other.subdomain)


def _methods(rules: Iterable[Rule]) -> set[str]:
    return {method for rule in rules for method in rule.methods or ()}


def _rule_for(app: Flask, request: Request, method: str) -> Rule | None:
    adapter = app.create_url_adapter(request)
    try:
        return adapter.match(method=method, return_rule=True)[0] if adapter is not None else None
    except HTTPException:
        return None


def _answers(app: Flask, request: Request, method: str) -> bool:
    """Whether the path as it was sent, its slashes not merged, has this method."""
    adapter = app.create_url_adapter(request)
    try:
        return adapter is not None and bool(adapter.match(method=method))
    except RequestRedirect:
        return True
    except HTTPException:
        return False
