"""Direct uploads: a client sends the bytes to the blob store, and one POST to the app creates the file, once."""

import base64
import dataclasses
import hashlib
import io
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from flask import Flask, Request
from werkzeug.test import TestResponse

from flask_convex_http import ActionCtx, HttpRouter, Id, MutationCtx, internal_mutation
from flask_convex_http.storage.blobs import BlobStore, Served
from flask_convex_http.storage.direct_uploads import DirectTerms, DirectUpload, DirectUploads
from flask_convex_http.storage.storage import StorageActions
from flask_convex_http.testing import Clock
from tests import s3
from tests.web.apps import backend_of, deployed, send

BODY = bytes(range(256)) * 4
HOST = "http://localhost"
NOTHING = {"error": "Nothing was uploaded; PUT the bytes to the upload URL first"}


@pytest.fixture(name="config", params=["sqlite", "s3", "s3, through the app"])
def _config(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return the settings of the blob store, and of whether clients send the bytes to it directly."""
    if request.param == "sqlite":
        return {}
    redirects = "on" if request.param == "s3" else "off"
    return {"CONVEX_STORAGE_URL": s3.url(tmp_path), "CONVEX_STORAGE_REDIRECT": redirects}


@internal_mutation
def begin(ctx: MutationCtx) -> str:
    """Create the URLs of an upload in a transaction."""
    return ctx.storage.generate_direct_upload("text/plain").finish_url


@contextmanager
def storing(folder: Path, config: dict[str, Any], clock: Clock | None = None) -> Iterator[tuple[Flask, StorageActions]]:
    """Yield an app and its `ctx.storage`."""
    with deployed(folder, clock=clock, functions=[begin], **config) as app:
        yield app, backend_of(app).ctx(site=lambda: HOST).storage


def put(app: Flask, url: str, body: bytes, media_type: str = "text/html") -> int:
    """Send bytes to an upload URL, of the app or of the store, and return the status."""
    if url.startswith(HOST):
        return request_url(app, "PUT", url, body, CONTENT_TYPE=media_type).status_code
    sent = urllib.request.Request(url, body, {"Content-Type": media_type}, method="PUT")
    with urllib.request.urlopen(sent, timeout=30) as response:
        return int(response.status)


def request_url(app: Flask, method: str, url: str, body: bytes = b"", /, **environ: Any) -> TestResponse:
    """Send a request to a signed URL of the app."""
    parts = urlsplit(url)
    environ = {"QUERY_STRING": parts.query, "CONTENT_LENGTH": str(len(body)), **environ}
    return send(app, method, parts.path, body, **environ)


def finish(app: Flask, upload: DirectUpload) -> str:
    """Finish an upload and return the id of the file."""
    response = request_url(app, "POST", upload.finish_url)
    assert response.status_code == 200, response.json
    return str((response.json or {})["storageId"])


def content(storage: StorageActions, file_id: Any) -> bytes:
    """Return all bytes of a file."""
    file = storage.get(file_id)
    assert file is not None
    with file:
        return file.read()


def stored_keys(app: Flask) -> list[str]:
    """Return the keys of all blobs."""
    keys = backend_of(app).blobs.keys()
    return sorted(key for key, _ in keys)


def file_id_of(upload: DirectUpload) -> str:
    """Return the id that the file will have."""
    return urlsplit(upload.finish_url).path.rpartition("/")[2]


def test_a_file_in_two_requests(tmp_path: Path, config: dict[str, Any]) -> None:
    """A PUT and a POST create a file with the content type that the app chose, regardless of the client's."""
    with storing(tmp_path, config) as (app, storage):
        upload = storage.generate_direct_upload("image/png")
        assert upload.upload_url.startswith(HOST) == (config.get("CONVEX_STORAGE_REDIRECT") != "on")
        assert put(app, upload.upload_url, BODY) == 200
        file_id: Any = finish(app, upload)
        file = storage.get_metadata(file_id)
        assert file is not None
        assert (file.size, file.content_type) == (len(BODY), "image/png")
        assert file.sha256 == base64.b64encode(hashlib.sha256(BODY).digest()).decode()
        assert content(storage, file_id) == BODY
        assert stored_keys(app) == [file_id]


def test_finishing_is_idempotent(tmp_path: Path, config: dict[str, Any]) -> None:
    """Repeated and concurrent finishes of an upload all return the id of one file."""
    with storing(tmp_path, config) as (app, storage):
        upload = storage.generate_direct_upload()
        put(app, upload.upload_url, BODY * 300)
        with ThreadPoolExecutor(4) as pool:
            responses = list(pool.map(lambda _: request_url(app, "POST", upload.finish_url), range(4)))
        assert {response.status_code for response in responses} <= {200, 409}
        file_id = finish(app, upload)
        assert {(response.json or {})["storageId"] for response in responses if response.status_code == 200} <= {
            file_id
        }
        assert (stored_keys(app), finish(app, upload)) == ([file_id], file_id)
        assert content(storage, file_id) == BODY * 300


def test_a_finished_file_does_not_change(tmp_path: Path, config: dict[str, Any]) -> None:
    """An upload can be sent again until it is finished; afterwards its URL changes nothing."""
    with storing(tmp_path, config) as (app, storage):
        upload = storage.generate_direct_upload()
        put(app, upload.upload_url, b"first")
        put(app, upload.upload_url, b"second")
        file_id = finish(app, upload)
        put(app, upload.upload_url, b"third")
        assert finish(app, upload) == file_id
        assert content(storage, file_id) == b"second"
        assert stored_keys(app) == [file_id]


def test_limits_and_names(tmp_path: Path, config: dict[str, Any]) -> None:
    """A direct upload may have a limit and a name of its own: a larger file is 413, and the name is cleaned."""
    with storing(tmp_path, config) as (app, storage):
        small = storage.generate_direct_upload("text/html", name="../a\r\nb.html", max_bytes=10)
        if small.upload_url.startswith(HOST):
            assert put(app, small.upload_url, BODY) == 413
        else:
            put(app, small.upload_url, BODY)
            assert request_url(app, "POST", small.finish_url).status_code == 413
        assert stored_keys(app) == []
        put(app, small.upload_url, b"page")
        longer = small.finish_url.replace("max_bytes=10", "max_bytes=99")
        assert request_url(app, "POST", longer).status_code == 403
        file: Any = storage.get_metadata(Id(finish(app, small)))
        assert (file.name, file.size) == ("ab.html", 4)


class Interrupted:
    """A body that calls `work` before its first bytes."""

    def __init__(self, body: bytes, work: Callable[[], object]) -> None:
        self._body, self._work = io.BytesIO(body), work

    def read(self, size: int = -1) -> bytes:
        work, self._work = self._work, lambda: None
        work()
        return self._body.read(size)


def test_concurrent_puts_are_409(tmp_path: Path) -> None:
    """Of concurrent PUTs to one upload URL the later one counts, and the others are 409, not 500."""
    with storing(tmp_path, {}) as (app, storage):
        upload, statuses = storage.generate_direct_upload(), []
        body = Interrupted(BODY, lambda: statuses.append(put(app, upload.upload_url, b"later")))
        overtaken = request_url(app, "PUT", upload.upload_url, BODY, **{"wsgi.input": body})
        assert (statuses, overtaken.status_code) == ([200], 409)
        assert "Another request" in (overtaken.json or {})["error"]
        assert content(storage, finish(app, upload)) == b"later"


def test_puts_from_threads(tmp_path: Path, config: dict[str, Any]) -> None:
    """PUTs of the same bytes from several threads are 200 or 409, at least one is 200, and the file is whole."""
    with storing(tmp_path, config) as (app, storage):
        upload = storage.generate_direct_upload()
        with ThreadPoolExecutor(4) as pool:
            statuses = set(pool.map(lambda _: put(app, upload.upload_url, BODY * 300), range(12)))
        assert 200 in statuses and statuses <= {200, 409}
        assert content(storage, finish(app, upload)) == BODY * 300


def test_nothing_was_uploaded(tmp_path: Path, config: dict[str, Any]) -> None:
    """Finishing before the bytes are uploaded is a 409, and succeeds afterwards."""
    with storing(tmp_path, config) as (app, storage):
        upload = storage.generate_direct_upload()
        early = request_url(app, "POST", upload.finish_url)
        assert (early.status_code, early.json, stored_keys(app)) == (409, NOTHING, [])
        put(app, upload.upload_url, b"")
        assert content(storage, finish(app, upload)) == b""


def test_upload_limit(tmp_path: Path, config: dict[str, Any]) -> None:
    """An upload larger than CONVEX_MAX_UPLOAD_BYTES is rejected, at the latest when it is finished, and removed."""
    with storing(tmp_path, config | {"CONVEX_MAX_UPLOAD_BYTES": 1000}) as (app, storage):
        for size, status in ((1000, 200), (1001, 413)):
            upload = storage.generate_direct_upload()
            sent = put(app, upload.upload_url, bytes(size))
            assert sent == status or sent == 200
            response = request_url(app, "POST", upload.finish_url)
            assert response.status_code == (409 if sent == 413 else status)
        assert len(stored_keys(app)) == 1


def test_changed_urls_are_rejected(tmp_path: Path, config: dict[str, Any]) -> None:
    """A finish URL that was changed, or used for a PUT, is rejected."""
    with storing(tmp_path, config) as (app, storage):
        upload, other = storage.generate_direct_upload("image/png"), storage.generate_direct_upload("image/png")
        put(app, upload.upload_url, BODY)
        url = upload.finish_url
        wrong = [
            url[:-1],
            url.split("?")[0],
            url.replace("image/png", "text/html"),
            url.replace("image/png", ""),
            re.sub(r"expires=\d+", "expires=99999999999", url),
            re.sub(r"expires=(\d+)&type=", r"expires=\1%0A&type=", url),
            url.replace("signature=", "signature=%C3%A9"),
            f"{url.split('?')[0]}?{other.finish_url.split('?')[1]}",
        ]
        for tampered in wrong:
            for method in ("POST", "PUT"):
                response = request_url(app, method, tampered, BODY)
                assert (response.status_code, response.json) == (403, {"error": "Invalid or expired upload URL"})
        assert request_url(app, "PUT", url, BODY).status_code == 403
        assert finish(app, upload) == file_id_of(upload)


def test_urls_expire(tmp_path: Path, config: dict[str, Any]) -> None:
    """By default an upload URL is valid for an hour, and its finish URL for an hour more."""
    clock = Clock()
    with storing(tmp_path, config, clock) as (app, storage):
        late, later = storage.generate_direct_upload(), storage.generate_direct_upload()
        put(app, late.upload_url, BODY)
        clock.advance(timedelta(minutes=61))
        if later.upload_url.startswith(HOST):
            assert put(app, later.upload_url, BODY) == 403
        assert finish(app, late)
        clock.advance(timedelta(minutes=60))
        assert request_url(app, "POST", late.finish_url).status_code == 403


def test_unfinished_uploads_are_swept(tmp_path: Path, config: dict[str, Any]) -> None:
    """The sweep removes bytes that were uploaded an hour ago and never finished."""
    clock = Clock()
    with storing(tmp_path, config, clock) as (app, storage):
        put(app, storage.generate_direct_upload(expires_in=timedelta(days=1)).upload_url, BODY)
        assert backend_of(app).files.sweep().checked == 0
        clock.advance(timedelta(seconds=time.time() - clock() / 1000 + 3700))
        assert len(backend_of(app).files.sweep().orphans) == 1
        assert stored_keys(app) == []


def test_interrupted_finish_is_completed(tmp_path: Path, config: dict[str, Any]) -> None:
    """A finish that broke off after writing the bytes is completed by the next one, even if the upload is gone."""
    with storing(tmp_path, config) as (app, storage):
        for is_there in (True, False):
            upload = storage.generate_direct_upload()
            if is_there:
                put(app, upload.upload_url, BODY)
            backend_of(app).blobs.write(file_id_of(upload), [BODY], Served("a/b", "attachment"))
            file_id = finish(app, upload)
            assert content(storage, file_id) == BODY
        assert len(stored_keys(app)) == 2


class HookedBlobs:
    """A blob store that calls `work` before each read."""

    def __init__(self, blobs: BlobStore, work: Callable[[], object]) -> None:
        self._blobs, self._work = blobs, work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def read(self, key: str) -> Iterator[bytes]:
        self._work()
        return self._blobs.read(key)


def test_overtaken_finish_returns_the_same_id(tmp_path: Path, config: dict[str, Any]) -> None:
    """A finish that a concurrent one overtakes returns the same id and inserts no second row."""
    with storing(tmp_path, config) as (app, storage):
        upload, files = storage.generate_direct_upload(), backend_of(app).files
        put(app, upload.upload_url, BODY)
        blobs = HookedBlobs(files.blobs, lambda: finish(app, upload))
        slow = dataclasses.replace(files, blobs=cast(BlobStore, blobs))
        assert DirectUploads(slow).finish(file_id_of(upload), DirectTerms(), len(BODY)) == file_id_of(upload)
        assert stored_keys(app) == [file_id_of(upload)]


def test_concurrent_finish_is_409(tmp_path: Path, config: dict[str, Any]) -> None:
    """While one request writes the file, a concurrent finish is a 409."""
    with storing(tmp_path, config) as (app, storage):
        upload = storage.generate_direct_upload()
        put(app, upload.upload_url, BODY)
        responses: list[TestResponse] = []

        def pieces() -> Iterator[bytes]:
            yield bytes(5 * 2**20)  # more than goes to S3 in one request
            responses.append(request_url(app, "POST", upload.finish_url))
            yield b"end"

        backend_of(app).blobs.write(file_id_of(upload), pieces())
        assert responses[0].status_code == 409
        assert "being finished" in (responses[0].json or {})["error"]


def test_a_mutation_and_a_handler(tmp_path: Path, config: dict[str, Any]) -> None:
    """A mutation can create the URLs, and a handler can return them as they are."""
    http = HttpRouter("http", __name__)

    @http.post("/uploads")
    def start(ctx: ActionCtx, request: Request) -> DirectUpload:
        return ctx.storage.generate_direct_upload(request.args["type"])

    with deployed(tmp_path, http, functions=[begin], **config) as app:
        made = send(app, "POST", "/uploads", QUERY_STRING="type=image/png").json or {}
        assert sorted(made) == ["finishUrl", "uploadUrl"]
        assert put(app, made["uploadUrl"], BODY) == 200
        assert request_url(app, "POST", made["finishUrl"]).status_code == 200
        ctx = backend_of(app).ctx(site=lambda: HOST)
        assert ctx.run_mutation(begin).startswith(f"{HOST}/api/storage/uploads/_storage_")
