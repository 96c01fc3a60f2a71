"""Uploads in two requests: the bytes go where the store says, and one POST makes a file of them, once."""

import base64
import dataclasses
import hashlib
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

from flask_convex_http import ActionCtx, HttpRouter, MutationCtx, internal_mutation
from flask_convex_http.storage.blobs import BlobStore, Served
from flask_convex_http.storage.files import DirectUpload
from flask_convex_http.storage.storage import StorageActions
from flask_convex_http.testing import Clock
from tests import s3
from tests.web.apps import backend_of, deployed, send

BODY = bytes(range(256)) * 4
HOST = "http://localhost"
NOTHING = {"error": "Nothing was uploaded; PUT the bytes to the upload URL first"}


@pytest.fixture(name="config", params=["sqlite", "s3", "s3, through the app"])
def _config(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Where files are, and who takes the bytes."""
    if request.param == "sqlite":
        return {}
    redirects = "on" if request.param == "s3" else "off"
    return {"CONVEX_STORAGE_URL": s3.url(tmp_path), "CONVEX_STORAGE_REDIRECT": redirects}


@internal_mutation
def begin(ctx: MutationCtx) -> str:
    """Make the URLs of an upload in a transaction."""
    return ctx.storage.generate_direct_upload("text/plain").finish_url


@contextmanager
def storing(folder: Path, config: dict[str, Any], clock: Clock | None = None) -> Iterator[tuple[Flask, StorageActions]]:
    """An app and its `ctx.storage`."""
    with deployed(folder, clock=clock, functions=[begin], **config) as app:
        yield app, backend_of(app).ctx(site=lambda: HOST).storage


def put(app: Flask, url: str, body: bytes, media_type: str = "text/html") -> int:
    """Send bytes to an upload URL, of the app or of the store; answers the status."""
    if url.startswith(HOST):
        return ask(app, "PUT", url, body, CONTENT_TYPE=media_type).status_code
    sent = urllib.request.Request(url, body, {"Content-Type": media_type}, method="PUT")
    with urllib.request.urlopen(sent, timeout=30) as answer:
        return int(answer.status)


def ask(app: Flask, method: str, url: str, body: bytes = b"", /, **environ: Any) -> TestResponse:
    """A request to a signed URL of the app."""
    parts = urlsplit(url)
    environ = {"QUERY_STRING": parts.query, "CONTENT_LENGTH": str(len(body)), **environ}
    return send(app, method, parts.path, body, **environ)


def finished(app: Flask, upload: DirectUpload) -> str:
    """Finish an upload; answers the id of the file."""
    answer = ask(app, "POST", upload.finish_url)
    assert answer.status_code == 200, answer.json
    return str((answer.json or {})["storageId"])


def content(storage: StorageActions, file_id: Any) -> bytes:
    """All bytes of a file."""
    file = storage.get(file_id)
    assert file is not None
    with file:
        return file.read()


def kept(app: Flask) -> list[str]:
    """Every key under which there are bytes."""
    keys = backend_of(app).blobs.keys()
    return sorted(key for key, _ in keys)


def id_in(upload: DirectUpload) -> str:
    """The id that the file will have."""
    return urlsplit(upload.finish_url).path.rpartition("/")[2]


def test_a_file_in_two_requests(tmp_path: Path, config: dict[str, Any]) -> None:
    """A PUT and a POST make a file with the type that the app gave, whatever the client said, and nothing else."""
    with storing(tmp_path, config) as (app, storage):
        upload = storage.generate_direct_upload("image/png")
        assert upload.upload_url.startswith(HOST) == (config.get("CONVEX_STORAGE_REDIRECT") != "on")
        assert put(app, upload.upload_url, BODY) == 200
        file_id: Any = finished(app, upload)
        file = storage.get_metadata(file_id)
        assert file is not None
        assert (file.size, file.content_type) == (len(BODY), "image/png")
        assert file.sha256 == base64.b64encode(hashlib.sha256(BODY).digest()).decode()
        assert content(storage, file_id) == BODY
        assert kept(app) == [file_id]


def test_finishing_is_done_once(tmp_path: Path, config: dict[str, Any]) -> None:
    """However often and however many at once finish an upload, all get the id of one file."""
    with storing(tmp_path, config) as (app, storage):
        upload = storage.generate_direct_upload()
        put(app, upload.upload_url, BODY * 300)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: ask(app, "POST", upload.finish_url), range(4)))
        assert {answer.status_code for answer in answers} <= {200, 409}
        file_id = finished(app, upload)
        assert {(answer.json or {})["storageId"] for answer in answers if answer.status_code == 200} <= {file_id}
        assert (kept(app), finished(app, upload)) == ([file_id], file_id)
        assert content(storage, file_id) == BODY * 300


def test_a_finished_file_does_not_change(tmp_path: Path, config: dict[str, Any]) -> None:
    """Until it is finished an upload may be sent again; afterwards whoever has the URL changes nothing."""
    with storing(tmp_path, config) as (app, storage):
        upload = storage.generate_direct_upload()
        put(app, upload.upload_url, b"first")
        put(app, upload.upload_url, b"second")
        file_id = finished(app, upload)
        put(app, upload.upload_url, b"third")
        assert finished(app, upload) == file_id
        assert content(storage, file_id) == b"second"
        assert kept(app) == [file_id]


def test_nothing_was_uploaded(tmp_path: Path, config: dict[str, Any]) -> None:
    """Finishing before the bytes are there is a 409, and works when they are."""
    with storing(tmp_path, config) as (app, storage):
        upload = storage.generate_direct_upload()
        early = ask(app, "POST", upload.finish_url)
        assert (early.status_code, early.json, kept(app)) == (409, NOTHING, [])
        put(app, upload.upload_url, b"")
        assert content(storage, finished(app, upload)) == b""


def test_the_limit_holds(tmp_path: Path, config: dict[str, Any]) -> None:
    """What is larger than CONVEX_MAX_UPLOAD_BYTES is refused, at the latest when it is finished, and removed."""
    with storing(tmp_path, config | {"CONVEX_MAX_UPLOAD_BYTES": 1000}) as (app, storage):
        for size, status in ((1000, 200), (1001, 413)):
            upload = storage.generate_direct_upload()
            sent = put(app, upload.upload_url, bytes(size))
            assert sent == status or sent == 200
            answer = ask(app, "POST", upload.finish_url)
            assert answer.status_code == (409 if sent == 413 else status)
        assert len(kept(app)) == 1


def test_changed_urls_are_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    """A finishing URL with any part changed, or another one's signature, is refused, and so is one to upload with."""
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
                answer = ask(app, method, tampered, BODY)
                assert (answer.status_code, answer.json) == (403, {"error": "Invalid or expired upload URL"})
        assert ask(app, "PUT", url, BODY).status_code == 403
        assert finished(app, upload) == id_in(upload)


def test_urls_expire(tmp_path: Path, config: dict[str, Any]) -> None:
    """An upload begins in time, an hour by default, and may be finished an hour later."""
    clock = Clock()
    with storing(tmp_path, config, clock) as (app, storage):
        late, later = storage.generate_direct_upload(), storage.generate_direct_upload()
        put(app, late.upload_url, BODY)
        clock.advance(timedelta(minutes=61))
        if later.upload_url.startswith(HOST):
            assert put(app, later.upload_url, BODY) == 403
        assert finished(app, late)
        clock.advance(timedelta(minutes=60))
        assert ask(app, "POST", late.finish_url).status_code == 403


def test_what_is_never_finished_is_swept(tmp_path: Path, config: dict[str, Any]) -> None:
    """Bytes that wait for a POST that never comes are removed an hour later."""
    clock = Clock()
    with storing(tmp_path, config, clock) as (app, storage):
        put(app, storage.generate_direct_upload(expires_in=timedelta(days=1)).upload_url, BODY)
        assert backend_of(app).files.sweep().checked == 0
        clock.advance(timedelta(seconds=time.time() - clock() / 1000 + 3700))
        assert len(backend_of(app).files.sweep().orphans) == 1
        assert kept(app) == []


def test_a_finish_that_broke_off(tmp_path: Path, config: dict[str, Any]) -> None:
    """If a finish ended between the bytes and the row, the next one goes on from there, with or without the upload."""
    with storing(tmp_path, config) as (app, storage):
        for is_there in (True, False):
            upload = storage.generate_direct_upload()
            if is_there:
                put(app, upload.upload_url, BODY)
            backend_of(app).blobs.write(id_in(upload), [BODY], Served("a/b", "attachment"))
            file_id = finished(app, upload)
            assert content(storage, file_id) == BODY
        assert len(kept(app)) == 2


class Meanwhile:
    """A store of files; whenever something is read from it, something else happens first."""

    def __init__(self, blobs: BlobStore, work: Callable[[], object]) -> None:
        self._blobs, self._work = blobs, work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def read(self, key: str) -> Iterator[bytes]:
        self._work()
        return self._blobs.read(key)


def test_somebody_else_finishes_first(tmp_path: Path, config: dict[str, Any]) -> None:
    """A finish that another one overtakes after it has begun answers the same id, and makes no second row."""
    with storing(tmp_path, config) as (app, storage):
        upload, files = storage.generate_direct_upload(), backend_of(app).files
        put(app, upload.upload_url, BODY)
        blobs = Meanwhile(files.blobs, lambda: finished(app, upload))
        slow = dataclasses.replace(files, blobs=cast(BlobStore, blobs))
        assert slow.finish_upload(id_in(upload), None, len(BODY)) == id_in(upload)
        assert kept(app) == [id_in(upload)]


def test_a_finish_under_way(tmp_path: Path, config: dict[str, Any]) -> None:
    """While one request writes the file, another is asked to come back."""
    with storing(tmp_path, config) as (app, storage):
        upload = storage.generate_direct_upload()
        put(app, upload.upload_url, BODY)
        answers: list[TestResponse] = []

        def pieces() -> Iterator[bytes]:
            yield bytes(5 * 2**20)  # more than goes to S3 in one request
            answers.append(ask(app, "POST", upload.finish_url))
            yield b"end"

        backend_of(app).blobs.write(id_in(upload), pieces())
        assert answers[0].status_code == 409
        assert "being finished" in (answers[0].json or {})["error"]


def test_a_mutation_and_a_handler(tmp_path: Path, config: dict[str, Any]) -> None:
    """A mutation can make the URLs, and a handler can answer them as they are."""
    http = HttpRouter("http", __name__)

    @http.post("/uploads")
    def start(ctx: ActionCtx, request: Request) -> DirectUpload:
        return ctx.storage.generate_direct_upload(request.args["type"])

    with deployed(tmp_path, http, functions=[begin], **config) as app:
        made = send(app, "POST", "/uploads", QUERY_STRING="type=image/png").json or {}
        assert sorted(made) == ["finishUrl", "uploadUrl"]
        assert put(app, made["uploadUrl"], BODY) == 200
        assert ask(app, "POST", made["finishUrl"]).status_code == 200
        assert "/api/storage/uploads/_storage_" in backend_of(app).ctx().run_mutation(begin)
