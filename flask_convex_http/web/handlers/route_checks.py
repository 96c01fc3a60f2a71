"""Checks of a route at registration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask_convex_http.errors import RegistrationError

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: The attribute of a registered handler, to find a decorator that is put above the route and would do nothing.
REGISTERED = "__convex_registered__"
#: The attribute of a handler that requires a credential: its guards, the innermost first.
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
