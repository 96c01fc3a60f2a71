"""`LiveQuery` and `http.live`: queries as streams of server-sent events."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from flask import Request, current_app

from flask_convex_http.errors import RegistrationError
from flask_convex_http.functions.function import Function, QueryFunction
from flask_convex_http.runtime import ActionCtx
from flask_convex_http.web.handlers.handlers import uniform

P = ParamSpec("P")
R = TypeVar("R")

#: The function of an app that opens a stream, in its extensions.
OPEN_STREAM = "convex_http_open_stream"
#: The media type of a stream. In the annotation of a handler's response it marks one for the OpenAPI document.
EVENTS = "text/event-stream"


class LiveQuery(Generic[R]):
    """A query and its arguments, for a handler of `http.live` to return.

    Args:
        function: The query, or its name such as "items:list_items".
        args: The query's arguments.
        kwargs: The query's arguments.

    Attributes:
        function: The query, or its name.
        args: The positional arguments.
        kwargs: The arguments by name.
    """

    __slots__ = ("args", "function", "kwargs")

    @overload
    def __init__(self, function: QueryFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    @overload
    def __init__(self, function: str, /, **kwargs: Any) -> None: ...
    def __init__(self, function: Any, /, *args: Any, **kwargs: Any) -> None:
        self.function: Function[Any, Any] | str = function
        self.args = args
        self.kwargs = kwargs


def streaming(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a handler that streams the live query that another one returns. Other values are responses as usual."""
    call = uniform(handler)

    @functools.wraps(call)
    def stream(ctx: ActionCtx, request: Request, **values: Any) -> Any:
        returned = current_app.ensure_sync(call)(ctx, request, **values)
        if not isinstance(returned, LiveQuery):
            return returned
        return current_app.extensions[OPEN_STREAM](ctx, request, returned)

    return stream


def handler_of(function: Any) -> Callable[[ActionCtx, Request], Any]:
    """Return a handler that streams a query without arguments.

    Raises:
        RegistrationError: It is not a query, or it needs arguments.
    """
    if not isinstance(function, QueryFunction | str):
        raise RegistrationError(
            f"http.live(..., {getattr(function, '__name__', function)!r}) takes a query; decorate it with @query or "
            "@internal_query"
        )

    if isinstance(function, QueryFunction):
        _check_needs(function)

    def live(ctx: ActionCtx, request: Request) -> LiveQuery[Any]:
        """Stream the results of a query."""
        return LiveQuery(function)

    return live


def _check_needs(function: QueryFunction[..., Any]) -> None:
    """Check that a query needs no arguments.

    Raises:
        RegistrationError: It does.
    """
    needed = [name for name, parameter in function.parameters.items() if parameter.default is parameter.empty]
    if needed:
        name = function.__name__
        raise RegistrationError(
            f"http.live(..., {name}) needs {', '.join(needed)}: decorate a handler with @http.live(...), and return "
            f"LiveQuery({name}, {needed[0]}=...)"
        )
