"""An app with stored files, and requests to their signed URLs."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from werkzeug.test import TestResponse

from flask_convex_http import Id, StoredFile
from flask_convex_http.storage.storage import StorageActions
from flask_convex_http.testing import Clock
from tests import stores
from tests.web.apps import backend_of, deployed, send

BODY = bytes(range(256)) * 4


@contextmanager
def storing(folder: Path, clock: Clock | None = None, **config: Any) -> Iterator[tuple[Flask, StorageActions]]:
    """Yield an app and its `ctx.storage`."""
    with deployed(folder, clock=clock, **stores.config(folder), **config) as app:
        yield app, backend_of(app).ctx(site=lambda: "http://localhost").storage


def request(app: Flask, method: str, url: str, body: bytes = b"", /, **environ: Any) -> TestResponse:
    """Send a request to a signed URL."""
    parts = urlsplit(url)
    length = {"CONTENT_LENGTH": str(len(body))} if method in ("POST", "PUT") else {}
    return send(app, method, parts.path, body, **{"QUERY_STRING": parts.query, **length, **environ})


def url_of(storage: StorageActions, file_id: Id[StoredFile], **options: Any) -> str:
    """Return a URL of a file that exists."""
    url = storage.get_url(file_id, **options)
    assert url is not None
    return url


def minutes(count: int) -> dict[str, timedelta]:
    """Return the option of a lifetime."""
    return {"expires_in": timedelta(minutes=count)}
