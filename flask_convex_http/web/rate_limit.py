"""`@rate_limit`: how often somebody may call a handler, answered before it runs.

Put it below the route, so that it is what the route calls. The buckets are `rate_limits`' business; here is who they
belong to.
"""

from __future__ import annotations

import functools
import inspect
import ipaddress
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from flask import Request, current_app, has_request_context, request

from flask_convex_http.errors import RegistrationError
from flask_convex_http.functions.function import Function
from flask_convex_http.rate_limits import Limit
from flask_convex_http.runtime.context import ActionCtx, MutationCtx
from flask_convex_http.web.route_checks import refuse_above_route
from flask_convex_http.web.webhooks import LIMITED

H = TypeVar("H", bound=Callable[..., Any])

#: Marks a handler with the names of its limits, so that two that would share their buckets by mistake show.
_NAMES = LIMITED
#: Who has one IPv6 address has the 2**64 of its network, and could take another for each request.
_IPV6_NETWORK = 64


def rate_limit(
    handler: None = None,  # for @rate_limit without parentheses, so that Python names what is missing
    /,
    *,
    rate: float,
    period: timedelta | float,
    capacity: float | None = None,
    key: Callable[[Request], str | None] | None = None,
    name: str | None = None,
) -> Callable[[H], H]:
    """Let each caller through only so often; who comes too soon is answered 429 with `Retry-After`.

    Each request that is let through takes a token, which is a write; one that is refused writes nothing. Of several
    limits the upper one is asked first, and keeps its token if a lower one refuses.

    Below `@require_api_key` or `@require_bearer` the caller is their identity, and who was refused there takes no
    token; above them it is the address, and everybody takes one. On a webhook the delivery was verified before, and the
    token is taken in the handler's own transaction: a delivery that fails gives it back.

    Args:
        rate: How many tokens come back each period.
        period: A timedelta, or seconds.
        capacity: How many requests may come at once; the rate if not given.
        key: Whose bucket it is, by a function of the request; who it answers None for is not limited. If not given,
            it is the identity, or else the address: of IPv6 the network (/64), and all without one share a bucket.
            Behind a proxy the address is the proxy's, unless the app has Werkzeug's `ProxyFix`.
        name: The limit's name, the endpoint if not given; handlers with one name, rate and capacity share buckets.

    Raises:
        RegistrationError: The limit cannot work, or the decorator is above the route.
    """
    Limit.of("of a route" if name is None else name, rate, period, capacity)
    if key is not None and (not callable(key) or inspect.iscoroutinefunction(key) or not _takes(key, 1)):
        raise RegistrationError(f"@rate_limit(key={key!r}) must be a function of the request, not async, or left out")

    def decorate(handler: H) -> H:
        _check(handler, name)
        is_async = inspect.iscoroutinefunction(handler)

        @functools.wraps(handler)
        def limited(ctx: ActionCtx | MutationCtx, *args: Any, **kwargs: Any) -> Any:
            if not has_request_context():  # a delivery that is run again by hand
                return handler(ctx, *args, **kwargs)
            caller = _caller(ctx) if key is None else key(_current_request())
            if caller is not None:
                limit = name or request.endpoint or handler.__name__
                ctx.rate_limit(limit, key=caller, rate=rate, period=period, capacity=capacity)
            call = current_app.ensure_sync(handler) if is_async else handler
            return call(ctx, *args, **kwargs)

        setattr(limited, _NAMES, (*getattr(handler, _NAMES, ()), name))
        return limited  # type: ignore[return-value]  # it takes and answers what the handler does

    return decorate


def _check(handler: Callable[..., Any], name: str | None) -> None:
    handler_name = getattr(handler, "__name__", repr(handler))
    if isinstance(handler, Function) or not _takes(handler, 2):
        raise RegistrationError(
            f"@rate_limit is for handlers of an HttpRouter, which take (ctx, request), not for {handler_name}; inside "
            "a function write ctx.rate_limit(...)"
        )
    refuse_above_route(handler, "limit")
    if name in getattr(handler, _NAMES, ()):
        raise RegistrationError(
            f"{handler_name} has two rate limits that would share their buckets; give each a name= of its own"
        )


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with so many arguments by place, and perhaps more by name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a built-in one, say
        return True
    kinds = [parameter.kind for parameter in parameters]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return True
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    by_place = [kind for kind in kinds if kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD]
    return len(by_place) >= count and (count > 1 or len(needed) <= 1)


def _current_request() -> Request:
    """The request itself: a webhook's handler is given an event in its place."""
    current: Request = request._get_current_object()  # type: ignore[attr-defined]  # of the proxy
    return current


def _caller(ctx: ActionCtx | MutationCtx) -> str:
    """Who is calling; no address is taken for an identity, whatever a proxy's header says."""
    identity = ctx.auth.get_user_identity()
    if identity is not None:
        return f"identity:{identity.token_identifier}"
    return f"address:{_network(request.remote_addr or '')}"


def _network(address: str) -> str:
    """The address, or of IPv6 the network it is in."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address  # whatever the server or a proxy calls it
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), _IPV6_NETWORK), strict=False))
