"""Files over HTTP through the app: uploads, downloads, signed URLs, and bounded memory."""

import base64
import hashlib
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from flask_convex_http import Id, StoredFile
from flask_convex_http.storage.storage import StorageActions
from flask_convex_http.testing import Clock
from tests import stores
from tests.lengths import SAMPLED, examples
from tests.web.apps import backend_of, deployed, send, send_chunked

pytestmark = stores.EACH_STORE

BODY = bytes(range(256)) * 4
MIB = 2**20


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


def count_blobs(app: Flask) -> int:
    """Return the number of blobs."""
    return backend_of(app).blobs.total()[0]


def url_of(storage: StorageActions, file_id: Id[StoredFile], **options: Any) -> str:
    """Return a URL of a file that exists."""
    url = storage.get_url(file_id, **options)
    assert url is not None
    return url


# --- uploads ---------------------------------------------------------------------------------------------------------


def test_upload_and_download(tmp_path: Path) -> None:
    """A POST to an upload URL returns the id of a readable file, a new one each time."""
    with storing(tmp_path) as (app, storage):
        url = storage.generate_upload_url()
        first = request(app, "POST", url, BODY, CONTENT_TYPE="image/png").json or {}
        second = request(app, "POST", url, BODY).json or {}
        assert list(first) == ["storageId"] and first != second
        response = request(app, "GET", url_of(storage, first["storageId"]))
        assert (response.status_code, response.data, response.content_type) == (200, BODY, "image/png")
        file = storage.get_metadata(first["storageId"])
    assert file is not None
    assert (file.size, file.sha256) == (len(BODY), base64.b64encode(hashlib.sha256(BODY).digest()).decode())


def test_upload_url_expires(tmp_path: Path) -> None:
    """An upload URL is valid until it expires, after an hour by default."""
    clock = Clock()
    with storing(tmp_path, clock) as (app, storage):
        url, short = storage.generate_upload_url(), storage.generate_upload_url(expires_in=timedelta(minutes=1))
        clock.advance(timedelta(minutes=2))
        assert request(app, "POST", url, BODY).status_code == 200
        assert request(app, "POST", short, BODY).json == {"error": "Invalid or expired upload URL"}
        clock.advance(timedelta(minutes=58))
        assert request(app, "POST", url, BODY).status_code == 403
        assert count_blobs(app) == 1


def test_tampered_upload_url_is_rejected(tmp_path: Path) -> None:
    """A changed or unsigned upload URL is rejected and stores nothing."""
    with storing(tmp_path) as (app, storage):
        url = storage.generate_upload_url()
        later = re.sub(r"expires=\d+", "expires=99999999999", url)
        wrong = [later, url[:-1], url + "x", url.split("&")[0], url.split("?")[0], url.replace("signature=", "s=")]
        for tampered in [*wrong, url.replace("signature=", "signature=%C3%A9"), url.replace("expires=", "expires=%ff")]:
            assert request(app, "POST", tampered, BODY).status_code == 403
        assert count_blobs(app) == 0


def test_upload_takes_only_post(tmp_path: Path) -> None:
    """An upload URL accepts only POST, from pages of any origin."""
    with storing(tmp_path) as (app, storage):
        url = storage.generate_upload_url()
        for method in ("PUT", "PATCH", "DELETE"):
            response = request(app, method, url, BODY)
            assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (405, "*")
        preflight_headers = {
            "HTTP_ORIGIN": "https://example.com",
            "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST",
            "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": "content-type",
        }
        preflight = request(app, "OPTIONS", url, **preflight_headers)
        assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, "*")
        assert preflight.headers["Access-Control-Allow-Headers"] == "content-type"
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        uploaded = request(app, "POST", url, BODY, HTTP_ORIGIN="https://example.com")
    assert (uploaded.status_code, uploaded.headers["Access-Control-Allow-Origin"]) == (200, "*")


