"""`@rate_limit`: limits how often a caller may call a handler.

Put it below the route, so that the route calls it. The buckets are in `rate_limits`.
"""

from __future__ import annotations

import functools
import inspect
import ipaddress
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from flask import Request, has_request_context, request

from flask_convex_http.errors import RegistrationError
from flask_convex_http.functions.function import Function
from flask_convex_http.rate_limits import Limit
from flask_convex_http.runtime import ActionCtx, MutationCtx, take_token
from flask_convex_http.web.guards.rate_limit_headers import limit_headers
from flask_convex_http.web.handlers.handlers import uniform
from flask_convex_http.web.handlers.innermost import inner_call
from flask_convex_http.web.handlers.route_checks import LIMITED, refuse_above_route
from flask_convex_http.web.handlers.signatures import HandlerSignature, own_wrapper

H = TypeVar("H", bound=Callable[..., Any])

#: A client with one IPv6 address has all 2**64 of its network, and could use another one for each request.
_IPV6_NETWORK = 64


def rate_limit(
    handler: None = None,  # for @rate_limit without parentheses, so that Python names the missing argument
    /,
    *,
    rate: float,
    period: timedelta | float,
    capacity: float | None = None,
    key: Callable[[Request], str | None] | None = None,
    name: str | None = None,
) -> Callable[[H], H]:
    """Limit how often each caller may call the handler. Other calls are 429 with `Retry-After`.

    Each response has `RateLimit-Policy` and `RateLimit`, which tell the client how many calls are left.

    Each request that passes takes a token, which is a write. A rejected request writes nothing. Of several limits the
    upper one is checked first, and keeps its token if a lower one rejects.

    Below `@require_api_key` or `@require_bearer` the caller is the identity, and a rejected credential takes no token.
    Above them the caller is the address, and every request takes a token. On a webhook the delivery is verified first,
    and the token is taken in the handler's transaction: a failed delivery returns it.

    Args:
        handler: Must be left out.
        rate: The number of tokens added per period.
        period: A timedelta, or seconds.
        capacity: The maximum number of tokens, which is the maximum burst. The default is the rate.
        key: A function of the request that returns the key of a bucket, or None for no limit. The default is the
            identity, or else the address: for IPv6 the /64 network; requests without an address share a bucket. Behind
            a proxy the address is the proxy's, unless the app uses Werkzeug's `ProxyFix`.
        name: The name of the limit, by default the endpoint. Handlers with one name, rate and capacity share buckets.

    Raises:
        RegistrationError: An argument is invalid, or the decorator is above the route.
    """
    unnamed = Limit.of("of a route" if name is None else name, rate, period, capacity)
    if key is not None and (not callable(key) or inspect.iscoroutinefunction(key) or not _takes_one(key)):
        raise RegistrationError(f"@rate_limit(key={key!r}) must be a function of the request, not async, or left out")

    def decorate(handler: H) -> H:
        _check(handler, name)
        inner = uniform(handler)
        call = inner_call(inner)

        @functools.wraps(inner)
        def limited(ctx: ActionCtx | MutationCtx, *args: Any, **kwargs: Any) -> Any:
            if not has_request_context():  # a delivery that a command reruns
                return inner(ctx, *args, **kwargs)
            caller = _caller(ctx) if key is None else key(_current_request())
            if caller is not None:
                limit = replace(unnamed, name=name or request.endpoint or handler.__name__)
                with limit_headers(name, limit) as left:
                    left.tokens = take_token(ctx, limit, caller)
            return call(request.environ, ctx, *args, **kwargs)

        setattr(limited, LIMITED, (*getattr(handler, LIMITED, ()), name))
        own_wrapper(limited)
        return limited  # type: ignore[return-value]  # the signature is the handler's

    return decorate


def _check(handler: Callable[..., Any], name: str | None) -> None:
    handler_name = getattr(handler, "__name__", repr(handler))
    if isinstance(handler, Function):
        raise RegistrationError(
            f"@rate_limit is for handlers of an HttpRouter, not for {handler_name}; inside a function write "
            "ctx.rate_limit(...)"
        )
    _refuse_view(handler)
    refuse_above_route(handler, "limit")
    if name in getattr(handler, LIMITED, ()):
        raise RegistrationError(
            f"{handler_name} has two rate limits that would share their buckets; give each a name= of its own"
        )


def _refuse_view(handler: Callable[..., Any]) -> None:
    """Refuse a function that takes nothing but variables of a path: it may be a view of Flask, which gets no ctx."""
    signature = HandlerSignature.of(handler)
    if not (signature.takes_ctx or signature.takes_request or signature.read):
        raise RegistrationError(
            f"@rate_limit is for handlers of an HttpRouter, and {signature.name} takes neither a ctx nor a request, "
            f"like a view of Flask; write {signature.suggestion()}"
        )


def _takes_one(function: Callable[..., Any]) -> bool:
    """Return whether a function accepts one positional argument."""
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # a built-in function, for example
        return True
    return True


def _current_request() -> Request:
    """Return the current request. It is not the handler's argument, since a webhook's handler receives an event."""
    current: Request = request._get_current_object()  # type: ignore[attr-defined]  # of the proxy
    return current


def _caller(ctx: ActionCtx | MutationCtx) -> str:
    """Return the key of the caller. An address never equals an identity, regardless of a proxy's header."""
    identity = ctx.auth.checked
    if identity is not None:
        return f"identity:{identity.token_identifier}"
    return f"address:{client_network(request.remote_addr or '')}"


def client_network(address: str) -> str:
    """Return the address of a client, or the network of an IPv6 address, which has 2**64 of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address  # any text that the server or a proxy sets
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), _IPV6_NETWORK), strict=False))
