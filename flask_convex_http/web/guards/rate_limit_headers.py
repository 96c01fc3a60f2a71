"""The response headers `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers).

A bucket of the limit is the quota, and the time in which an empty one becomes full is the window:

    RateLimit-Policy: "default";q=100;w=60
    RateLimit: "default";r=50;t=30

Here `r` is the number of calls left, and `t` the number of seconds until all of them are available again. In a response
with status 429, `t` is the `Retry-After`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask import Response, after_this_request, request

from flask_convex_http.errors import RateLimitedError
from flask_convex_http.rate_limits import Limit

POLICY, STATE = "RateLimit-Policy", "RateLimit"
#: What the routes of scripts on other origins must expose.
LIMIT_HEADERS = (POLICY, STATE, "Retry-After")
#: The name of a limit without one: the endpoint's would be a name of the application.
_DEFAULT = "default"
#: The largest integer of Structured Fields (RFC 8941, 3.3.1).
_MOST = 999_999_999_999_999
#: The key of the WSGI environment with the limits of the current request.
_LIMITS = "convex_http.rate_limits"


@dataclass(slots=True)
class Left:
    """What is left of a limit.

    Attributes:
        tokens: The number of tokens.
    """

    tokens: float = 0.0


@contextlib.contextmanager
def limit_headers(name: str | None, limit: Limit) -> Iterator[Left]:
    """Send the headers of a limit in the response to the current request, whatever it will be.

    The value of the `with` block takes the tokens left. An error of the limit in it means that none is.

    Args:
        name: The name that the application gave the limit, or None.
        limit: The limit.
    """
    left = Left()
    try:
        yield left
    except RateLimitedError as error:
        _add(name, limit, 0, error.retry_after or 1)
        raise
    _add(name, limit, math.floor(left.tokens), limit.seconds_until_full(left.tokens))


def _add(name: str | None, limit: Limit, left: int, seconds: int) -> None:
    limits: dict[str, tuple[str, str]] | None = request.environ.get(_LIMITS)
    if limits is None:
        limits = request.environ[_LIMITS] = {}
        after_this_request(_set_headers)
    item = _string(_DEFAULT if name is None else name)
    window = max(limit.seconds_until_full(0.0), 1)
    limits[item] = (
        f"{item};q={_integer(limit.capacity)};w={_integer(window)}",
        f"{item};r={_integer(left)};t={_integer(seconds)}",
    )


def _set_headers(response: Response) -> Response:
    limits: dict[str, tuple[str, str]] = request.environ[_LIMITS]
    response.headers[POLICY] = ", ".join(policy for policy, _ in limits.values())
    response.headers[STATE] = ", ".join(state for _, state in limits.values())
    return response


def _integer(number: Any) -> int:
    return min(max(int(number), 0), _MOST)


def _string(text: str) -> str:
    """Return a text as a string of Structured Fields, which has printable ASCII only."""
    plain = text.encode("ascii", "backslashreplace").decode()
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