#: Media types as they are uploaded and as they are sent, and whether a browser may show them.
TYPES: list[tuple[str, str, bool]] = [
    ("image/png", "image/png", True),
    ("video/mp4", "video/mp4", True),
    ("text/plain; charset=utf-8", "text/plain; charset=utf-8", True),
    ("IMAGE/JPEG", "IMAGE/JPEG", True),
    ("application/pdf", "application/pdf", False),
    ("application/zip", "application/zip", False),
    ("text/plain-x", "text/plain-x", False),
    *(
        (sent, "application/octet-stream", False)
        for sent in (
            "text/html",
            "image/svg+xml",
            "image/png+xml",
            "audio/x+xml",
            "application/xhtml+xml",
            "text/javascript",
            "Application/JavaScript; charset=utf-8",
            "",
            "garbage",
            "text/plain\r\nSet-Cookie: a=b",
            "text/plain;\n charset=utf-8",
            "text/plain\n",
            "image/pñg",
            "image/png, text/html",
            "a/" + "b" * 500,
        )
    ),
]


def test_content_types_are_made_safe(tmp_path: Path) -> None:
    """Only types that cannot carry a script are shown inline; a type that a page could run or that is malformed is
    application/octet-stream.
    """
    with storing(tmp_path) as (app, storage):
        for sent, served, inline in TYPES:
            uploaded = request(app, "POST", storage.generate_upload_url(), b"<script>", CONTENT_TYPE=sent).json or {}
            for file_id in (uploaded["storageId"], storage.store(b"<script>", content_type=sent or None)):
                response = request(app, "GET", url_of(storage, file_id))
                assert (response.status_code, response.headers["Content-Type"]) == (200, served)
                assert response.headers["Content-Disposition"].startswith("inline" if inline else "attachment")
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Content-Security-Policy"].startswith("sandbox")


def test_a_pdf_is_shown_on_request(tmp_path: Path) -> None:
    """A URL with inline=True shows a PDF under a policy that viewers accept, and never HTML or a script."""
    with storing(tmp_path) as (app, storage):
        pdf = storage.store(BODY, content_type="application/pdf", name="report.pdf")
        url = url_of(storage, pdf, inline=True, expires_in=timedelta(minutes=5))
        shown = request(app, "GET", url)
        assert (shown.data, shown.content_type) == (BODY, "application/pdf")
        assert shown.headers["Content-Disposition"] == 'inline; filename="report.pdf"'
        assert "sandbox" not in shown.headers["Content-Security-Policy"]
        assert "default-src 'none'" in shown.headers["Content-Security-Policy"]
        assert request(app, "GET", url.replace("inline=1&", "")).status_code == 403
        assert request(app, "GET", url_of(storage, pdf).replace("?", "?inline=1&")).status_code == 403
        page = storage.store(b"<script>", content_type="text/html")
        response = request(app, "GET", url_of(storage, page, inline=True))
        assert response.headers["Content-Disposition"].startswith("attachment")
        assert response.headers["Content-Security-Policy"].startswith("sandbox")


def test_other_origins_may_read_the_headers(tmp_path: Path) -> None:
    """A script of another origin may read the headers of ranges, the ETag and the name, and may embed the file."""
    with storing(tmp_path) as (app, storage):
        url = url_of(storage, storage.store(BODY))
        for environ in ({}, {"HTTP_RANGE": "bytes=0-1"}):
            response = request(app, "GET", url, HTTP_ORIGIN="https://example.com", **environ)
            exposed = set(response.headers["Access-Control-Expose-Headers"].split(", "))
            assert exposed >= {"Content-Range", "Accept-Ranges", "ETag", "Content-Disposition"}
            assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_upload_limit(tmp_path: Path) -> None:
    """CONVEX_MAX_UPLOAD_BYTES limits an upload, announced or in chunks, independently of the limit of other bodies."""
    with storing(tmp_path, CONVEX_MAX_UPLOAD_BYTES=1000, CONVEX_MAX_BODY_BYTES=10) as (app, storage):
        parts = urlsplit(storage.generate_upload_url())
        for size, status in ((0, 200), (1000, 200), (1001, 413)):
            body = b"a" * size
            assert request(app, "POST", parts.geturl(), body).status_code == status
            assert send_chunked(app, parts.path, body, QUERY_STRING=parts.query).status_code == status
        assert count_blobs(app) == 4


