"""Files in S3: clients are sent on to the store, and what protects them goes with it."""

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

from flask_convex_http.storage.storage import StorageActions
from flask_convex_http.testing import Clock
from tests import s3
from tests.web.apps import backend_of, deployed, send

BODY = bytes(range(256)) * 4


@contextmanager
def storing(folder: Path, clock: Clock | None = None, **config: Any) -> Iterator[tuple[Flask, StorageActions]]:
    """An app with its files in S3, and its `ctx.storage`."""
    with deployed(folder, clock=clock, **{"CONVEX_STORAGE_URL": s3.url(folder)} | config) as app:
        yield app, backend_of(app).ctx(site=lambda: "http://localhost").storage


def request(app: Flask, method: str, url: str | None, body: bytes = b"", /, **environ: Any) -> TestResponse:
    """A request to a signed URL of the app."""
    parts = urlsplit(url or "")
    length = {"CONTENT_LENGTH": str(len(body))} if method == "POST" else {}
    return send(app, method, parts.path, body, **{"QUERY_STRING": parts.query, **length, **environ})


def follow(redirect: TestResponse, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    """What a client gets where it is sent: status, headers, body."""
    assert redirect.status_code == 302
    sent = urllib.request.Request(redirect.headers["Location"], None, headers, method=method)
    try:
        with urllib.request.urlopen(sent, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_upload_and_download(tmp_path: Path) -> None:
    """What was posted to an upload URL is read from the store, where the signed URL of the app sends its client."""
    with storing(tmp_path) as (app, storage):
        uploaded = request(app, "POST", storage.generate_upload_url(), BODY, CONTENT_TYPE="image/png").json or {}
        redirect = request(app, "GET", storage.get_url(uploaded["storageId"]))
        status, headers, body = follow(redirect)
        assert (status, body, headers["Content-Type"]) == (200, BODY, "image/png")
        assert headers["Content-Disposition"] == "inline"
        assert not redirect.data


def test_head_and_ranges(tmp_path: Path) -> None:
    """A HEAD is sent on as one, and a range and a condition are evaluated by the store."""
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


def test_what_could_run_is_a_download(tmp_path: Path) -> None:
    """A page, an image with scripts and nonsense are downloads from the store, too, stored in either way."""
    expected = {"text/html": "text/html", "image/svg+xml": "image/svg+xml", "a\r\nb": "application/octet-stream"}
    with storing(tmp_path) as (app, storage):
        for sent, media_type in expected.items():
            url = storage.generate_upload_url()
            uploaded = request(app, "POST", url, b"<script>", CONTENT_TYPE=sent).json or {}
            for file_id in (uploaded["storageId"], storage.store(b"<script>", content_type=sent)):
                _, headers, body = follow(request(app, "GET", storage.get_url(file_id)))
                assert (headers["Content-Type"], body) == (media_type, b"<script>")
                assert headers["Content-Disposition"] == f"attachment; filename={file_id}"


def test_a_redirect_is_not_kept_longer_than_it_is_good(tmp_path: Path) -> None:
    """The store's URL is good for minutes, and never longer than the app's; a browser forgets it sooner."""
    with storing(tmp_path, Clock()) as (app, storage):
        file_id = storage.store(BODY)
        ages = {None: (300, 60), 3600: (300, 60), 280: (280, 40), 60: (60, 0), 1: (1, 0)}
        for seconds, (good, kept) in ages.items():
            expires_in = None if seconds is None else timedelta(seconds=seconds)
            answer = request(app, "GET", storage.get_url(file_id, expires_in=expires_in))
            query = parse_qs(urlsplit(answer.headers["Location"]).query)
            assert abs(int(query["X-Amz-Expires"][0]) - good) <= 1
            assert answer.headers["Cache-Control"] in (f"private, max-age={kept}", f"private, max-age={kept + 1}")


def test_nobody_is_sent_on_without_a_right(tmp_path: Path) -> None:
    """A URL that is tampered with, expired or revoked, or of a deleted file, is refused by the app."""
    clock = Clock()
    with storing(tmp_path, clock) as (app, storage):
        file_id = storage.store(BODY)
        lasting = str(storage.get_url(file_id))
        short = storage.get_url(file_id, expires_in=timedelta(minutes=1))
        clock.advance(timedelta(minutes=2))
        assert request(app, "GET", lasting[:-1]).status_code == 403
        assert request(app, "GET", short).status_code == 403
        storage.revoke_urls(file_id)
        assert request(app, "GET", lasting).status_code == 403
        renewed = storage.get_url(file_id)
        storage.delete(file_id)
        assert request(app, "GET", renewed).status_code == 404


def test_other_origins_are_let_through(tmp_path: Path) -> None:
    """A page of any origin may follow the redirect, as far as the app is asked."""
    with storing(tmp_path) as (app, storage):
        url = storage.get_url(storage.store(BODY))
        answer = request(app, "GET", url, HTTP_ORIGIN="https://example.com")
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (302, "*")


def test_the_app_can_pass_the_bytes_on(tmp_path: Path) -> None:
    """With CONVEX_STORAGE_REDIRECT=off the app answers itself, with its own headers."""
    with storing(tmp_path, CONVEX_STORAGE_REDIRECT="off") as (app, storage):
        url = storage.get_url(storage.store(BODY, content_type="text/html"))
        whole, part = request(app, "GET", url), request(app, "GET", url, HTTP_RANGE="bytes=0-3")
        assert (whole.status_code, whole.data, part.status_code, part.data) == (200, BODY, 206, BODY[:4])
        assert whole.headers["Content-Security-Policy"].startswith("sandbox")


def test_no_answer_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store cannot be reached an upload is a 503 that says when to come back, and leaves no row."""
    with storing(tmp_path) as (app, storage):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        answer = request(app, "POST", storage.generate_upload_url(), BODY)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
        assert answer.json == {"error": "The file store does not answer"}
