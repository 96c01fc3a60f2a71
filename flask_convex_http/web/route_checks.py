"""What a route is checked for when it is registered, and what a router makes of its handler's parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from flask_convex_http.errors import RegistrationError
from flask_convex_http.web.matching import variables_of

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: Marks a handler that is registered, so that a decorator put on top of the route, where it would do nothing, shows.
REGISTERED = "__convex_registered__"
#: Marks a handler that asks for an API key or a token.
GUARDED = "__convex_guarded__"


def checked_path(path: str | None, prefix: str | None) -> str:
    """A path, or a prefix with `*` behind it.

    Raises:
        RegistrationError: It is neither, or both.
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
    """The methods of a route, upper case.

    Raises:
        RegistrationError: One is not a method that a route can have.
    """
    if method is not None and methods is not None:
        raise RegistrationError("A route has either method= or methods=; write one of them")
    if isinstance(methods, str):
        raise RegistrationError(f"methods={methods!r} must be a list; write methods=[{methods!r}]")
    chosen = tuple(dict.fromkeys(str(name).upper() for name in (methods if methods is not None else [method or "GET"])))
    if not chosen:
        raise RegistrationError('methods=[] answers nothing; write methods=["GET"]')
    for name in chosen:
        if name == "HEAD":
            raise RegistrationError("HEAD is answered by the GET route; register GET")
        if name not in METHODS:
            raise RegistrationError(f"{name!r} is not a method a route can have; write one of {', '.join(METHODS)}")
    return chosen


def refuse_above_route(handler: Callable[..., Any], what: str) -> None:
    """Refuse a decorator that is put on a handler which is registered already: the route would not call it.

    Args:
        handler: What is decorated.
        what: What the route would go without.
    """
    if hasattr(handler, REGISTERED):
        raise RegistrationError(
            f"{getattr(handler, '__name__', handler)} is registered as a route already, without this {what}: "
            "put the decorator below the route"
        )


def mark(handler: Callable[..., Any]) -> None:
    """Remember that a handler is registered; see `refuse_above_route`."""
    try:
        setattr(handler, REGISTERED, True)
    except AttributeError:
        return  # a bound method or the like; it cannot be decorated on top either


def checked_limit(limit: int | None) -> int | None:
    """A number of bytes.

    Raises:
        RegistrationError: It is none.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise RegistrationError(f"max_body_bytes={limit!r} must be a number of bytes, 1 or more")
    return limit


def suffix_name(handler: Callable[..., Any], path: str) -> str | None:
    """What a prefix handler calls the rest of the path; None if it does not take it."""
    parameters = list(inspect.signature(handler).parameters.values())
    if any(parameter.name == "suffix" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return "suffix"
    named = [p.name for p in parameters[2:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return next((name for name in named if name not in variables_of(path)), None)
