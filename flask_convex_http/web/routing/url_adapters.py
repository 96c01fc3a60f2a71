"""URL adapters of requests: those of Flask, made with less work.

Flask makes an adapter for each request. Werkzeug then validates the host twice, encodes it for IDNA, and searches the
path in the tree of all rules, which takes a fifth of the time of a small request. Here a host is validated when it is
first seen, and a path without variables is found in a dictionary once it was requested. Unusual requests are left to
Flask, and so is all that an adapter does besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flask import Flask, Request
from werkzeug.routing import Map, MapAdapter, Rule

#: The largest number of hosts that are kept. A client may send any.
_MOST_HOSTS = 200
#: The rules of paths without variables that were requested, by method and path.
_ExactRules = dict[tuple[str, str], Rule]


class RequestAdapter(MapAdapter):
    """The adapter of a request.

    Attributes:
        exact: The rules of paths without variables, shared by all adapters of an app.
    """

    exact: _ExactRules

    def match(
        self,
        path_info: str | None = None,
        method: str | None = None,
        return_rule: bool = False,
        query_args: Mapping[str, Any] | str | None = None,
        websocket: bool | None = None,
    ) -> Any:
        """Return the rule and the variables of the request, or of other arguments; see Werkzeug."""
        if not return_rule or path_info is not None or method is not None or websocket is not None:
            return super().match(path_info, method, return_rule, query_args, websocket)  # type: ignore[call-overload]
        key = self.default_method, self.path_info
        known = self.exact.get(key)
        if known is not None:
            return known, {}
        rule, values = super().match(return_rule=True, query_args=query_args)
        # Only a path and a method as the rule has them, so that there are not more than the rules have.
        if not values and rule.rule == self.path_info and self.default_method in (rule.methods or ()):
            self.exact[key] = rule
        return rule, values


class _Host(NamedTuple):
    """A host that Flask has accepted: as it is in the request, and as it is in an adapter."""

    host: str
    server_name: str
    subdomain: str | None


class UrlAdapters:
    """Makes the URL adapters of an app, in place of `Flask.create_url_adapter`.

    Args:
        app: The app.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._by_flask: Callable[[Request | None], MapAdapter | None] = app.create_url_adapter
        self._hosts: dict[tuple[Any, ...], _Host] = {}
        self._exact: _ExactRules = {}

    def __call__(self, request: Request | None) -> MapAdapter | None:
        """Return the adapter of a request, or that of the app for None."""
        config = self._app.config
        if request is None or config["TRUSTED_HOSTS"] is not None or request.trusted_hosts is not None:
            return self._by_flask(request)
        environ = request.environ
        path, query = environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
        script, scheme = environ.get("SCRIPT_NAME", ""), environ["wsgi.url_scheme"]
        is_plain = path and path.isascii() and script.isascii() and query.isascii() and "HTTP_UPGRADE" not in environ
        if not is_plain:
            return self._by_flask(request)
        names = environ.get("HTTP_HOST"), environ.get("SERVER_NAME"), environ.get("SERVER_PORT")
        place = (scheme, *names, config["SERVER_NAME"])
        known = self._hosts.get(place)
        if known is None:
            return self._first(request, place)
        request.host, server_name, subdomain = known
        method = environ["REQUEST_METHOD"]
        adapter = RequestAdapter(self._app.url_map, server_name, script, subdomain, scheme, path, method, query)
        adapter.exact = self._exact
        return adapter

    def _first(self, request: Request, place: tuple[Any, ...]) -> MapAdapter | None:
        """Return Flask's adapter of a request, and keep its host, which Flask has not rejected."""
        adapter = self._by_flask(request)
        if adapter is not None:
            if len(self._hosts) >= _MOST_HOSTS:
                self._hosts.clear()
            self._hosts[place] = _Host(request.host, adapter.server_name, adapter.subdomain)
        return adapter


def use_fast_adapters(app: Flask) -> None:
    """Make the URL adapters of an app with less work, unless the app makes them in a way of its own."""
    is_flasks = type(app).create_url_adapter is Flask.create_url_adapter and "create_url_adapter" not in vars(app)
    if is_flasks and type(app.url_map) is Map and not app.url_map.host_matching and not app.subdomain_matching:
        app.create_url_adapter = UrlAdapters(app)  # type: ignore[method-assign]
