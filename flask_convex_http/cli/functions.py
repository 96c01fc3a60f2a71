"""`flask convex run`, `functions` and `routes`: run a function, list functions and routes."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any

import click
import msgspec
from flask import current_app
from flask.cli import with_appcontext

from flask_convex_http.cli.output import json_option, print_json, print_table
from flask_convex_http.functions.description import ArgumentDescription
from flask_convex_http.web.cors import Cors
from flask_convex_http.web.matching import path_of
from flask_convex_http.web.routing.router import HttpRouter
from flask_convex_http.web.routing.routes import Route
from flask_convex_http.web.state import current_backend


@click.command()
@click.argument("function")
@click.argument("arguments", default="{}")
@json_option
@with_appcontext
def run(function: str, arguments: str, as_json: bool) -> None:
    """Run a function and print its result as JSON.

    FUNCTION is the name of a public or internal function. ARGUMENTS is a JSON object with its arguments; `-` reads it
    from stdin. Text that the function prints goes to stderr.

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
    """List the functions: kind, visibility, arguments and result.

    \b
    Examples:
      flask convex functions
      flask convex functions --json
    """
    found = current_backend().describe_functions()
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("There are no functions. Name their modules in ConvexHTTP(functions=[...]).")
        return
    rows = [
        (
            function.name,
            function.kind,
            "public" if function.public else "internal",
            ", ".join(_argument(argument) for argument in function.arguments),
            function.returns,
        )
        for function in found
    ]
    print_table(("FUNCTION", "KIND", "VISIBILITY", "ARGUMENTS", "RETURNS"), rows)


@click.command()
@json_option
@with_appcontext
def routes(as_json: bool) -> None:
    """List the routes with their CORS policy or webhook provider.

    These are the routes of each HttpRouter. A path that ends in * is a prefix. `flask routes` lists all routes of the
    app.

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
        click.echo("There are no routes. Register an HttpRouter with app.register_blueprint(...).")
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


def _argument(argument: ArgumentDescription) -> str:
    default = "" if argument.required else f" = {argument.default}"
    return f"{argument.name}: {argument.type}{default}"


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
        "cors": _cors(route.cors) if route.cors else None,
        "webhook": None if route.webhook is None else route.webhook.provider.name,
    }


def _cors(policy: Cors) -> dict[str, Any]:
    origins = [policy.origins] if isinstance(policy.origins, (str, re.Pattern)) else policy.origins
    return {
        "origins": [origin if isinstance(origin, str) else origin.pattern for origin in origins],
        "credentials": policy.credentials,
    }
