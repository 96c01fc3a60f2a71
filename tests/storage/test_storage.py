"""`ctx.storage`: bytes and rows that agree, whatever fails in between."""

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
    DocumentValidationError,
    HttpRouter,
    Id,
    MutationCtx,
    QueryCtx,
    StorageIdError,
    StoredFile,
    internal_mutation,
    internal_query,
)
from flask_convex_http.backend import Backend
from flask_convex_http.storage.files import SweepReport
from flask_convex_http.storage.storage import StorageActions
from flask_convex_http.testing import Clock
from tests import stores
from tests.web.apps import backend_of, deployed, send

pytestmark = stores.EACH_STORE

BODY = bytes(range(256)) * 2000


@internal_mutation
def remove(ctx: MutationCtx, *, file: Id[StoredFile], fail: bool = False) -> bool:
    """Delete a file and answer whether it is still to be seen in the transaction; then perhaps fail."""
    ctx.storage.delete(file)
    if fail:
        raise ConvexError("no")
    return ctx.storage.get_metadata(file) is not None


@internal_mutation
def try_to_remove(ctx: MutationCtx, *, file: Id[StoredFile]) -> None:
    """Run a deletion that fails, and go on."""
    with pytest.raises(ConvexError):
        ctx.run_mutation(remove, file=file, fail=True)


@internal_mutation
def revoke(ctx: MutationCtx, *, file: Id[StoredFile]) -> None:
    """Revoke the URLs of a file."""
    ctx.storage.revoke_urls(file)


@internal_query
def url(ctx: QueryCtx, *, file: Id[StoredFile]) -> str | None:
    """The URL of a file."""
    return ctx.storage.get_url(file)


FUNCTIONS: list[Any] = [remove, try_to_remove, revoke, url]


@contextmanager
def storing(folder: Path, clock: Clock | None = None) -> Iterator[tuple[Backend, StorageActions]]:
    """A backend and its `ctx.storage`."""
    with deployed(folder, functions=FUNCTIONS, clock=clock, **stores.config(folder)) as app:
        backend = backend_of(app)
        yield backend, backend.ctx(site=lambda: "http://localhost").storage


def content(storage: StorageActions, file_id: Id[StoredFile]) -> bytes:
    """All bytes of a file."""
    file = storage.get(file_id)
    assert file is not None
    with file:
        return file.read()


def stored(backend: Backend) -> list[str]:
    """What the blob store has bytes for."""
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
def test_what_can_be_stored(tmp_path: Path, make: Any) -> None:
    """Bytes, a file to read from and an iterable of bytes are stored alike."""
    with storing(tmp_path) as (_, storage):
        file_id = storage.store(make(), content_type="a/b")
        assert content(storage, file_id) == BODY
        file = storage.get_metadata(file_id)
    assert file is not None and (file.size, file.content_type) == (len(BODY), "a/b")


@pytest.mark.parametrize("data", ["text", 1, None, ["text"], io.StringIO("text")])
def test_what_cannot_be_stored(tmp_path: Path, data: Any) -> None:
    """Text and other things are a TypeError, and leave nothing."""
    with storing(tmp_path) as (backend, storage):
        with pytest.raises(TypeError):
            storage.store(data)
        assert stored(backend) == []


def test_get_is_a_file(tmp_path: Path) -> None:
    """A stored file can be read, sought in and iterated over as any other; one that is not there is None."""
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
    """Any sequence of reads and seeks gives what it gives on the same bytes in memory."""
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


def test_deleting_takes_row_and_bytes(tmp_path: Path) -> None:
    """A deleted file is gone: no bytes, no row, no URL; deleting it again is an error."""
    with storing(tmp_path) as (backend, storage):
        file_id = storage.store(BODY)
        storage.delete(file_id)
        assert (storage.get(file_id), storage.get_metadata(file_id), storage.get_url(file_id)) == (None, None, None)
        assert stored(backend) == []
        with pytest.raises(BlobNotFoundError):
            storage.delete(file_id)


