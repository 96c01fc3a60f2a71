"""Functions and routes from the command line: run one, list them."""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from typing import Any

import click
import msgspec
from flask import current_app
from flask.cli import with_appcontext

from flask_convex_http.cli.output import json_option, print_json, print_table
from flask_convex_http.functions.function import Function
from flask_convex_http.validation.annotations import describe
from flask_convex_http.web.cors import Cors
from flask_convex_http.web.matching import path_of
from flask_convex_http.web.router import HttpRouter, Route
from flask_convex_http.web.state import current_backend


@click.command()
@click.argument("function")
@click.argument("arguments", default="{}")
@json_option
@with_appcontext
def run(function: str, arguments: str, as_json: bool) -> None:
    """Run FUNCTION, internal ones included, and print its result as JSON.

    ARGUMENTS is a JSON object with the function's arguments; `-` reads it from stdin. What the function itself prints
    goes to stderr.

    \b
    Examples:
      flask convex run items:list_items
      flask convex run items:create '{"name": "Lamp"}'
      flask convex run items:create - < item.json
    """
    given = _arguments(arguments)
    with contextlib.redirect_stdout(sys.stderr):
        result = current_backend().run(function, given)
    print_json(result, indent=None if as_json else 2)


@click.command()
@json_option
@with_appcontext
def functions(as_json: bool) -> None:
    """List the functions: kind, who may call them, arguments and result.

    \b
    Examples:
      flask convex functions
      flask convex functions --json
    """
    found = list(current_backend().functions)
    if as_json:
        print_json([_function(function) for function in found])
        return
    if not found:
        click.echo("There are no functions: name their modules in ConvexHTTP(functions=[...]).")
        return
    rows = [
        (function.name, function.kind, _visibility(function), _signature(function), _returns(function))
        for function in found
    ]
    print_table(("FUNCTION", "KIND", "CALLABLE", "ARGUMENTS", "RETURNS"), rows)


@click.command()
@json_option
@with_appcontext
def routes(as_json: bool) -> None:
    """List the HTTP endpoints of the app's routers: path, CORS policy, sender of webhooks.

    A path that ends in * is a prefix. `flask routes` lists the app's other endpoints, too.

    \b
    Examples:
      flask convex routes
      flask convex routes --json
    """
    found = sorted(_routes(), key=lambda route: (route["path"], route["methods"]))
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("There are no routes: register an HttpRouter with app.register_blueprint(...).")
        return
    rows = [
        (
            ", ".join(route["methods"]),
            route["path"],
            route["endpoint"],
            ", ".join(route["cors"]["origins"]) if route["cors"] else "",
            route["webhook"] or "",
        )
        for route in found
    ]
    print_table(("METHOD", "PATH", "ENDPOINT", "CORS", "WEBHOOK"), rows)


# --- functions -------------------------------------------------------------------------------------------------------


def _arguments(text: str) -> dict[str, Any]:
    given = sys.stdin.buffer.read() if text == "-" else text.encode(errors="surrogateescape")
    try:
        arguments = msgspec.json.decode(given)
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise click.BadParameter(f"not JSON: {error}.", param_hint="'ARGUMENTS'") from None
    if not isinstance(arguments, dict):
        raise click.BadParameter('must be a JSON object such as {"name": "Lamp"}.', param_hint="'ARGUMENTS'")
    return arguments


def _visibility(function: Function[Any, Any]) -> str:
    return "public" if function.public else "internal"


def _returns(function: Function[Any, Any]) -> str:
    return describe(typing.get_type_hints(function.handler, include_extras=True).get("return", Any))


def _signature(function: Function[Any, Any]) -> str:
    return ", ".join(
        f"{argument['name']}: {argument['type']}{'' if argument['required'] else ' = ' + argument['default']}"
        for argument in _parameters(function)
    )


def _parameters(function: Function[Any, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "type": describe(annotation), **_default(function.parameters[name])}
        for name, annotation in function.argument_types.items()
    ]


def _default(parameter: inspect.Parameter) -> dict[str, Any]:
    """The default as Python writes it: it need not be a value that JSON has."""
    if parameter.default is parameter.empty:
        return {"required": True}
    return {"required": False, "default": repr(parameter.default)}


def _function(function: Function[Any, Any]) -> dict[str, Any]:
    return {
        "name": function.name,
        "kind": function.kind,
        "public": function.public,
        "arguments": _parameters(function),
        "returns": _returns(function),
        "description": inspect.getdoc(function.handler),
    }


# --- routes ----------------------------------------------------------------------------------------------------------


def _routes() -> Iterator[dict[str, Any]]:
    for name, blueprint in current_app.blueprints.items():
        if isinstance(blueprint, HttpRouter):
            yield from (_route(f"{name}.{route.endpoint}", route) for route in blueprint.routes)


def _route(endpoint: str, route: Route) -> dict[str, Any]:
    return {
        "path": path_of(current_app, endpoint, route.path),
        "methods": list(route.methods),
        "endpoint": endpoint,
        "cors": None if route.cors is None else _cors(route.cors),
        "webhook": None if route.webhook is None else route.webhook.provider.name,
    }


def _cors(policy: Cors) -> dict[str, Any]:
    origins = [policy.origins] if isinstance(policy.origins, (str, re.Pattern)) else policy.origins
    return {
        "origins": [origin if isinstance(origin, str) else origin.pattern for origin in origins],
        "credentials": policy.credentials,
    }