def test_empty_file(tmp_path: Path) -> None:
    """An empty file can be stored, and a range of it is the whole file."""
    with storing(tmp_path) as (app, storage):
        file_id = (request(app, "POST", storage.generate_upload_url()).json or {})["storageId"]
        url = url_of(storage, file_id)
        for environ in ({}, {"HTTP_RANGE": "bytes=0-"}, {"HTTP_RANGE": "bytes=-5"}):
            response = request(app, "GET", url, **environ)
            assert (response.status_code, response.data, response.headers["Content-Length"]) == (200, b"", "0")


def test_incomplete_upload_stores_nothing(tmp_path: Path) -> None:
    """A body that ends before its announced length leaves neither bytes nor a row."""
    with storing(tmp_path) as (app, storage):
        url = storage.generate_upload_url()
        assert request(app, "POST", url, BODY, CONTENT_LENGTH=str(len(BODY) + 1)).status_code == 400
        assert count_blobs(app) == 0
        assert not list(backend_of(app).blobs.keys())


@pytest.mark.parametrize("header", ["HTTP_DIGEST", "HTTP_CONTENT_DIGEST"])
def test_announced_digest(tmp_path: Path, header: str) -> None:
    """An upload with an announced SHA-256 is stored only if its bytes match."""
    colon = ":" if header == "HTTP_CONTENT_DIGEST" else ""

    def announced(body: bytes) -> str:
        return f"md5=x, sha-256={colon}{base64.b64encode(hashlib.sha256(body).digest()).decode()}{colon}"

    with storing(tmp_path) as (app, storage):
        url = storage.generate_upload_url()
        assert request(app, "POST", url, BODY, **{header: announced(BODY)}).status_code == 200
        wrong = request(app, "POST", url, BODY, **{header: announced(BODY + b"x")})
        unreadable = request(app, "POST", url, BODY, **{header: "sha-256=:é:"})
        other = request(app, "POST", url, BODY, **{header: "sha-512=:abc:"})
        assert (wrong.status_code, unreadable.status_code, other.status_code) == (400, 400, 200)
        assert "digest" in (wrong.json or {})["error"]
        assert count_blobs(app) == len(list(backend_of(app).blobs.keys())) == 2


# --- downloads -------------------------------------------------------------------------------------------------------


def test_head_and_validators(tmp_path: Path) -> None:
    """HEAD has the headers of GET and no body; an unchanged file is 304, with the same ETag and Cache-Control."""
    with storing(tmp_path) as (app, storage):
        url = url_of(storage, storage.store(BODY, content_type="image/png"))
        full, head = request(app, "GET", url), request(app, "HEAD", url)
        assert (head.status_code, head.data) == (200, b"")
        for response in (full, head):
            del response.headers["X-Request-Id"]
        assert list(head.headers) == list(full.headers)
        assert full.headers["Content-Length"] == str(len(BODY))
        assert full.headers["Accept-Ranges"] == "bytes"
        etag = full.headers["ETag"]
        for condition in (etag, "W/" + etag, f'"other", {etag}', "*"):
            response = request(app, "GET", url, HTTP_IF_NONE_MATCH=condition)
            assert (response.status_code, response.data, response.headers["ETag"]) == (304, b"", etag)
            assert response.headers["Cache-Control"] == full.headers["Cache-Control"]
        for condition in ('"other"', "", "garbage é"):
            assert request(app, "GET", url, HTTP_IF_NONE_MATCH=condition).status_code == 200