def test_deleting_in_a_mutation_takes_the_bytes_after_the_commit(tmp_path: Path) -> None:
    """A mutation that deletes a file sees it gone, and the bytes go when it commits."""
    with storing(tmp_path) as (backend, storage):
        file_id = storage.store(BODY)
        assert backend.ctx().run_mutation(remove, file=file_id) is False
        assert (storage.get(file_id), stored(backend)) == (None, [])


@pytest.mark.parametrize("whole", [True, False])
def test_deleting_that_is_rolled_back_keeps_the_file(tmp_path: Path, whole: bool) -> None:
    """If the mutation, or the sub-transaction, that deleted a file fails, the file is still there."""
    with storing(tmp_path) as (backend, storage):
        file_id = storage.store(BODY)
        if whole:
            with pytest.raises(ConvexError):
                backend.ctx().run_mutation(remove, file=file_id, fail=True)
        else:
            backend.ctx().run_mutation(try_to_remove, file=file_id)
        assert content(storage, file_id) == BODY


def test_revoking_in_a_mutation(tmp_path: Path) -> None:
    """Revoking changes the URL that a query gives out."""
    with storing(tmp_path) as (backend, storage):
        file_id, ctx = storage.store(b"x"), backend.ctx()
        before = ctx.run_query(url, file=file_id)
        ctx.run_mutation(revoke, file=file_id)
        assert before is not None and ctx.run_query(url, file=file_id) not in (before, None)


def test_failure_before_the_row_leaves_nothing(tmp_path: Path) -> None:
    """If the row cannot be written, here for a type that is no text, the bytes are removed again."""
    with storing(tmp_path) as (backend, storage):
        with pytest.raises(DocumentValidationError, match="surrogates"):
            storage.store(BODY, content_type="\ud800")
        assert stored(backend) == []


def test_failure_while_reading_leaves_nothing(tmp_path: Path) -> None:
    """If the data cannot be read to its end nothing is stored, and the error is the reader's own."""

    def breaking() -> Iterator[bytes]:
        yield BODY
        raise ConnectionError("gone")

    with storing(tmp_path) as (backend, storage):
        with pytest.raises(ConnectionError):
            storage.store(breaking())
        assert stored(backend) == []


def test_crash_between_bytes_and_row_leaves_only_bytes(tmp_path: Path) -> None:
    """Bytes without a row, as a crash leaves them, are no file; the sweep takes them after an hour."""
    clock = Clock()
    with storing(tmp_path, clock) as (backend, storage):
        kept, orphan = storage.store(b"kept"), storage.store(b"orphan")
        backend.engine.write(lambda transaction: backend.files.delete_row(transaction, orphan))
        assert (storage.get(orphan), storage.get_metadata(orphan)) == (None, None)
        clock.advance(timedelta(seconds=time.time() - clock() / 1000 + 3500))
        assert backend.files.sweep().checked == 0
        clock.advance(timedelta(seconds=200))
        assert backend.files.sweep() == SweepReport(checked=2, orphans=[orphan])
        assert stored(backend) == [kept]
        assert content(storage, kept) == b"kept"


def test_ids_of_other_things(tmp_path: Path) -> None:
    """What is no id of a file is None to read and an error to delete."""
    with storing(tmp_path) as (_, storage):
        for wrong in ("", "x", "users_" + "0" * 32, "_storage_" + "0" * 32, "\x00", "é" * 50):
            file_id: Id[StoredFile] = Id(wrong)
            assert (storage.get(file_id), storage.get_url(file_id), storage.get_metadata(file_id)) == (None, None, None)
            for change in (storage.delete, storage.revoke_urls):
                with pytest.raises((StorageIdError, BlobNotFoundError)):
                    change(file_id)


def test_urls_start_where_the_request_came_in(tmp_path: Path) -> None:
    """A URL made for a request starts where that request came in; CONVEX_SITE_URL comes first."""
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
