"""What belongs to the current app and the current request: the backend, and where the site is."""

from __future__ import annotations

from flask import Flask, Request, current_app

from flask_convex_http.backend import Backend
from flask_convex_http.inbox.registry import Webhooks

EXTENSION = "convex_http"
#: The app's `Webhooks`.
WEBHOOKS = "convex_http_webhooks"
#: The app's `BackgroundWorker`.
WORKER = "convex_http_worker"


def webhooks_of(app: Flask) -> Webhooks:
    """The webhooks of an app, whether its routers or the extension come first."""
    webhooks: Webhooks = app.extensions.setdefault(WEBHOOKS, Webhooks())
    return webhooks


def current_backend() -> Backend:
    """The backend of the current app.

    Raises:
        RuntimeError: The extension was not set up for this app.
    """
    return backend_of(current_app)


def backend_of(app: Flask) -> Backend:
    """The backend of an app.

    Raises:
        RuntimeError: The extension was not set up for this app.
    """
    try:
        backend: Backend = app.extensions[EXTENSION]
        return backend
    except KeyError:
        raise RuntimeError(
            "This app has no ConvexHTTP: call convex.init_app(app) in create_app(), with the same ConvexHTTP instance "
            "that you use elsewhere"
        ) from None


def site_of(request: Request) -> str:
    """Where the client reached the app, without a slash at the end."""
    return request.root_url.rstrip("/")
