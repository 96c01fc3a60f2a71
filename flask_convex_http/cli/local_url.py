"""The URL at which `flask run` serves an app on this machine."""

from __future__ import annotations

import os

#: The URL without an option and without an environment variable of Flask.
DEFAULT_URL = "http://127.0.0.1:5000"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def local_url() -> str:
    """Return the URL by Flask's own variables `FLASK_RUN_HOST` and `FLASK_RUN_PORT`."""
    return url_of(os.environ.get("FLASK_RUN_HOST") or "127.0.0.1", os.environ.get("FLASK_RUN_PORT") or "5000")


def url_of(host: str, port: int | str) -> str:
    """Return the URL of a server that listens on an address, for a client on the same machine."""
    name = _EVERYWHERE.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
