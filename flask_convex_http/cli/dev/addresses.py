"""The URLs of an app that runs on this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from flask import Flask

from flask_convex_http.backend import Backend
from flask_convex_http.cli.local_url import url_of
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.web.openapi.serving import DOCUMENTS
from flask_convex_http.web.state import DASHBOARD


def addresses(app: Flask, backend: Backend, host: str) -> Iterator[tuple[str, str]]:
    """Yield a label and a URL for each place that a person looks at, or gives to the sender of a webhook.

    Args:
        app: The app.
        backend: Its backend.
        host: The address that the server listens on.
    """
    root = _root(host)
    yield "App", f"{root}/"
    documents = app.extensions.get(DOCUMENTS)
    if documents is not None and documents.options.docs is not None:
        yield "API docs", root + documents.options.docs
    if DASHBOARD in app.blueprints:
        yield "Dashboard", f"{root}/_convex{_log_in(backend)}"
    for webhook in backend.webhooks:
        yield "Webhook", root + webhook.path


def _log_in(backend: Backend) -> str:
    """Return the end of a URL that logs in to the dashboard once; empty if the database cannot store it."""
    from flask_convex_http.dashboard.access import Access

    try:
        return f"/login#{Access(backend).create_link('full')}"
    except ConvexHTTPError:
        return ""


def _root(host: str) -> str:
    """Return the URL of the server, whose socket Werkzeug passes on."""
    with socket.socket(fileno=os.dup(int(os.environ["WERKZEUG_SERVER_FD"]))) as server:
        return url_of(host, server.getsockname()[1])
