"""How the tests of `@rate_limit` build an app with a limited route, and how often that lets them through."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask, Request

from flask_convex_http import ActionCtx, HttpRouter
from flask_convex_http.testing import Clock
from flask_convex_http.web.rate_limit import rate_limit
from tests.web.apps import deployed, send

MINUTE = timedelta(minutes=1)


def new_handler() -> Callable[[ActionCtx, Request], str]:
    """A handler that answers; a new one, for a registered one takes no limit."""

    def ok(ctx: ActionCtx, request: Request) -> str:
        return "ok"

    return ok


@contextmanager
def limited(folder: Path, clock: Clock | None = None, **options: Any) -> Iterator[Flask]:
    """An app with one route that lets one request a minute through, if the options do not say otherwise."""
    http = HttpRouter("http", __name__)
    chosen: dict[str, Any] = {"rate": 1, "period": MINUTE} | options
    http.get("/x")(rate_limit(**chosen)(new_handler()))
    with deployed(folder, http, clock=clock or Clock()) as app:
        yield app


def status(app: Flask, path: str = "/x", method: str = "GET", **environ: Any) -> int:
    """The status of a request."""
    return send(app, method, path, **environ).status_code


def passed(app: Flask, path: str = "/x", **environ: Any) -> int:
    """How many requests are let through before one is refused."""
    for number in range(50):
        answer = status(app, path, **environ)
        if answer == 429:
            return number
        assert answer == 200
    return 50


def from_address(address: Any) -> dict[str, Any]:
    """What makes a request come from an address."""
    return {"REMOTE_ADDR": address}
