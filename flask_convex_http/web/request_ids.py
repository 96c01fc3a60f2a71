"""Request ids: each request has one, its response carries it in `X-Request-Id`, and log lines name it.

A client may send an id of its own. It is used if it is well formed, so that one id follows a request through several
services. Otherwise the process makes one: a counter that starts at a random number, in 16 hexadecimal digits.
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Callable
from typing import Any

from flask import Request

HEADER = "X-Request-Id"
_ENVIRON_HEADER = "HTTP_X_REQUEST_ID"
_ENVIRON_KEY = "flask_convex_http.request_id"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)

_next_id: Callable[[], str]


def request_id(request: Request) -> str:
    """Return the id of a request."""
    return id_of(request.environ)


def id_of(environ: dict[str, Any]) -> str:
    """Return the id of the request with this WSGI environment, and keep it there for the next call."""
    known: str | None = environ.get(_ENVIRON_KEY)
    if known is None:
        sent = environ.get(_ENVIRON_HEADER)
        known = sent if sent and _WELL_FORMED.fullmatch(sent) else _next_id()
        environ[_ENVIRON_KEY] = known
    return known


def _start_counting() -> None:
    """Start the counter at a random number, so that the ids of two processes do not collide."""
    global _next_id
    _next_id = map("{:016x}".format, itertools.count(random.SystemRandom().getrandbits(63))).__next__


_start_counting()
os.register_at_fork(after_in_child=_start_counting)