def test_ranges(tmp_path: Path) -> None:
    """One range is 206 with Content-Range, a range beyond the end is 416, and any other Range header is ignored."""
    with storing(tmp_path) as (app, storage):
        url, size = url_of(storage, storage.store(BODY)), len(BODY)
        for header, start, stop in (("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=-5", size - 5, size)):
            response = request(app, "GET", url, HTTP_RANGE=header)
            assert (response.status_code, response.data) == (206, BODY[start:stop])
            assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
            assert response.headers["Content-Length"] == str(stop - start)
        beyond = request(app, "GET", url, HTTP_RANGE=f"bytes={size}-")
        assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
        for header in ("bytes=0-1,3-4", "lines=0-1", "bytes=9-5", "garbage", "bytes=é-"):
            response = request(app, "GET", url, HTTP_RANGE=header)
            assert (response.status_code, response.data) == (200, BODY)


def test_head_ignores_range(tmp_path: Path) -> None:
    """HEAD ignores a Range header, whether it could be satisfied or not (RFC 9110, 14.2)."""
    with storing(tmp_path) as (app, storage):
        url = url_of(storage, storage.store(BODY))
        for header in ("bytes=0-9", f"bytes={len(BODY)}-"):
            response = request(app, "HEAD", url, HTTP_RANGE=header)
            assert (response.status_code, response.headers["Content-Length"]) == (200, str(len(BODY)))
            assert "Content-Range" not in response.headers


def test_if_range(tmp_path: Path) -> None:
    """With If-Range a range is sent only for the same strong ETag, never for a date or a weak ETag."""
    with storing(tmp_path) as (app, storage):
        url = url_of(storage, storage.store(BODY))
        etag = request(app, "GET", url).headers["ETag"]
        conditions = {etag: 206, "W/" + etag: 200, '"other"': 200, "Wed, 21 Oct 2015 07:28:00 GMT": 200, "": 200}
        for condition, status in conditions.items():
            response = request(app, "GET", url, HTTP_RANGE="bytes=0-4", HTTP_IF_RANGE=condition)
            assert response.status_code == status
            assert response.data == (BODY[:5] if status == 206 else BODY)


def test_url_expires(tmp_path: Path) -> None:
    """A URL is valid at least as long as asked, and Cache-Control keeps no browser's copy longer than that."""
    clock = Clock(datetime(2026, 1, 1, 12, tzinfo=UTC))
    with storing(tmp_path, clock) as (app, storage):
        file_id = storage.store(BODY)
        urls = (url_of(storage, file_id, **options) for options in ({}, minutes(10), {"expires_in": timedelta(0, 30)}))
        lasting, short, shortest = urls
        ages = [request(app, "GET", url).headers["Cache-Control"] for url in (lasting, short, shortest)]
        assert ages == ["private, max-age=86400", "private, max-age=1200", "private, max-age=30"]
        clock.advance(timedelta(minutes=19, seconds=59))
        assert [request(app, "GET", url).status_code for url in (short, shortest)] == [200, 403]
        clock.advance(timedelta(seconds=1))
        assert request(app, "GET", short).status_code == 403
        clock.advance(timedelta(days=1000))
        assert request(app, "GET", lasting).status_code == 200


def minutes(count: int) -> dict[str, timedelta]:
    """Return the option of a lifetime."""
    return {"expires_in": timedelta(minutes=count)}


def test_urls_are_stable(tmp_path: Path) -> None:
    """Repeated calls return the same URL for as long as its lifetime, up to a day, so that images are cached."""
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    with storing(tmp_path, clock) as (_, storage):
        file_id = storage.store(BODY)
        for lifetime, step in ((timedelta(minutes=5),) * 2, (timedelta(days=30), timedelta(days=1))):
            first = url_of(storage, file_id, expires_in=lifetime)
            clock.advance(step - timedelta(seconds=1))
            assert url_of(storage, file_id, expires_in=lifetime) == first
            clock.advance(timedelta(seconds=1))
            assert url_of(storage, file_id, expires_in=lifetime) != first
            clock.advance_to(datetime(2026, 2, 1, tzinfo=UTC).timestamp() * 1000)


