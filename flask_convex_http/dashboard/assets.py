"""The static files of the dashboard, with URLs that change with their content."""

from __future__ import annotations

import functools
import hashlib
from importlib.resources import files

from flask import Flask, Response
from werkzeug.exceptions import NotFound

#: The static files and their media types. Nothing else is served.
FILES = {
    "dashboard.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
    "charts.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "vendor/htmx.min.js": "text/javascript; charset=utf-8",
    "vendor/uPlot.iife.min.js": "text/javascript; charset=utf-8",
    "vendor/uPlot.min.css": "text/css; charset=utf-8",
}


@functools.cache
def content_of(name: str) -> tuple[bytes, str]:
    """Return the bytes of a file, and the part of its URL that changes with them."""
    content = files("flask_convex_http.dashboard").joinpath("static", *name.split("/")).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:16]


def respond_with(app: Flask, name: str) -> Response:
    """Respond with a file, which browsers keep because its URL changes with its content.

    Raises:
        NotFound: There is no such file.
    """
    if name not in FILES:
        raise NotFound
    response = app.response_class(content_of(name)[0], content_type=FILES[name])
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
