"""Uploads of files over HTTP, and the content types that they are served with."""

import base64
import hashlib
import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask import Flask

from flask_convex_http.testing import Clock
from tests import stores
from tests.web.apps import backend_of, send_chunked
from tests.web.stored_files import BODY, request, storing, url_of

pytestmark = stores.EACH_STORE


def count_blobs(app: Flask) -> int:
    """Return the number of blobs."""
    return backend_of(app).blobs.total()[0]


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
