"""`ctx.storage`: bytes and rows that agree after any failure."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import (
    ActionCtx,
    BlobNotFoundError,
    ConvexError,
    ConvexHTTP,
    DocumentValidationError,
    HttpRouter,
    Id,
    MutationCtx,
    QueryCtx,
    StorageIdError,
    StoredFile,
    internal_action,
    internal_mutation,
    internal_query,
)
from flask_convex_http.backend import Backend
from flask_convex_http.storage.files import SweepReport
from flask_convex_http.storage.storage import StorageActions
from flask_convex_http.testing import Clock, run_scheduled
from tests import stores
from tests.web.apps import backend_of, deployed, send

pytestmark = stores.EACH_STORE

BODY = bytes(range(256)) * 2000


@internal_mutation
def remove(ctx: MutationCtx, *, file: Id[StoredFile], fail: bool = False) -> bool:
    """Delete a file and return whether the transaction still sees it, or fail after the deletion."""
    ctx.storage.delete(file)
    if fail:
        raise ConvexError("no")
    return ctx.storage.get_metadata(file) is not None


@internal_mutation
def try_to_remove(ctx: MutationCtx, *, file: Id[StoredFile]) -> None:
    """Run a deletion that fails, and catch its error."""
    with pytest.raises(ConvexError):
        ctx.run_mutation(remove, file=file, fail=True)


@internal_mutation
def revoke(ctx: MutationCtx, *, file: Id[StoredFile]) -> None:
    """Revoke the URLs of a file."""
    ctx.storage.revoke_urls(file)


@internal_query
def url(ctx: QueryCtx, *, file: Id[StoredFile]) -> str | None:
    """Return the URL of a file, or None."""
    return ctx.storage.get_url(file)


FUNCTIONS: list[Any] = [remove, try_to_remove, revoke, url]


@contextmanager
def storing(folder: Path, clock: Clock | None = None) -> Iterator[tuple[Backend, StorageActions]]:
    """Yield a backend and its `ctx.storage`."""
    with deployed(folder, functions=FUNCTIONS, clock=clock, **stores.config(folder)) as app:
        backend = backend_of(app)
        yield backend, backend.ctx(site=lambda: "http://localhost").storage


def content(storage: StorageActions, file_id: Id[StoredFile]) -> bytes:
    """Return all bytes of a file."""
    file = storage.get(file_id)
    assert file is not None
    with file:
        return file.read()


def stored_keys(backend: Backend) -> list[str]:
    """Return the keys in the blob store."""
    keys = backend.blobs.keys()
    return [key for key, _ in keys]


@pytest.mark.parametrize(
    "make",
    [
        lambda: BODY,
        lambda: bytearray(BODY),
        lambda: memoryview(BODY),
        lambda: io.BytesIO(BODY),
        lambda: [BODY[:10], b"", bytearray(BODY[10:])],
        lambda: iter([BODY]),
    ],
)
def test_storable_data(tmp_path: Path, make: Any) -> None:
    """Bytes, a file object and an iterable of bytes can be stored."""
    with storing(tmp_path) as (_, storage):
        file_id = storage.store(make(), content_type="a/b")
        assert content(storage, file_id) == BODY
        file = storage.get_metadata(file_id)
    assert file is not None and (file.size, file.content_type) == (len(BODY), "a/b")


@pytest.mark.parametrize("data", ["text", 1, None, ["text"], io.StringIO("text")])
def test_invalid_data(tmp_path: Path, data: Any) -> None:
    """Any other value raises TypeError, and nothing is stored."""
    with storing(tmp_path) as (backend, storage):
        with pytest.raises(TypeError):
            storage.store(data)
        assert stored_keys(backend) == []


def test_get_is_a_file(tmp_path: Path) -> None:
    """get() returns a file object with read, seek and iteration, or None if the file does not exist."""
    text = b"one\ntwo\nthree"
    with storing(tmp_path) as (_, storage):
        file_id = storage.store(text)
        file = storage.get(file_id)
        assert file is not None
        with file:
            assert file.read(5) == text[:5]
            assert (file.tell(), file.seek(-5, io.SEEK_END), file.read()) == (5, 8, b"three")
            assert (file.seek(0), list(file), file.read()) == (0, [b"one\n", b"two\n", b"three"], b"")
            assert file.seek(2) + file.seek(1, io.SEEK_CUR) == 5
            assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
        storage.delete(file_id)
        assert storage.get(file_id) is None


def test_reading_and_seeking_as_in_memory(tmp_path: Path) -> None:
    """Any sequence of reads and seeks returns the same bytes as io.BytesIO."""
    with storing(tmp_path) as (_, storage):
        file_id = storage.store(BODY)

        @given(steps=st.lists(st.tuples(st.integers(0, len(BODY)), st.integers(-1, 300_000)), max_size=6))
        @settings(max_examples=30, deadline=None)
        def check(steps: list[tuple[int, int]]) -> None:
            file, twin = storage.get(file_id), io.BytesIO(BODY)
            assert file is not None
            with file:
                for position, size in steps:
                    assert file.seek(position) == twin.seek(position)
                    assert file.read(size) == twin.read(size)

        check()


def test_delete_removes_row_and_bytes(tmp_path: Path) -> None:
    """Deleting a file removes bytes, row and URL, and deleting it again raises BlobNotFoundError."""
    with storing(tmp_path) as (backend, storage):
        file_id = storage.store(BODY)
        storage.delete(file_id)
        assert (storage.get(file_id), storage.get_metadata(file_id), storage.get_url(file_id)) == (None, None, None)
        assert stored_keys(backend) == []
        with pytest.raises(BlobNotFoundError):
            storage.delete(file_id)


def test_delete_in_a_mutation_removes_the_bytes_on_commit(tmp_path: Path) -> None:
    """A mutation that deletes a file no longer sees it, and its commit removes the bytes."""
    with storing(tmp_path) as (backend, storage):
        file_id = storage.store(BODY)
        assert backend.ctx().run_mutation(remove, file=file_id) is False
        assert (storage.get(file_id), stored_keys(backend)) == (None, [])


@pytest.mark.parametrize("whole", [True, False])
def test_rolled_back_delete_keeps_the_file(tmp_path: Path, whole: bool) -> None:
    """A mutation, or a nested one, that fails after it deleted a file keeps the file."""
    with storing(tmp_path) as (backend, storage):
        file_id = storage.store(BODY)
        if whole:
            with pytest.raises(ConvexError):
                backend.ctx().run_mutation(remove, file=file_id, fail=True)
        else:
            backend.ctx().run_mutation(try_to_remove, file=file_id)
        assert content(storage, file_id) == BODY


def test_revoking_in_a_mutation(tmp_path: Path) -> None:
    """Revoking in a mutation changes the URL that queries return."""
    with storing(tmp_path) as (backend, storage):
        file_id, ctx = storage.store(b"x"), backend.ctx(site=lambda: "http://localhost")
        before = ctx.run_query(url, file=file_id)
        ctx.run_mutation(revoke, file=file_id)
        assert before is not None and ctx.run_query(url, file=file_id) not in (before, None)


def test_failure_before_the_row_leaves_nothing(tmp_path: Path) -> None:
    """If the row cannot be inserted, here because of an invalid content type, the bytes are removed."""
    with storing(tmp_path) as (backend, storage):
        with pytest.raises(DocumentValidationError, match="surrogates"):
            storage.store(BODY, content_type="\ud800")
        assert stored_keys(backend) == []


def test_failure_while_reading_leaves_nothing(tmp_path: Path) -> None:
    """If reading the data fails, the reader's error is raised and nothing is stored."""

    def breaking() -> Iterator[bytes]:
        yield BODY
        raise ConnectionError("gone")

    with storing(tmp_path) as (backend, storage):
        with pytest.raises(ConnectionError):
            storage.store(breaking())
        assert stored_keys(backend) == []


