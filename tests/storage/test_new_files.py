"""`ctx.storage.store` in mutations and what runs as one: the file and the rest of the transaction, or nothing."""

import io
import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from flask import Flask, Request
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from flask_convex_http import (
    BlobNotFoundError,
    ConvexError,
    Document,
    EngineError,
    FunctionCallError,
    GitHub,
    HttpRouter,
    Id,
    MutationCtx,
    PayloadTooLargeError,
    QueryCtx,
    Schema,
    StoredFile,
    WebhookEvent,
    internal_mutation,
    internal_query,
)
from flask_convex_http.backend import Backend
from flask_convex_http.runtime.dry_run import dry_run
from flask_convex_http.storage.blobs import StoredBytes
from flask_convex_http.storage.new_files import MAX_BYTES, MAX_RUNS
from flask_convex_http.testing import Clock, run_scheduled
from tests import stores
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.web.apps import backend_of, deployed
from tests.webhooks.senders import SECRET, sign_github

pytestmark = [stores.EACH_STORE, EACH_ENGINE, SLOW_ON_POSTGRES]


class Note(Document, table="notes"):
    """A document with a file."""

    file: Id[StoredFile]


class Counter(Document, table="counters"):
    """A number that each file has taken in turn."""

    value: int


T = TypeVar("T")

runs: list[str] = []


@internal_mutation
def attach(ctx: MutationCtx, *, data: bytes, fail: bool = False) -> Id[Note]:
    """Store a file and a document that refers to it, or fail after that."""
    runs.append("attach")
    file = ctx.storage.store(data, content_type="text/plain", name="../note.txt")
    found = ctx.storage.get_metadata(file)
    assert found is not None and (found.size, found.name) == (len(data), "note.txt")
    assert "https://example.com/api/storage/" in str(ctx.storage.get_url(file))
    assert ctx.storage.generate_upload_url().startswith("https://example.com/api/storage/upload?")
    if fail:
        raise ConvexError("no")
    return ctx.db.insert(Note(file=file))


@internal_mutation
def attach_some(ctx: MutationCtx, *, parts: list[bytes]) -> None:
    """Attach files by mutations of their own. Empty ones fail, which is caught."""
    for data in parts:
        with suppress(ConvexError):
            ctx.run_mutation(attach, data=data, fail=not data)


@internal_mutation
def describe(ctx: MutationCtx) -> tuple[str, str]:
    """Store what differs in each transaction: the id of a document, the time, and the id of another file."""
    counter = ctx.db.insert(Counter(value=1))
    first = ctx.storage.store(f"{counter} {ctx.now}".encode())
    ctx.storage.store(json.dumps([counter, first]).encode())
    return counter, first


@internal_mutation
def store_random(ctx: MutationCtx) -> Id[StoredFile]:
    """Store other bytes in each run."""
    runs.append("random")
    return ctx.storage.store(secrets.token_bytes(16))


@internal_mutation
def store_and_delete(ctx: MutationCtx) -> None:
    """Store a file and delete it again."""
    ctx.storage.delete(ctx.storage.store(b"short-lived"))


@internal_mutation
def count_up(ctx: MutationCtx) -> Id[Note]:
    """Store the next number."""
    counter = ctx.db.query(Counter).unique()
    assert counter is not None
    ctx.db.patch(counter.id, value=counter.value + 1)
    return ctx.db.insert(Note(file=ctx.storage.store(f"number {counter.value}".encode())))


@internal_query
def notes(ctx: QueryCtx) -> list[Note]:
    """Return all documents with files, oldest first."""
    return ctx.db.query(Note).order("asc").collect()


FUNCTIONS: list[Any] = [attach, attach_some, describe, store_random, store_and_delete, count_up, notes]


@contextmanager
def app_of(folder: Path, *routers: HttpRouter) -> Iterator[Flask]:
    """Yield an app with the functions of this module."""
    runs.clear()
    options: dict[str, Any] = {"schema": Schema(Note, Counter), "functions": FUNCTIONS, "clock": Clock()}
    options |= {"CONVEX_SITE_URL": "https://example.com", **stores.config(folder)}
    with deployed(folder, *routers, **options) as app:
        yield app