def test_files_may_have_an_origin_of_their_own(tmp_path: Path) -> None:
    """URLs of files begin with CONVEX_FILES_URL, and upload URLs with the address of the app."""
    with storing(tmp_path, CONVEX_FILES_URL="https://files.example") as (app, storage):
        url = url_of(storage, storage.store(BODY))
        assert url.startswith("https://files.example/api/storage/")
        assert request(app, "GET", url).data == BODY
        assert storage.generate_upload_url().startswith("http://localhost/")


def test_urls_can_be_revoked(tmp_path: Path) -> None:
    """After revoke_urls every older URL is rejected, and new URLs work."""
    with storing(tmp_path) as (app, storage):
        file_id = storage.store(BODY)
        before = [url_of(storage, file_id), url_of(storage, file_id, expires_in=timedelta(days=1))]
        storage.revoke_urls(file_id)
        assert [request(app, "GET", url).status_code for url in before] == [403, 403]
        assert request(app, "GET", url_of(storage, file_id)).status_code == 200


def test_tampered_url_is_rejected(tmp_path: Path) -> None:
    """A changed URL, or one with another file's signature, is rejected."""
    with storing(tmp_path) as (app, storage):
        mine, other = (url_of(storage, storage.store(body)) for body in (BODY, b"other"))
        expiring = url_of(storage, storage.store(BODY), expires_in=timedelta(minutes=1))
        swapped = mine.split("?")[0] + "?" + other.split("?")[1]
        later = re.sub(r"expires=\d+", "expires=99999999999", expiring)
        unlimited = re.sub(r"expires=\d+&", "", expiring)
        doubled = mine.replace("?", "?expires=99999999999&")
        unsigned, foreign = mine.split("?")[0], mine.replace("signature=", "signature=%C3%A9")
        for url in (swapped, later, unlimited, doubled, mine[:-1], unsigned, foreign):
            response = request(app, "GET", url)
            assert (response.status_code, response.json) == (403, {"error": "Invalid or expired URL"})


@SAMPLED
def test_hostile_ids_are_not_found(tmp_path: Path) -> None:
    """No text in place of a file id causes a server error."""
    with storing(tmp_path) as (app, storage):
        real = storage.store(BODY)

        similar = [real + "x", real[:-1], real.upper(), "users_" + real[9:]]

        @given(file_id=st.text(max_size=80) | st.sampled_from(similar))
        @settings(max_examples=examples(60), deadline=None)
        def check(file_id: str) -> None:
            path = "/api/storage/" + file_id.encode("utf-8", "replace").decode()
            for method in ("GET", "POST", "HEAD"):
                assert send(app, method, path, QUERY_STRING="signature=x&expires=1").status_code in (403, 404, 405)

        check()


# --- memory ----------------------------------------------------------------------------------------------------------


class Zeros:
    """A stream of zeros."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        count = self._left if size < 0 else min(size, self._left)
        self._left -= count
        return bytes(count)


def test_memory_is_bounded(tmp_path: Path, each_store: str) -> None:
    """An upload and a download of 64 MiB take less than 16 MiB of memory, or 32 MiB with S3.

    S3 takes three parts of 8 MiB at a time.
    """
    size, most = 64 * MIB, {"sqlite": 16 * MIB, "s3": 32 * MIB}[each_store]
    with storing(tmp_path) as (app, storage):
        parts = urlsplit(storage.generate_upload_url())
        tracemalloc.start()
        try:
            environ: dict[str, Any] = {"wsgi.input": Zeros(size), "CONTENT_LENGTH": str(size)}
            uploaded = send(app, "POST", parts.path, QUERY_STRING=parts.query, **environ).json or {}
            url = urlsplit(url_of(storage, uploaded["storageId"]))
            response = app.test_client().get(f"{url.path}?{url.query}", buffered=False)
            received = sum(len(chunk) for chunk in response.iter_encoded())
            response.close()
            assert (received, tracemalloc.get_traced_memory()[1] < most) == (size, True)
        finally:
            tracemalloc.stop()
