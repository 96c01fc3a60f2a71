"""Checks of a route at registration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from flask_convex_http.errors import RegistrationError
from flask_convex_http.web.matching import variables_of

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: The attribute of a registered handler, to find a decorator that is put above the route and would do nothing.
REGISTERED = "__convex_registered__"
#: The attribute of a handler that requires a credential.
GUARDED = "__convex_guarded__"
#: The attribute of a handler with rate limits: their names, to find two that share buckets by mistake.
LIMITED = "__convex_rate_limits__"


def checked_path(path: str | None, prefix: str | None) -> str:
    """Return an exact path, or a prefix followed by `*`.

    Raises:
        RegistrationError: Both, neither, or an invalid one is given.
    """
    if (path is None) == (prefix is None):
        raise RegistrationError("A route has either a path or path_prefix=; write one of them")
    given = prefix if path is None else path
    if not isinstance(given, str):
        raise RegistrationError(f'A path is a text, not {given!r}; write @http.get("/path")')
    if given.startswith("//"):
        raise RegistrationError(f"No request reaches {given!r}, since it starts with //; write a single /")
    if path is not None:
        if not path.startswith("/"):
            raise RegistrationError(f"path {path!r} does not start with a /; write {'/' + path!r}")
        if path.endswith("*"):
            raise RegistrationError(f"path {path!r} ends in *; write path_prefix={path.rstrip('*')!r}")
        return path
    assert prefix is not None
    if not prefix.startswith("/"):
        raise RegistrationError(f"path_prefix {prefix!r} does not start with a /; write {'/' + prefix!r}")
    if not prefix.endswith("/"):
        raise RegistrationError(f"path_prefix {prefix!r} does not end with a /; write {prefix.rstrip('*') + '/'!r}")
    return prefix + "*"


def checked_methods(method: str | None, methods: Iterable[str] | None) -> tuple[str, ...]:
    """Return the methods of a route in upper case.

    Raises:
        RegistrationError: A route cannot have one of them.
    """
    if method is not None and methods is not None:
        raise RegistrationError("A route has either method= or methods=; write one of them")
    if isinstance(methods, str):
        raise RegistrationError(f"methods={methods!r} must be a list; write methods=[{methods!r}]")
    chosen = tuple(dict.fromkeys(str(name).upper() for name in (methods if methods is not None else [method or "GET"])))
    if not chosen:
        raise RegistrationError('methods=[] matches no request; write methods=["GET"]')
    for name in chosen:
        if name == "HEAD":
            raise RegistrationError("a GET route also responds to HEAD; register GET")
        if name not in METHODS:
            raise RegistrationError(f"{name!r} is not a method a route can have; write one of {', '.join(METHODS)}")
    return chosen


def check_handler(handler: Callable[..., Any], path: str) -> None:
    """Check that a handler takes a ctx and a request first, as far as its signature tells.

    Args:
        handler: The handler.
        path: Its path.

    Raises:
        RegistrationError: It does not.
    """
    name = getattr(handler, "__name__", repr(handler))
    if not callable(handler) or isinstance(handler, type):
        raise RegistrationError(
            f"{name} is no handler; write a function: def get_item(ctx: ActionCtx, request: Request)"
        )
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):  # a built-in function, for example
        return
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return
    first = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:2]
    others = {"suffix", *variables_of(path)}
    if len(first) < 2 or first[0] == "request" or first[1] == "ctx" or not others.isdisjoint(first):
        rest = [str(p) for p in parameters if p.name not in ("ctx", "request")]
        raise RegistrationError(
            f"{name} must take the ctx and the request first; write "
            f"def {name}({', '.join(['ctx: ActionCtx', 'request: Request', *rest])})"
        )


def refuse_above_route(handler: Callable[..., Any], what: str) -> None:
    """Refuse a decorator above the route, since the route would not call it.

    Args:
        handler: The decorated handler.
        what: The protection that the route would lack, for the message.

    Raises:
        RegistrationError: The handler is registered already.
    """
    if hasattr(handler, REGISTERED):
        raise RegistrationError(
            f"{getattr(handler, '__name__', handler)} is registered as a route already, without this {what}: "
            "put the decorator below the route"
        )


def mark(handler: Callable[..., Any]) -> None:
    """Mark a handler as registered, for `refuse_above_route`."""
    try:
        setattr(handler, REGISTERED, True)
    except AttributeError:
        return  # a bound method, for example, which no decorator above marks either


def suffix_name(handler: Callable[..., Any], path: str) -> str | None:
    """Return the name of a prefix handler's parameter for the rest of the path, or None if it has none."""
    parameters = list(inspect.signature(handler).parameters.values())
    if any(parameter.name == "suffix" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return "suffix"
    named = [p.name for p in parameters[2:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return next((name for name in named if name not in variables_of(path)), None)