def test_crash_between_bytes_and_row_leaves_only_bytes(tmp_path: Path) -> None:
    """Bytes without a row, as a crash leaves them, are no file, and the sweep removes them after an hour."""
    clock = Clock()
    with storing(tmp_path, clock) as (backend, storage):
        kept, orphan = storage.store(b"kept"), storage.store(b"orphan")
        backend.engine.write(lambda transaction: backend.files.delete_row(transaction, orphan))
        assert (storage.get(orphan), storage.get_metadata(orphan)) == (None, None)
        clock.advance(timedelta(seconds=time.time() - clock() / 1000 + 3500))
        assert backend.files.sweep().checked == 0
        clock.advance(timedelta(seconds=200))
        assert backend.files.sweep() == SweepReport(checked=2, orphans=[orphan])
        assert stored_keys(backend) == [kept]
        assert content(storage, kept) == b"kept"


def test_invalid_file_ids(tmp_path: Path) -> None:
    """An invalid or unknown file id reads as None and raises an error on delete and revoke_urls."""
    with storing(tmp_path) as (_, storage):
        for wrong in ("", "x", "users_" + "0" * 32, "_storage_" + "0" * 32, "\x00", "é" * 50):
            file_id: Id[StoredFile] = Id(wrong)
            assert (storage.get(file_id), storage.get_url(file_id), storage.get_metadata(file_id)) == (None, None, None)
            for change in (storage.delete, storage.revoke_urls):
                with pytest.raises((StorageIdError, BlobNotFoundError)):
                    change(file_id)


