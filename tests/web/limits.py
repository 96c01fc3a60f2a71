"""Helpers that build an app with a rate-limited route, and count the requests that it allows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask, Request

from flask_convex_http import ActionCtx, HttpRouter
from flask_convex_http.testing import Clock
from flask_convex_http.web.guards.rate_limit import rate_limit
from tests.web.apps import deployed, send

MINUTE = timedelta(minutes=1)


def new_handler() -> Callable[[ActionCtx, Request], str]:
    """Return a new handler, because `@rate_limit` rejects a handler that is registered already."""

    def ok(ctx: ActionCtx, request: Request) -> str:
        return "ok"

    return ok


@contextmanager
def limited_app(folder: Path, clock: Clock | None = None, **options: Any) -> Iterator[Flask]:
    """Yield an app with one route that allows one request a minute, unless the options say otherwise."""
    http = HttpRouter("http", __name__)
    chosen: dict[str, Any] = {"rate": 1, "period": MINUTE} | options
    http.get("/x")(rate_limit(**chosen)(new_handler()))
    with deployed(folder, http, clock=clock or Clock()) as app:
        yield app


def status(app: Flask, path: str = "/x", method: str = "GET", **environ: Any) -> int:
    """Send a request and return the status."""
    return send(app, method, path, **environ).status_code


def count_allowed(app: Flask, path: str = "/x", **environ: Any) -> int:
    """Return how many requests are allowed before the first 429."""
    for number in range(50):
        code = status(app, path, **environ)
        if code == 429:
            return number
        assert code == 200
    return 50


def from_address(address: Any) -> dict[str, Any]:
    """Return the WSGI variables of a request from this address."""
    return {"REMOTE_ADDR": address}
