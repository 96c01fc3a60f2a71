"""An app with a flood of forged deliveries, and whether Flask sees a request."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from flask import Flask
from werkzeug.test import EnvironBuilder

from flask_convex_http import HttpRouter, WebhookEvent
from flask_convex_http.inbox.rejections import Rejections
from flask_convex_http.webhooks import Provider
from tests.web.apps import backend_of
from tests.web.orders_webhook import BODY, provider, sign

#: Rejections after which further ones are only counted.
BURST = 20
FORGED = {"HTTP_X_SIGNATURE": sign(secret="another"), "HTTP_X_REQUEST_ID": "of-the-test"}


class Reply(NamedTuple):
    """A response, and whether Flask has seen the request."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes
    is_seen: bool


def hook_router(given: Provider | None = None, *, seen: list[WebhookEvent] | None = None) -> HttpRouter:
    """Return a router with a webhook at /hook, which adds its events to a list."""
    http, events = HttpRouter("http", __name__), [] if seen is None else seen
    http.webhook("/hook", given or provider(), endpoint="hook")(lambda ctx, event: events.append(event))
    return http


def post(app: Flask, environ: Mapping[str, Any], path: str = "/hook", body: bytes = BODY) -> Reply:
    """Send a POST with a body that has arrived with its head."""
    sent = EnvironBuilder(path, method="POST", content_type="application/json").get_environ()
    sent |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body), **environ}
    started: list[Any] = []
    content = b"".join(app(sent, lambda *start: started.extend(start)))  # type: ignore[arg-type]
    return Reply(started[0], started[1], content, is_seen="werkzeug.request" in sent)


def flood(
    app: Flask, folder: Path, path: str = "/hook", body: bytes = BODY, headers: Mapping[str, str] = FORGED
) -> Rejections:
    """Send forgeries until further ones are only counted. No second passes."""
    rejections = backend_of(app).rejections = Rejections(folder / "rejected", timer=lambda: 0.0)
    use_up(app, path, body, headers)
    return rejections


def use_up(app: Flask, path: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Send forgeries to a webhook until further ones are only counted."""
    for _ in range(BURST):
        assert post(app, headers, path, body).is_seen
