"""Stored files that no document refers to: which they are, and that no other file is deleted."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from flask_convex_http import (
    Document,
    Id,
    MutationCtx,
    RegistrationError,
    Schema,
    StoredFile,
    internal_mutation,
)
from flask_convex_http.backend import Backend
from flask_convex_http.testing import Clock
from tests.databases import EACH_ENGINE, memory_backend

pytestmark = EACH_ENGINE

DAY = timedelta(days=1)


class Page(msgspec.Struct):
    text: str
    photo: Id[StoredFile] | None = None


class Album(Document, table="albums"):
    cover: Id[StoredFile] | None = None
    photos: list[Id[StoredFile]] = []
    pages: list[Page] = []
    other: dict[str, Any] = {}
    url: str = ""
    scan: bytes = b""


@internal_mutation
def add(ctx: MutationCtx, *, field: str, file: str) -> Id[Album]:
    """Insert an album that refers to a file in one of its fields."""
    values: dict[str, Any] = {
        "cover": file,
        "photos": [file],
        "pages": [Page("text"), Page("more", Id(file))],
        "other": {"a": [{file: 1}]},
        "url": f"https://example.com/api/storage/{file}?signature=x",
        "scan": f"<{file}>".encode(),
    }
    return ctx.db.insert(Album(**{field: values[field]}))


FIELDS = ("cover", "photos", "pages", "other", "url", "scan")


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="backend")
def _backend(clock: Clock) -> Iterator[Backend]:
    with memory_backend(Schema(Album), [add], clock=clock) as backend:
        yield backend


def nothing(done: int, total: int) -> None:
    """Report nothing."""


def found(backend: Backend, age: timedelta = DAY) -> list[str]:
    """Return the ids of the unattached files."""
    return [file.id for file in backend.unattached_files.find(age, nothing)]


def test_a_file_in_any_field_is_attached(backend: Backend, clock: Clock) -> None:
    """A file whose id is anywhere in a document is attached; one that no document mentions is not."""
    ctx = backend.ctx()
    files = [ctx.storage.store(b"photo") for _ in range(len(FIELDS) + 1)]
    for field, file in zip(FIELDS, files, strict=False):
        ctx.run_mutation(add, field=field, file=file)
    clock.advance(2 * DAY)
    assert found(backend) == files[-1:]
    backend.unattached_files.delete(backend.unattached_files.find(DAY, nothing), nothing)
    assert [ctx.storage.get_metadata(file) is None for file in files] == [False] * len(FIELDS) + [True]
    assert backend.blobs.total()[0] == len(FIELDS)
    assert found(backend) == []


def test_a_file_that_a_job_will_attach_is_attached(backend: Backend, clock: Clock) -> None:
    """A file in the arguments of a job is attached."""
    ctx = backend.ctx()
    file = ctx.storage.store(b"photo")
    ctx.scheduler.run_after(10 * DAY, add, field="cover", file=file)
    clock.advance(2 * DAY)
    assert found(backend) == []


def test_young_files_are_left_alone(backend: Backend, clock: Clock) -> None:
    """A file that is younger than the given age may still be attached, and is not found."""
    file = backend.ctx().storage.store(b"photo")
    clock.advance(timedelta(hours=23))
    assert found(backend) == []
    assert found(backend, timedelta(hours=22)) == [file]


def test_a_file_that_is_deleted_already_is_no_error(backend: Backend, clock: Clock) -> None:
    """Deleting files that someone else has deleted since continues with the next one."""
    ctx = backend.ctx()
    files = [ctx.storage.store(b"photo") for _ in range(2)]
    clock.advance(2 * DAY)
    unattached = backend.unattached_files.find(DAY, nothing)
    ctx.storage.delete(files[0])
    backend.unattached_files.delete(unattached, nothing)
    assert backend.files.list_files() == []


def test_without_references_nothing_is_found() -> None:
    """An application without a field of files is refused, since all files would be unattached."""

    class Note(Document, table="notes"):
        text: str

    with memory_backend(Schema(Note)) as backend, pytest.raises(RegistrationError, match=r"Id\[StoredFile\]"):
        found(backend)
