"""Upload URLs: their limits, their uses, and the names that uploads give their files."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_convex_http import ArgumentValidationError, HttpRouter
from flask_convex_http.storage.storage import StorageActions
from flask_convex_http.testing import Clock
from flask_convex_http.worker.cleanup import Cleaner
from tests import stores
from tests.web.apps import backend_of, deployed

pytestmark = stores.EACH_STORE


@contextmanager
def storing(
    folder: Path, clock: Clock | None = None, *routers: HttpRouter, **config: Any
) -> Iterator[tuple[Flask, StorageActions]]:
    """Yield an app and its `ctx.storage`."""
    with deployed(folder, *routers, clock=clock, **stores.config(folder), **config) as app:
        yield app, backend_of(app).ctx(site=lambda: "http://localhost").storage


def post(app: Flask, url: str, data: Any = b"bytes", **options: Any) -> TestResponse:
    """Send a POST to a signed URL."""
    parts = urlsplit(url)
    return app.test_client().post(f"{parts.path}?{parts.query}", data=data, **options)


def name_of(storage: StorageActions, response: TestResponse) -> str | None:
    """Return the name of an uploaded file."""
    file = storage.get_metadata((response.json or {})["storageId"])
    assert file is not None
    return file.name


def count_blobs(app: Flask) -> int:
    """Return the number of blobs, unfinished ones included."""
    return len(list(backend_of(app).blobs.keys()))


def test_upload_urls_differ(tmp_path: Path) -> None:
    """Two upload URLs of the same moment are different."""
    with storing(tmp_path, Clock()) as (_, storage):
        assert len({storage.generate_upload_url() for _ in range(20)}) == 20


def test_a_url_may_have_its_own_limit(tmp_path: Path) -> None:
    """A file larger than the URL's limit is 413 and stores nothing; the deployment's limit holds besides."""
    with storing(tmp_path, CONVEX_MAX_UPLOAD_BYTES=100) as (app, storage):
        small, large = (storage.generate_upload_url(max_bytes=most) for most in (10, 1000))
        sizes = [(small, 10, 200), (small, 11, 413), (large, 100, 200), (large, 101, 413)]
        for url, size, status in sizes:
            assert post(app, url, b"a" * size).status_code == status
        assert count_blobs(app) == 2
        assert post(app, small.replace("max_bytes=10", "max_bytes=99")).status_code == 403
        assert post(app, small.replace("max_bytes=10&", "")).status_code == 403


def test_a_limit_is_that_of_the_file_in_a_form(tmp_path: Path) -> None:
    """A form may have a file as large as the limit and short fields; a larger file is 413 and names the limit."""
    with storing(tmp_path) as (app, storage):
        url = storage.generate_upload_url(max_bytes=1000)
        for size, status in ((1000, 200), (1001, 413), (100_000, 413)):
            form = {"csrf": "a" * 500, "file": (io.BytesIO(b"a" * size), "a.bin")}
            response = post(app, url, form)
            assert response.status_code == status
            assert status == 200 or "max_bytes= of the upload URL" in (response.json or {})["error"]
        assert count_blobs(app) == 1


def test_a_url_may_accept_some_types_only(tmp_path: Path) -> None:
    """An upload of another type than the URL accepts is 415 and stores nothing."""
    with storing(tmp_path) as (app, storage):
        url = storage.generate_upload_url(content_types=["image/*", "application/pdf"])
        for media_type, status in {"image/webp": 200, "application/pdf": 200, "text/html": 415, "": 415}.items():
            assert post(app, url, content_type=media_type).status_code == status
        form = {"file": (io.BytesIO(b"page"), "page.html", "text/html")}
        assert post(app, url, form).json == {"error": "This upload URL takes image/*, application/pdf"}
        assert count_blobs(app) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"max_bytes": -1},
        {"max_bytes": "10"},
        {"max_bytes": True},
        {"content_types": "image/png"},
        {"content_types": []},
        {"content_types": ["image"]},
        {"content_types": ["image/png,text/html"]},
    ],
)
def test_invalid_limits(tmp_path: Path, options: dict[str, Any]) -> None:
    """A limit that is no number of bytes, or no list of media types, is refused with the value."""
    with storing(tmp_path) as (_, storage), pytest.raises(ArgumentValidationError, match=next(iter(options))):
        storage.generate_upload_url(**options)


def test_a_url_for_one_use(tmp_path: Path) -> None:
    """A URL for one use stores one file, even after that was deleted; a second use is 409 and stores nothing."""
    with storing(tmp_path) as (app, storage):
        url = storage.generate_upload_url(once=True)
        first = post(app, url)
        assert first.status_code == 200
        storage.delete((first.json or {})["storageId"])
        again = post(app, url)
        assert (again.status_code, again.json) == (409, {"error": "This upload URL was used; ask for another one"})
        assert count_blobs(app) == 0
        assert post(app, url.replace("once=1&", "")).status_code == 403


def test_a_failed_upload_is_no_use(tmp_path: Path) -> None:
    """An upload that is rejected does not use up a URL for one use."""
    with storing(tmp_path) as (app, storage):
        url = storage.generate_upload_url(once=True, max_bytes=10)
        assert [post(app, url, b"a" * size).status_code for size in (11, 10, 10)] == [413, 200, 409]


def test_concurrent_uses_store_one_file(tmp_path: Path) -> None:
    """Concurrent uploads to a URL for one use store one file; the others are 409 and leave no bytes."""
    with storing(tmp_path) as (app, storage):
        url = storage.generate_upload_url(once=True)
        with ThreadPoolExecutor(4) as pool:
            statuses = [
                response.status_code for response in pool.map(lambda _: post(app, url, b"a" * 500_000), range(4))
            ]
        assert sorted(statuses) == [200, 409, 409, 409]
        assert count_blobs(app) == len(backend_of(app).files.list_files()) == 1


def test_records_of_uses_are_purged(tmp_path: Path) -> None:
    """The record of a use is purged when the URL has expired, and the URL is rejected then."""
    clock = Clock()
    with storing(tmp_path, clock) as (app, storage):
        url = storage.generate_upload_url(once=True)
        post(app, url)
        Cleaner(backend_of(app)).purge()
        assert post(app, url).status_code == 409
        clock.advance(timedelta(hours=2))
        Cleaner(backend_of(app)).purge()
        assert [row["count"] for row in used(app)] == [0]
        assert post(app, url).status_code == 403


def used(app: Flask) -> list[dict[str, int]]:
    """Return how many uses are recorded."""
    backend = backend_of(app)
    with backend.engine.snapshot() as snapshot:
        return [{"count": snapshot.count(backend.schema.tables["_used_uploads"])}]


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"X-Filename": "report.pdf"}, "report.pdf"),
        ({"X-Filename": "r%C3%A9sum%C3%A9%20100%25.pdf"}, "résumé 100%.pdf"),
        ({"X-Filename": "résumé.pdf".encode().decode("latin-1")}, "résumé.pdf"),
        ({"X-Filename": "..%2F..%2Fetc%2Fpasswd%0D%0Ax"}, "passwdx"),
        ({"Content-Disposition": 'attachment; filename="a b.txt"'}, "a b.txt"),
        ({"Content-Disposition": "attachment; filename=\"e.txt\"; filename*=UTF-8''%C3%A9.txt"}, "é.txt"),
        ({"Content-Disposition": "attachment"}, None),
        ({"Content-Disposition": ";;=\"'%"}, None),
        ({"X-Filename": ".."}, None),
        ({}, None),
    ],
)
def test_uploads_name_their_file(tmp_path: Path, headers: dict[str, str], name: str | None) -> None:
    """X-Filename, percent-encoded or not, or Content-Disposition names an uploaded file, without its folder."""
    with storing(tmp_path) as (app, storage):
        assert name_of(storage, post(app, storage.generate_upload_url(), headers=headers)) == name


def test_a_form_is_one_file(tmp_path: Path) -> None:
    """A form at an upload URL stores its one file with its name and type; without a file, or with two, it is 400."""

    def file(name: str) -> tuple[io.BytesIO, str, str]:
        return io.BytesIO(b"png"), name, "image/png"

    with storing(tmp_path) as (app, storage):
        url = storage.generate_upload_url(max_bytes=1000)
        uploaded = post(app, url, {"file": file("photos/engine.png"), "title": "Engine"})
        stored = storage.get_metadata((uploaded.json or {})["storageId"])
        assert stored is not None
        assert (stored.name, stored.content_type, stored.size) == ("engine.png", "image/png", 3)
        for form in ({"title": "no file"}, {"file": file("")}, {"a": file("a"), "b": file("b")}):
            assert post(app, url, form, content_type="multipart/form-data").status_code == 400
        assert post(app, url, b"--x", content_type="multipart/form-data; boundary=x").status_code == 400
        assert post(app, url, {"file": (io.BytesIO(bytes(2000)), "large")}).status_code == 413
        digest = {"Content-Digest": f"sha-256=:{'A' * 43}=:"}
        assert post(app, url, {"file": file("a")}, headers=digest).status_code == 400
        assert count_blobs(app) == 1


def test_a_handler_stores_the_file_of_a_form(tmp_path: Path) -> None:
    """store() takes a file of a form with its name and type, unless the handler gives others."""
    http = HttpRouter("http", __name__)

    @http.post("/plain")
    def plain(ctx: Any, request: Any) -> Any:
        return {"storageId": ctx.storage.store(request.files["photo"])}

    @http.post("/named")
    def named(ctx: Any, request: Any) -> Any:
        return {"storageId": ctx.storage.store(request.files["photo"], name="other.png", content_type="image/gif")}

    with storing(tmp_path, None, http) as (app, storage):
        for path, expected in {"/plain": ("engine.jpg", "image/jpeg"), "/named": ("other.png", "image/gif")}.items():
            response = post(app, path, {"photo": (io.BytesIO(b"jpg"), "a/engine.jpg", "image/jpeg")})
            file = storage.get_metadata((response.json or {})["storageId"])
            assert file is not None and (file.name, file.content_type, file.size) == (*expected, 3)


def test_downloads_have_the_name(tmp_path: Path) -> None:
    """A download carries the name of its file, shown or not; without a name, an attachment has the file's id."""
    with storing(tmp_path) as (app, storage):
        photo = storage.store(b"png", content_type="image/png", name="mill.png")
        page = storage.store(b"<p>", content_type="text/html", name="é.html")
        bare = storage.store(b"zip", content_type="application/zip")
        expected = {
            photo: 'inline; filename="mill.png"',
            page: "attachment; filename=\"e.html\"; filename*=UTF-8''%C3%A9.html",
            bare: f'attachment; filename="{bare}"',
        }
        for file_id, disposition in expected.items():
            parts = urlsplit(storage.get_url(file_id) or "")
            response = app.test_client().get(f"{parts.path}?{parts.query}")
            assert response.headers["Content-Disposition"] == disposition
