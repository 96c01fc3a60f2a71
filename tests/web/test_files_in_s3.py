"""Files in S3: the app redirects clients to the store, with the same checks and protective headers."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_convex_http import Id, StoredFile
from flask_convex_http.storage.storage import StorageActions
from flask_convex_http.testing import Clock
from tests import s3
from tests.web.apps import backend_of, deployed, send

BODY = bytes(range(256)) * 4


@contextmanager
def storing(folder: Path, clock: Clock | None = None, **config: Any) -> Iterator[tuple[Flask, StorageActions]]:
    """Yield an app with its files in S3, and its `ctx.storage`."""
    with deployed(folder, clock=clock, **{"CONVEX_STORAGE_URL": s3.url(folder)} | config) as app:
        yield app, backend_of(app).ctx(site=lambda: "http://localhost").storage


def request(app: Flask, method: str, url: str | None, body: bytes = b"", /, **environ: Any) -> TestResponse:
    """Send a request to a signed URL of the app."""
    parts = urlsplit(url or "")
    length = {"CONTENT_LENGTH": str(len(body))} if method == "POST" else {}
    return send(app, method, parts.path, body, **{"QUERY_STRING": parts.query, **length, **environ})


def exact_url(app: Flask, file_id: Id[StoredFile], expires_in: timedelta | None) -> str:
    """Return a URL of a file whose lifetime is not rounded."""
    files = backend_of(app).files
    file = files.metadata(file_id)
    assert file is not None
    return files.url("", file, None if expires_in is None else int(files.clock() / 1000 + expires_in.total_seconds()))


def follow(redirect: TestResponse, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    """Follow a redirect and return status, headers and body."""
    assert redirect.status_code == 302
    sent = urllib.request.Request(redirect.headers["Location"], None, headers, method=method)
    try:
        with urllib.request.urlopen(sent, timeout=30) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_upload_and_download(tmp_path: Path) -> None:
    """A file that was posted to an upload URL is downloaded from the store, to which the app redirects."""
    with storing(tmp_path) as (app, storage):
        uploaded = request(app, "POST", storage.generate_upload_url(), BODY, CONTENT_TYPE="image/png").json or {}
        redirect = request(app, "GET", storage.get_url(uploaded["storageId"]))
        status, headers, body = follow(redirect)
        assert (status, body, headers["Content-Type"]) == (200, BODY, "image/png")
        assert headers["Content-Disposition"] == "inline"
        assert not redirect.data


def test_head_and_ranges(tmp_path: Path) -> None:
    """A HEAD is redirected, and the store evaluates ranges."""
    with storing(tmp_path) as (app, storage):
        url = storage.get_url(storage.store(BODY))
        head = request(app, "HEAD", url)
        assert (head.status_code, head.data) == (302, b"")
        status, headers, body = follow(head, "HEAD")
        assert (status, headers["Content-Length"], body) == (200, str(len(BODY)), b"")
        part = request(app, "GET", url, HTTP_RANGE="bytes=5-9", HTTP_IF_NONE_MATCH="*")
        status, headers, body = follow(part, Range="bytes=5-9")
        assert (status, body, headers["Content-Range"]) == (206, BODY[5:10], f"bytes 5-9/{len(BODY)}")
        beyond = request(app, "GET", url, HTTP_RANGE="bytes=5000-")
        assert follow(beyond, Range="bytes=5000-")[0] == 416


def test_scriptable_types_are_downloads(tmp_path: Path) -> None:
    """HTML, SVG, scripts and malformed types are downloads of an unknown type from the store too."""
    with storing(tmp_path) as (app, storage):
        for sent in ("text/html", "image/svg+xml", "text/javascript", "a\r\nb"):
            url = storage.generate_upload_url()
            uploaded = request(app, "POST", url, b"<script>", CONTENT_TYPE=sent).json or {}
            for file_id in (uploaded["storageId"], storage.store(b"<script>", content_type=sent)):
                _, headers, body = follow(request(app, "GET", storage.get_url(file_id)))
                assert (headers["Content-Type"], body) == ("application/octet-stream", b"<script>")
                assert headers["Content-Disposition"] == f'attachment; filename="{file_id}"'


def test_names_reach_the_store(tmp_path: Path) -> None:
    """The store sends a file with its name, also after a direct upload."""
    expected = "inline; filename=\"resume.png\"; filename*=UTF-8''r%C3%A9sum%C3%A9.png"
    with storing(tmp_path) as (app, storage):
        upload = storage.generate_direct_upload("image/png", name="résumé.png")
        with urllib.request.urlopen(urllib.request.Request(upload.upload_url, BODY, method="PUT"), timeout=30):
            finished = request(app, "POST", upload.finish_url).json or {}
        for file_id in (storage.store(BODY, content_type="image/png", name="résumé.png"), finished["storageId"]):
            _, headers, _ = follow(request(app, "GET", storage.get_url(file_id)))
            assert headers["Content-Disposition"] == expected
            file = storage.get_metadata(file_id)
            assert file is not None and file.name == "résumé.png"


def test_a_shown_pdf_comes_from_the_app(tmp_path: Path) -> None:
    """The app sends a PDF that a browser may show, since the store keeps it as a download without a policy."""
    with storing(tmp_path) as (app, storage):
        file_id = storage.store(BODY, content_type="application/pdf")
        assert request(app, "GET", storage.get_url(file_id)).status_code == 302
        shown = request(app, "GET", storage.get_url(file_id, inline=True), HTTP_RANGE="bytes=0-3")
        assert (shown.status_code, shown.data, shown.headers["Content-Disposition"]) == (206, BODY[:4], "inline")


def test_redirect_is_cached_shorter_than_it_is_valid(tmp_path: Path) -> None:
    """The store's URL is valid for at most five minutes, never outlives the app's URL, and is cached for less."""
    with storing(tmp_path, Clock()) as (app, storage):
        file_id = storage.store(BODY)
        ages = {None: (300, 60), 3600: (300, 60), 280: (280, 40), 60: (60, 0), 1: (1, 0)}
        for seconds, (lifetime, max_age) in ages.items():
            expires_in = None if seconds is None else timedelta(seconds=seconds)
            response = request(app, "GET", exact_url(app, file_id, expires_in))
            query = parse_qs(urlsplit(response.headers["Location"]).query)
            assert abs(int(query["X-Amz-Expires"][0]) - lifetime) <= 1
            assert response.headers["Cache-Control"] in (
                f"private, max-age={max_age}",
                f"private, max-age={max_age + 1}",
            )


def test_rejected_url_is_not_redirected(tmp_path: Path) -> None:
    """The app rejects a URL that was changed, has expired or was revoked, or whose file was deleted."""
    clock = Clock()
    with storing(tmp_path, clock) as (app, storage):
        file_id = storage.store(BODY)
        lasting = str(storage.get_url(file_id))
        short = storage.get_url(file_id, expires_in=timedelta(seconds=59))
        clock.advance(timedelta(minutes=2))
        assert request(app, "GET", lasting[:-1]).status_code == 403
        assert request(app, "GET", short).status_code == 403
        storage.revoke_urls(file_id)
        assert request(app, "GET", lasting).status_code == 403
        renewed = storage.get_url(file_id)
        storage.delete(file_id)
        assert request(app, "GET", renewed).status_code == 404


def test_redirect_allows_any_origin(tmp_path: Path) -> None:
    """The redirect allows pages of any origin."""
    with storing(tmp_path) as (app, storage):
        url = storage.get_url(storage.store(BODY))
        response = request(app, "GET", url, HTTP_ORIGIN="https://example.com")
        assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (302, "*")


def test_redirects_can_be_turned_off(tmp_path: Path) -> None:
    """With CONVEX_STORAGE_REDIRECT=off the app sends the bytes itself, with its own headers."""
    with storing(tmp_path, CONVEX_STORAGE_REDIRECT="off") as (app, storage):
        url = storage.get_url(storage.store(BODY, content_type="text/html"))
        whole, part = request(app, "GET", url), request(app, "GET", url, HTTP_RANGE="bytes=0-3")
        assert (whole.status_code, whole.data, part.status_code, part.data) == (200, BODY, 206, BODY[:4])
        assert whole.headers["Content-Security-Policy"].startswith("sandbox")


def test_unreachable_store_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store cannot be reached an upload is a 503 with Retry-After."""
    with storing(tmp_path) as (app, storage):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        response = request(app, "POST", storage.generate_upload_url(), BODY)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "10")
        assert response.json == {"error": "The file store does not answer"}
