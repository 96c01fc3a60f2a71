"""Request ids: each request has one, its response carries it in `X-Request-Id`, and log lines name it.

A client may send an id of its own. It is used if it is well formed, so that one id follows a request through several
services. Otherwise the process makes one: 16 random hexadecimal digits, from which no other id can be guessed.
"""

from __future__ import annotations

import re
from typing import Any

from flask import Request

from flask_convex_http.ids import random_digits

HEADER = "X-Request-Id"
_ENVIRON_HEADER = "HTTP_X_REQUEST_ID"
_ENVIRON_KEY = "flask_convex_http.request_id"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
_DIGITS = 16


def request_id(request: Request) -> str:
    """Return the id of a request."""
    return id_of(request.environ)


def id_of(environ: dict[str, Any]) -> str:
    """Return the id of the request with this WSGI environment, and keep it there for the next call."""
    known: str | None = environ.get(_ENVIRON_KEY)
    if known is None:
        sent = environ.get(_ENVIRON_HEADER)
        known = sent if sent and _WELL_FORMED.fullmatch(sent) else random_digits()[:_DIGITS]
        environ[_ENVIRON_KEY] = known
    return known