@internal_action
def mail(ctx: ActionCtx, *, file: Id[StoredFile]) -> None:
    """Make a URL for a mail."""
    sent.append(ctx.storage.get_url(file))


sent: list[str | None] = []


def test_a_job_makes_whole_urls_or_none(tmp_path: Path) -> None:
    """A job's URL starts with CONVEX_SITE_URL; without it the job fails with an error that names the setting."""
    configs: list[dict[str, Any]] = [
        {"CONVEX_SITE_URL": "https://example.com"},
        {"CONVEX_FILES_URL": "https://files.example"},
        {},
    ]
    for config in configs:
        sent.clear()
        with deployed(tmp_path, functions=[mail], clock=Clock(), **stores.config(tmp_path), **config) as app:
            ctx = backend_of(app).ctx(site=lambda: "http://forged.example")
            ctx.scheduler.run_after(0, mail, file=ctx.storage.store(b"x"))
            (job,) = run_scheduled(backend_of(app))
        for url in config.values():
            assert str(sent[0]).startswith(f"{url}/api/storage/")
        assert ("CONVEX_SITE_URL" in str(job.error), len(sent)) == (not config, len(config))


def test_urls_in_a_flask_view(tmp_path: Path) -> None:
    """In a view of Flask's own, a URL starts with the address of the request."""
    with deployed(tmp_path, **stores.config(tmp_path)) as app:
        convex = ConvexHTTP()

        @app.get("/url")
        def view() -> str:
            return convex.ctx().storage.generate_upload_url()

        assert send(app, "GET", "/url", HTTP_HOST="example.com").text.startswith("http://example.com/api/storage/")


def test_urls_start_with_the_address_of_the_request(tmp_path: Path) -> None:
    """A URL starts with CONVEX_SITE_URL, or else with the address of the request."""
    http = HttpRouter("http", __name__)

    @http.get("/url")
    def make(ctx: ActionCtx, request: Request) -> dict[str, str]:
        return {"url": ctx.storage.generate_upload_url()}

    def start(app: Flask) -> str:
        made = send(app, "GET", "/url", HTTP_HOST="example.com:8080", SCRIPT_NAME="/app").json or {}
        return str(made["url"]).partition("/api/storage")[0]

    with deployed(tmp_path, http) as app:
        assert start(app) == "http://example.com:8080/app"
    with deployed(tmp_path, http, CONVEX_SITE_URL="https://files.example.com/") as app:
        assert start(app) == "https://files.example.com"
