"""Responses that handlers make of stored files: their length and their ranges."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request, Response, send_file
from flask.testing import FlaskClient
from gunicorn.http.wsgi import FileWrapper  # type: ignore[import-untyped]

from flask_convex_http import ActionCtx, HttpRouter, Id, StoredFile
from tests.web.apps import backend_of, deployed

BODY = bytes(range(256)) * 4000  # more than one piece of the blob store
http = HttpRouter("http", __name__)


@http.get("/plain/<file_id>")
def plain(ctx: ActionCtx, request: Request, file_id: str) -> Any:
    return Response(ctx.storage.get(Id[StoredFile](file_id)), mimetype="video/mp4")


@http.get("/bare/<file_id>")
def bare(ctx: ActionCtx, request: Request, file_id: str) -> Any:
    return ctx.storage.get(Id[StoredFile](file_id))


@http.get("/tuple/<file_id>")
def in_tuple(ctx: ActionCtx, request: Request, file_id: str) -> Any:
    return ctx.storage.get(Id[StoredFile](file_id)), 200, {"Content-Type": "video/mp4"}


@http.get("/sent/<file_id>")
def sent(ctx: ActionCtx, request: Request, file_id: str) -> Any:
    file: Any = ctx.storage.get(Id[StoredFile](file_id))
    return send_file(file, "video/mp4", conditional=True, etag="abc")


@http.get("/conditional/<file_id>")
def conditional(ctx: ActionCtx, request: Request, file_id: str) -> Any:
    response = Response(ctx.storage.get(Id[StoredFile](file_id)), mimetype="video/mp4", direct_passthrough=True)
    return response.make_conditional(request, accept_ranges=True, complete_length=len(BODY))


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Flask]:
    with deployed(tmp_path, http) as app:
        yield app


@pytest.fixture(name="client")
def _client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(name="file_id")
def _file_id(app: Flask) -> str:
    return backend_of(app).ctx().storage.store(BODY)


ROUTES = pytest.mark.parametrize("route", ["plain", "bare", "tuple", "sent", "conditional"])


@ROUTES
@pytest.mark.parametrize(
    ("header", "start", "stop"), [("0-3", 0, 4), ("300000-600000", 300_000, 600_001), ("-5", -5, None)]
)
def test_a_range_is_206(client: FlaskClient, file_id: str, route: str, header: str, start: int, stop: int) -> None:
    """A response of a stored file sends the range that the client asks for."""
    response = client.get(f"/{route}/{file_id}", headers={"Range": f"bytes={header}"})
    assert (response.status_code, response.data) == (206, BODY[start:stop])
    first = start % len(BODY)
    last = first + len(response.data) - 1
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{len(BODY)}"
    assert response.headers["Content-Length"] == str(len(response.data))


@pytest.mark.parametrize("route", ["plain", "sent"])
def test_the_whole_file_has_its_length(client: FlaskClient, file_id: str, route: str) -> None:
    """Without a range the response has the whole file and its length, also for HEAD."""
    whole = client.get(f"/{route}/{file_id}")
    assert (whole.status_code, whole.data, whole.headers["Accept-Ranges"]) == (200, BODY, "bytes")
    head = client.head(f"/{route}/{file_id}", headers={"Range": "bytes=0-3"})
    assert [whole.headers["Content-Length"], head.headers["Content-Length"]] == [str(len(BODY))] * 2
    assert (head.status_code, head.data) == (200, b"")


@pytest.mark.parametrize("route", ["plain", "sent"])
def test_a_range_beyond_the_end_is_416(client: FlaskClient, file_id: str, route: str) -> None:
    """A range beyond the end is 416 with the size, and no body."""
    response = client.get(f"/{route}/{file_id}", headers={"Range": f"bytes={len(BODY)}-"})
    assert (response.status_code, response.data) == (416, b"")
    assert response.headers["Content-Range"] == f"bytes */{len(BODY)}"


def test_if_range_compares_the_etag(client: FlaskClient, file_id: str) -> None:
    """With If-Range a range is sent only if the response has that ETag."""
    for route, etag, status in (("sent", '"abc"', 206), ("sent", '"other"', 200), ("plain", '"abc"', 200)):
        headers = {"Range": "bytes=0-3", "If-Range": etag}
        assert client.get(f"/{route}/{file_id}", headers=headers).status_code == status


def test_ranges_under_gunicorn(client: FlaskClient, file_id: str) -> None:
    """A file that send_file wraps in the server's own wrapper sends ranges, too."""
    wrapper = {"wsgi.file_wrapper": FileWrapper}
    response = client.get(f"/sent/{file_id}", headers={"Range": "bytes=300000-"}, environ_overrides=wrapper)
    assert (response.status_code, response.data) == (206, BODY[300_000:])
