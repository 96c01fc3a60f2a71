"""Build the OpenAPI 3.1 document of an app from the routes of its routers.

Paths and operations are in the order of registration. OpenAPI does not allow two templates that differ in the names of
their variables only, so routes such as `/items/<id>` and `/items/<item_id>` share the path of the first one. Of two
operations at one path and method only the first is described. Routes for HEAD and OPTIONS are left out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from flask import Flask

from flask_convex_http.backend import Backend
from flask_convex_http.web.app_routes import app_routes
from flask_convex_http.web.matching import END, REST
from flask_convex_http.web.openapi.events import webhook_object
from flask_convex_http.web.openapi.operations import operation_object
from flask_convex_http.web.openapi.options import OpenAPI
from flask_convex_http.web.openapi.responses import Responses
from flask_convex_http.web.openapi.schemas import Schemas
from flask_convex_http.web.openapi.security import bearer_names, schemes
from flask_convex_http.web.openapi.texts import described
from flask_convex_http.web.responses.responses import content_type_of_http_errors
from flask_convex_http.web.routing.routes import Route
from flask_convex_http.web.webhooks.event_handlers import ANY
from flask_convex_http.web.webhooks.webhooks import WebhookRoute

Document = dict[str, Any]
#: A variable's name in the document, its name in the rule, its converter and the converter's arguments.
Variable = tuple[str, str, str, str]

_METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH", "TRACE")
_RESERVED = re.compile(r"[{}?#%\s\"\\^`|]")
_VARIABLE = re.compile(r"<(?:(?P<converter>[A-Za-z_]\w*)(?:\((?P<arguments>[^<>]*)\))?:)?(?P<name>[A-Za-z_]\w*)>")


def build_document(app: Flask, backend: Backend, options: OpenAPI) -> Document:
    """Return the document of an app.

    Args:
        app: The app, with all routers registered.
        backend: Its backend.
        options: The options of the document.

    Raises:
        RegistrationError: The annotations of a route cannot be read.
    """
    return _Builder(app, backend, options).build()


class _Builder:
    """Builds one document.

    Args:
        app: The app.
        backend: Its backend.
        options: The options of the document.
    """

    def __init__(self, app: Flask, backend: Backend, options: OpenAPI) -> None:
        self._app = app
        self._backend = backend
        self._options = options
        self._schemas = Schemas()
        self._responses = Responses(self._schemas, content_type_of_http_errors(app))
        self._schemes = schemes(backend.auth_providers)
        self._paths: dict[str, dict[str, Any]] = {}
        self._webhooks: dict[str, dict[str, Any]] = {}
        self._names: dict[str, list[str]] = {}
        self._ids: set[str] = set()
        self._tags: dict[str, None] = {}

    def build(self) -> Document:
        """Return the document."""
        for name, route in app_routes(self._app):
            path = self._full_path(f"{name}.{route.endpoint}")
            if path is None:
                continue
            if route.webhook is not None:
                self._add_webhook(name, route.webhook, path)
            elif route.operation is not None:
                self._add_operations(name, route, path)
        self._schemas.finish()
        return self._assembled()

    def _assembled(self) -> Document:
        options = self._options
        info = {"title": options.title or self._app.name, "version": options.version}
        if options.description:
            info["description"] = described(options.description)
        used = {name for item in self._paths.values() for op in item.values() for name in _schemes_of(op)}
        components = {
            "schemas": self._schemas.components,
            "responses": dict(sorted(self._responses.components.items())),
            "securitySchemes": {name: scheme for name, scheme in self._schemes.items() if name in used},
        }
        document: Document = {"openapi": "3.1.0", "info": info}
        if options.servers:
            document["servers"] = [{"url": url} for url in options.servers]
        document["paths"] = self._paths
        if self._webhooks:
            document["webhooks"] = self._webhooks
        document["components"] = {name: part for name, part in components.items() if part}
        document["tags"] = [{"name": name} for name in self._tags]
        return document

    def _full_path(self, endpoint: str) -> str | None:
        """Return the rule of an endpoint, without what marks the end of a path; None if the app replaced it."""
        rule = next(self._app.url_map.iter_rules(endpoint), None)
        return None if rule is None else rule.rule.removesuffix(f"<{END}:{END}>")

    def _add_webhook(self, name: str, webhook: WebhookRoute, path: str) -> None:
        webhook.handlers.bind(self._backend.schema)
        for handler in webhook.events:
            own = handler.name if handler.pattern == ANY else handler.pattern
            key = next(choice for choice in _choices(own, webhook.provider.name) if choice not in self._webhooks)
            found = webhook_object(webhook, handler, path, self._schemas, self._responses)
            operation_id = self._unique(handler.name, name)
            self._webhooks[key] = {"post": {"operationId": operation_id, "tags": [name], **found}}
            self._tags[name] = None

    def _add_operations(self, name: str, route: Route, rule: str) -> None:
        operation = route.operation
        assert operation is not None
        operation.bind(self._backend.schema)
        path, variables = self._template(rule, operation.suffix_name)
        methods = [method for method in _METHODS if method in route.methods]
        for method in methods:
            item = self._paths.setdefault(path, {})
            if method.lower() in item:
                continue
            found = operation_object(
                operation, method, variables, self._schemas, self._responses, bearer_names(self._schemes)
            )
            own = route.endpoint if len(methods) == 1 else f"{route.endpoint}_{method.lower()}"
            item[method.lower()] = {"operationId": self._unique(own, name), "tags": [name], **found}
            self._tags[name] = None

    def _template(self, rule: str, suffix_name: str | None) -> tuple[str, list[Variable]]:
        """Return the path template of a rule, with the variable names of an earlier route of the same shape."""
        found = list(_VARIABLE.finditer(rule))
        shape = _VARIABLE.sub("{}", rule)
        names = self._names.setdefault(shape, [_shown(part, suffix_name) for part in found])
        variables: list[Variable] = []
        for shown, part in zip(names, found, strict=True):
            is_rest = part["converter"] == REST
            own = (suffix_name or part["name"]) if is_rest else part["name"]
            converter = "" if is_rest else part["converter"] or "default"
            variables.append((shown, own, converter, part["arguments"] or ""))
        ends = [0, *(part.end() for part in found)]
        starts = [*(part.start() for part in found), len(rule)]
        between = [_encoded(rule[end:start]) for end, start in zip(ends, starts, strict=True)]
        return between[0] + "".join(
            f"{{{name}}}{text}" for name, text in zip(names, between[1:], strict=True)
        ), variables

    def _unique(self, name: str, router: str) -> str:
        """Return an id for an operation that no other has: its name, or with the router's, or with a number."""
        cleaned = (re.sub(r"[^A-Za-z0-9_]", "_", choice) for choice in _choices(name, router))
        chosen = next(choice for choice in cleaned if choice not in self._ids)
        self._ids.add(chosen)
        return chosen


def _encoded(text: str) -> str:
    """Return literal text of a path as a URL has it. A brace would begin a variable, `?` and `#` end the path."""
    return _RESERVED.sub(lambda found: quote(found[0]), text)


def _choices(name: str, owner: str) -> Iterator[str]:
    """Yield names to choose from: the name, with its owner's in front, and with numbers."""
    yield name
    yield f"{owner}_{name}"
    yield from (f"{owner}_{name}_{number}" for number in itertools.count(2))


def _shown(part: re.Match[str], suffix_name: str | None) -> str:
    return (suffix_name or "suffix") if part["converter"] == REST else part["name"]


def _schemes_of(operation: dict[str, Any]) -> Iterator[str]:
    for alternative in operation.get("security", ()):
        yield from alternative
