"""The call that a decorator makes after its check: of the handler, or of a function that the route puts around it.

A route may run its handler in a way of its own, such as in the transaction of an idempotent request. That must begin
after the checks of `@require_api_key` and other decorators, and they call the handler. So the route leaves a function
in the WSGI environment, and the innermost decorator calls it instead of the handler. The request is read before that,
since a transaction must not wait for a client.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Protocol

from flask import Request, current_app

from flask_convex_http.errors import FunctionCallError
from flask_convex_http.web.handlers.handlers import read_parameters
from flask_convex_http.web.handlers.route_checks import GUARDED, LIMITED
from flask_convex_http.web.requests.whole_bodies import read_whole_body

#: The key of the WSGI environment.
_AROUND = "convex_http.around"


class Around(Protocol):
    """Runs a handler with its ctx, the request and the other arguments, and returns the handler's value."""

    def __call__(self, handler: Callable[..., Any], ctx: Any, request: Request, /, *args: Any, **values: Any) -> Any:
        """Run the handler."""


def is_decorated(handler: Callable[..., Any]) -> bool:
    """Return whether a decorator of the package is around a handler, and checks each request."""
    return hasattr(handler, GUARDED) or hasattr(handler, LIMITED)


def put_around(handler: Callable[..., Any], around: Around) -> Callable[..., Any]:
    """Return a handler that a function runs, after the checks of the decorators.

    Args:
        handler: The handler, with its decorators.
        around: Runs the handler in place of the innermost decorator.
    """
    if not is_decorated(handler):

        @functools.wraps(handler)
        def direct(ctx: Any, request: Request, **values: Any) -> Any:
            request.environ[_AROUND] = _refuse
            _read(handler, request, values)
            return around(handler, ctx, request, **values)

        return direct

    @functools.wraps(handler)
    def later(ctx: Any, request: Request, **values: Any) -> Any:
        request.environ[_AROUND] = around
        return handler(ctx, request, **values)

    return later


def inner_call(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that a decorator calls after its check.

    Its arguments are the WSGI environment and then those of the handler.

    Args:
        handler: The handler below the decorator. An async one runs as Flask runs it.
    """
    is_async, is_innermost = inspect.iscoroutinefunction(handler), not is_decorated(handler)

    def call(environ: dict[str, Any], ctx: Any, *args: Any, **values: Any) -> Any:
        around = environ.pop(_AROUND, None) if is_innermost else None
        if around is not None:
            environ[_AROUND] = _refuse
            _read(handler, args[0], values)
            return around(handler, ctx, *args, **values)
        run = current_app.ensure_sync(handler) if is_async else handler
        return run(ctx, *args, **values)

    return call


def _read(handler: Callable[..., Any], request: Request, values: dict[str, Any]) -> None:
    read_whole_body(request)  # first, since parsing a form would leave no body
    read_parameters(handler, request, values)


def _refuse(handler: Callable[..., Any], ctx: Any, request: Request, /, *args: Any, **values: Any) -> Any:
    """Refuse the check of a decorator that the route did not see, and that would come too late."""
    name = getattr(handler, "__name__", "handler")
    raise FunctionCallError(
        f"A decorator without functools.wraps hides a check of {name}, which must run before its transaction; write "
        "@functools.wraps(handler) in that decorator"
    )