@contextmanager
def storing(folder: Path) -> Iterator[Backend]:
    """Yield the backend of such an app."""
    with app_of(folder) as app:
        yield backend_of(app)


def transact(backend: Backend, body: Callable[[MutationCtx], T]) -> T:
    """Call a function as a mutation."""
    return backend.runtime.transact(body, backend.caller())


def files(backend: Backend) -> list[bytes]:
    """Return the bytes of all files, after a check that each row has its bytes and all bytes have a row."""
    rows, keys = backend.files.list_files(), dict(backend.blobs.keys()).keys()
    assert {row.id for row in rows} == keys
    return [b"".join(backend.blobs.read(row.id)) for row in rows]


def attached(backend: Backend) -> list[bytes]:
    """Return the bytes of the files of all documents, and check that there are no other files."""
    found = [b"".join(backend.blobs.read(note.file)) for note in backend.ctx().run_query(notes)]
    assert sorted(found) == sorted(files(backend))
    return found


def test_a_file_is_committed_with_its_document(tmp_path: Path) -> None:
    """A mutation that stores a file sees its row, and commits it. With a remote store it runs once more."""
    with storing(tmp_path) as backend:
        backend.ctx().run_mutation(attach, data=b"one")
        assert attached(backend) == [b"one"]
        assert len(runs) == (2 if backend.blobs.is_remote else 1)


def test_a_failed_mutation_stores_nothing(tmp_path: Path) -> None:
    """A mutation that fails after it stored a file leaves neither a row nor bytes, and writes none."""
    with storing(tmp_path) as backend:
        with pytest.raises(ConvexError):
            backend.ctx().run_mutation(attach, data=b"one", fail=True)
        assert (files(backend), len(runs)) == ([], 1)


def test_a_nested_mutation_that_fails_takes_its_file_along(tmp_path: Path) -> None:
    """A nested mutation that fails stores nothing, and the others keep their files. Equal bytes are two files."""
    with storing(tmp_path) as backend:
        backend.ctx().run_mutation(attach_some, parts=[b"same", b"", b"same", b"other", b""])
        assert attached(backend) == [b"same", b"same", b"other"]


def test_bytes_with_ids_and_times_agree_with_the_rows(tmp_path: Path) -> None:
    """Bytes may contain the ids of new documents and files, and ctx.now: they are those of the committed run."""
    with storing(tmp_path) as backend:
        counter, first = backend.ctx().run_mutation(describe)
        assert sorted(files(backend))[0] == json.dumps([counter, first]).encode()
        assert b"".join(backend.blobs.read(first)).startswith(f"{counter} ".encode())
        with backend.engine.snapshot() as snapshot:
            assert snapshot.get(backend.schema.table_for(Counter), counter) is not None


def test_other_bytes_in_each_run(tmp_path: Path) -> None:
    """Random bytes are refused for a remote store after some runs, and leave nothing. A local one takes them."""
    with storing(tmp_path) as backend:
        if backend.blobs.is_remote:
            with pytest.raises(FunctionCallError, match="other bytes in each of 5 runs"):
                backend.ctx().run_mutation(store_random)
        else:
            backend.ctx().run_mutation(store_random)
        assert (len(files(backend)), len(runs)) == ((0, MAX_RUNS) if backend.blobs.is_remote else (1, 1))


def test_a_file_that_is_stored_and_deleted(tmp_path: Path) -> None:
    """A mutation can delete the file that it stores."""
    with storing(tmp_path) as backend:
        backend.ctx().run_mutation(store_and_delete)
        assert files(backend) == []


