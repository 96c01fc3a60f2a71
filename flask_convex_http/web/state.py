"""State of the current app and request: the backend, the webhooks, and the start of absolute URLs."""

from __future__ import annotations

from flask import Flask, Request, current_app

from flask_convex_http.backend import Backend
from flask_convex_http.inbox.registry import Webhooks

EXTENSION = "convex_http"
#: The app's `Webhooks`.
WEBHOOKS = "convex_http_webhooks"
#: The app's `BackgroundWorker`.
WORKER = "convex_http_worker"
#: The name of the dashboard's blueprint, which an app has if its dashboard is on.
DASHBOARD = "convex_dashboard"


class MissingExtensionError(RuntimeError):
    """The extension was not set up for an app."""


def webhooks_of(app: Flask) -> Webhooks:
    """Return the webhooks of an app. Routers and the extension may be registered in any order."""
    known: Webhooks | None = app.extensions.get(WEBHOOKS)  # each delivery asks
    return app.extensions.setdefault(WEBHOOKS, Webhooks()) if known is None else known


def current_backend() -> Backend:
    """Return the backend of the current app.

    Raises:
        MissingExtensionError: The extension was not set up for this app.
    """
    return backend_of(current_app)


def backend_of(app: Flask) -> Backend:
    """Return the backend of an app.

    Raises:
        MissingExtensionError: The extension was not set up for this app.
    """
    try:
        backend: Backend = app.extensions[EXTENSION]
        return backend
    except KeyError:
        raise MissingExtensionError(
            "This app has no ConvexHTTP: call convex.init_app(app) in create_app(), with the same ConvexHTTP instance "
            "that you use elsewhere"
        ) from None


def site_of(request: Request) -> str:
    """Return the URL at which the client reached the app, without a slash at the end."""
    return request.root_url.rstrip("/")


def raises_unexpected(app: Flask) -> bool:
    """Return whether an app raises unexpected exceptions instead of responding with 500, by Flask's rule."""
    propagates: bool | None = app.config["PROPAGATE_EXCEPTIONS"]
    return app.testing or app.debug if propagates is None else propagates