def test_no_transaction_waits_for_a_remote_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While bytes are sent to a remote store, other mutations commit."""
    with storing(tmp_path) as backend:
        write = backend.blobs.write

        def slow(key: str, chunks: Iterable[bytes], served: Any = None) -> StoredBytes:
            if backend.blobs.is_remote:
                backend.engine.write(lambda transaction: None)  # fails inside of a transaction
            return write(key, chunks, served)

        monkeypatch.setattr(backend.blobs, "write", slow)
        backend.ctx().run_mutation(attach, data=b"one")
        assert attached(backend) == [b"one"]


def test_a_store_that_fails(tmp_path: Path) -> None:
    """If the bytes cannot be written, the mutation fails and has no effect."""
    with storing(tmp_path) as backend:
        backend.blobs.close()
        with pytest.raises(EngineError, match="closed"):
            backend.ctx().run_mutation(attach, data=b"one")
        assert (backend.files.list_files(), backend.ctx().run_query(notes)) == ([], [])


class Pipe(io.RawIOBase):
    """A file that cannot seek."""

    def readable(self) -> bool:
        return True


@pytest.mark.parametrize("make", [lambda: iter([b"a"]), lambda: (b for b in [b"a"]), Pipe])
def test_data_that_can_be_read_once_is_refused(tmp_path: Path, make: Any) -> None:
    """A mutation may run again, so it refuses an iterator or a pipe, and says what to give it."""
    data = make()
    with storing(tmp_path) as backend:
        with pytest.raises(FunctionCallError, match="read only once; give it bytes"):
            transact(backend, lambda ctx: ctx.storage.store(data))
        assert files(backend) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: io.BytesIO(b"body"),
        lambda: memoryview(b"body"),
        lambda: [b"bo", bytearray(b"dy")],
        lambda: FileStorage(io.BytesIO(b"body"), "a.txt", content_type="text/plain"),
    ],
)
def test_data_that_can_be_read_again(tmp_path: Path, make: Any) -> None:
    """A file that can seek, a list of bytes and the file of a form are stored whole, however often the body runs."""
    data = make()
    with storing(tmp_path) as backend:
        transact(backend, lambda ctx: ctx.storage.store(data))
        assert files(backend) == [b"body"]


@pytest.mark.parametrize("data", ["text", 1, None, ["text"], io.StringIO("text")])
def test_invalid_data(tmp_path: Path, data: Any) -> None:
    """Any other value raises TypeError, as in an action."""
    with storing(tmp_path) as backend:
        with pytest.raises(TypeError):
            transact(backend, lambda ctx: ctx.storage.store(data))
        assert files(backend) == []


def test_too_many_bytes(tmp_path: Path) -> None:
    """All files of a mutation together have a limit, since they are in memory. The client's mistake is 413."""
    with storing(tmp_path) as backend:

        def store_two(ctx: MutationCtx) -> None:
            ctx.storage.store(b"first")
            ctx.storage.store(bytes(MAX_BYTES - 4))

        with pytest.raises(PayloadTooLargeError, match="at most 67,108,864 bytes") as caught:
            transact(backend, store_two)
        assert caught.value.client_message == "The file is too large"
        assert files(backend) == []


def test_reading_bytes_is_refused(tmp_path: Path) -> None:
    """A mutation cannot read the bytes of a file, and the error says where to do it."""
    with storing(tmp_path) as backend, pytest.raises(AttributeError, match="read the file in a handler or an action"):
        transact(backend, lambda ctx: ctx.storage.get(Id("x")))  # type: ignore[attr-defined]


def test_a_dry_run_writes_no_bytes(tmp_path: Path) -> None:
    """A dry run shows the row of a file, and stores nothing."""
    with storing(tmp_path) as backend:
        shown = dry_run(backend.runtime, lambda calls: calls.ctx().storage.store(b"one"))
        assert len(shown.system) == 1
        assert files(backend) == []


def test_jobs_of_one_batch_keep_their_own_files(tmp_path: Path) -> None:
    """Of scheduled mutations that share a commit, the one that fails stores nothing."""
    with storing(tmp_path) as backend:
        for data, fail in [(b"one", False), (b"two", True), (b"three", False)]:
            backend.ctx().scheduler.run_after(0, attach, data=data, fail=fail)
        backend.ctx().scheduler.run_after(0, store_random)
        jobs = run_scheduled(backend)
        failed = [job.error for job in jobs if job.error]
        assert len(failed) == (2 if backend.blobs.is_remote else 1)
        stored = [b"".join(backend.blobs.read(note.file)) for note in backend.ctx().run_query(notes)]
        assert stored == [b"one", b"three"]
        assert len(files(backend)) == (2 if backend.blobs.is_remote else 3)


def test_concurrent_mutations(tmp_path: Path) -> None:
    """Mutations that share a commit, conflict or fail keep what belongs to them: no number is stored twice."""

    def one(number: int) -> None:
        if number % 3:
            backend.ctx().run_mutation(attach, data=b"%d" % number)
            return
        with pytest.raises(ConvexError):
            backend.ctx().run_mutation(attach, data=b"%d" % number, fail=True)

    with storing(tmp_path) as backend:
        transact(backend, lambda ctx: ctx.db.insert(Counter(value=1)))
        with ThreadPoolExecutor(6) as threads:
            counted = [threads.submit(backend.ctx().run_mutation, count_up) for _ in range(2)]
            list(threads.map(one, range(12)))
            for future in counted:
                future.result()
        stored = [b"%d" % number for number in range(12) if number % 3]
        assert sorted(attached(backend)) == sorted([*stored, b"number 1", b"number 2"])


def test_a_webhook_stores_its_body_once(tmp_path: Path) -> None:
    """A webhook's handler stores a file with the delivery: once for duplicates, and not at all if it fails."""
    http = HttpRouter("http", __name__)

    @http.webhook("/hook", GitHub(secret=SECRET))
    def on_event(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.run_mutation(attach, data=event.body)
        if event.type == "fail":
            raise ConvexError("no", status=422)

    def deliver(app: Flask, event: str, delivery: str) -> int:
        body = json.dumps({"event": event}).encode()
        headers = {**sign_github(SECRET, body, 0), "X-GitHub-Event": event, "X-GitHub-Delivery": delivery}
        return app.test_client().post("/hook", data=body, headers=headers).status_code

    with app_of(tmp_path, http) as app:
        assert [deliver(app, "ok", "1"), deliver(app, "ok", "1"), deliver(app, "fail", "2")] == [200, 200, 422]
        assert attached(backend_of(app)) == [b'{"event": "ok"}']


def test_an_idempotent_request_stores_its_file_once(tmp_path: Path) -> None:
    """An idempotent handler stores the file of a form with the key, and a retry stores nothing."""
    http = HttpRouter("http", __name__)

    @http.post("/notes", idempotent=True, status=201)
    def post_note(ctx: MutationCtx, request: Request) -> dict[str, str]:
        return {"id": ctx.db.insert(Note(file=ctx.storage.store(request.files["note"])))}

    with app_of(tmp_path, http) as app:

        def post() -> TestResponse:
            _, body = encode_multipart(
                {"note": FileStorage(io.BytesIO(b"form"), "note.txt", content_type="text/plain")}, "b"
            )
            headers = {"Idempotency-Key": "k", "Content-Type": "multipart/form-data; boundary=b"}
            return app.test_client().post("/notes", data=body, headers=headers)

        first, second = post(), post()
        assert (first.status_code, first.get_json()) == (second.status_code, second.get_json())
        assert second.headers["Idempotency-Replayed"] == "true"
        backend = backend_of(app)
        assert attached(backend) == [b"form"]
        (row,) = backend.files.list_files()
        assert (row.name, row.content_type) == ("note.txt", "text/plain")


def test_a_deleted_file_is_gone_after_the_commit(tmp_path: Path) -> None:
    """A stored file can be deleted by a later mutation."""
    with storing(tmp_path) as backend:
        file = transact(backend, lambda ctx: ctx.storage.store(b"one"))
        transact(backend, lambda ctx: ctx.storage.delete(file))
        assert files(backend) == []
        with pytest.raises(BlobNotFoundError):
            transact(backend, lambda ctx: ctx.storage.delete(file))
