"""Moves of the bytes of files to other blob stores and to S3."""

import re
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http.backend import Backend
from flask_convex_http.operations.move.move import Move, Side
from flask_convex_http.operations.move.records import MoveRefusedError
from flask_convex_http.operations.progress import Progress
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.sqlite.connections import sqlite3
from tests import s3
from tests.operations.move.moving import (
    Places,
    all_rows,
    documents,
    move_of,
    moved,
    side,
    silent,
)
from tests.operations.move.moving import pair_fixture as pair_fixture
from tests.operations.move.moving import places_fixture as places_fixture


def test_only_files_move_to_another_store(places: Places) -> None:
    """If both sides share the database, only bytes move."""
    here, there = places.ready(), places.new()
    file = here.files.store(b"a photo", None)
    before = all_rows(here)
    move = Move(here.schema, side(here), Side(here.engine, there.blobs, there.settings.storage(Path())), here.clock)
    for copied in (1, 0):
        report = move.run(silent)
        assert report.is_same and report.tables == {}
        assert report.files is not None and report.files.copied == copied
    assert all_rows(here) == before
    assert b"".join(there.blobs.read(file)) == b"a photo"


def test_only_rows_move_to_another_database(places: Places) -> None:
    """If both sides share the blob store, only rows move."""
    here, there = places.ready(), places.new()
    here.files.store(b"a photo", None)
    move = Move(here.schema, side(here), Side(there.engine, here.blobs, here.settings.storage(Path())), here.clock)
    report = move.run(silent)
    assert report.is_same and report.files is None
    assert documents(there, there.schema.table_for(StoredFile)) == documents(here, here.schema.table_for(StoredFile))


def test_files_go_to_s3_and_back(places: Places, tmp_path: Path) -> None:
    """Empty and large files arrive unchanged in S3 and back, and S3 has the headers to serve them with."""
    here, back = places.ready(), places.new()
    contents = (b"", b"a photo", bytes(range(256)) * 40_000)
    page, photo = here.files.store(contents[0], "text/html"), here.files.store(contents[1], "image/png")
    here.files.store(contents[2], None)
    far = places.store_at(s3.url(tmp_path))
    out, home = moved(here, far), moved(far, back)
    for report in (out, home):
        assert report.is_same
        assert report.files is not None and report.files.copied == 3
        assert report.files.bytes == sum(map(len, contents))
    files = documents(back, back.schema.table_for(StoredFile))
    assert [b"".join(back.blobs.read(file.id)) for file in files] == list(contents)
    assert [served_as(far, id) for id in (photo, page)] == [
        ("image/png", "inline"),
        ("application/octet-stream", f'attachment; filename="{page}"'),
    ]


def served_as(backend: Backend, id: str) -> tuple[str | None, str | None]:
    """Return the headers that a client gets from the store."""
    url = backend.blobs.signed_url("GET", id, timedelta(minutes=1))
    assert url is not None
    with urllib.request.urlopen(url) as response:
        return response.headers["Content-Type"], response.headers["Content-Disposition"]


def test_missing_and_damaged_bytes_are_reported(places: Places) -> None:
    """A file with missing or wrong bytes in the source is reported, and no wrong bytes stay in the target."""
    here, there = places.ready(), places.new()
    missing, damaged, good = (here.files.store(text, None) for text in (b"missing", b"damaged", b"good"))
    here.blobs.delete(missing)
    here.blobs.delete(damaged)
    here.blobs.write(damaged, [b"dAmaged"])
    report = moved(here, there)
    assert not report.is_same
    assert report.different == []
    assert report.files is not None and (report.files.files, report.files.copied, report.files.faults) == (3, 1, 2)
    assert f"The file {missing} has no bytes in the source" in report.files.problems[0]
    assert f"The bytes of {damaged} in the source are not those that were stored" in report.files.problems[1]
    assert [there.blobs.exists(file) for file in (missing, damaged, good)] == [False, False, True]


def test_verify_reads_all_bytes(places: Places) -> None:
    """Changed bytes of the same size in the target are reported."""
    here, there = places.ready(), places.new()
    file = here.files.store(b"good", None)
    assert moved(here, there).is_same
    assert move_of(here, there).verify(silent).is_same
    there.blobs.delete(file)
    there.blobs.write(file, [b"evil"])
    report = move_of(here, there).verify(silent)
    assert report.files is not None
    assert report.files.problems == [f"The bytes of {file} in the target are not those that were stored"]
    assert not report.is_same


def test_a_file_deleted_during_the_run_is_no_fault(places: Places) -> None:
    """A file that is deleted after the rows were copied is not reported as missing."""
    here, there = places.ready(), places.new()
    file = here.files.store(b"bytes", None)
    move = move_of(here, there)

    @contextmanager
    def delete_before_files(label: str) -> Iterator[Progress]:
        if label == "Files":
            here.ctx().storage.delete(file)
        yield lambda done, total: None

    report = move.run(delete_before_files)
    assert report.files is not None and report.files.faults == 0
    assert report.different == ["_storage"]


def test_bytes_are_copied_once(places: Places) -> None:
    """A second run copies new files, and files that have another size in the target."""
    here, there = places.ready(), places.new()
    first = here.files.store(b"first", None)
    assert moved(here, there).is_same
    here.files.store(b"second", None)
    there.blobs.delete(first)
    there.blobs.write(first, [b"fir"])
    here.files.store(b"", None)
    report = moved(here, there).files
    assert report is not None and (report.files, report.copied, report.faults) == (3, 3, 0)
    assert b"".join(there.blobs.read(first)) == b"first"
    again = moved(here, there).files
    assert again is not None and again.copied == 0


def test_an_unfinished_write_is_overwritten(places: Places) -> None:
    """A key that a killed run has begun to write is written again."""
    here, there = places.ready(), places.new()
    file = here.files.store(b"bytes", None)
    assert not there.blobs.exists(file)  # creates its tables
    with closing(sqlite3.connect(places.store_of(there), isolation_level=None)) as connection:
        connection.execute("INSERT INTO blobs (id, key, created, state) VALUES (1, ?, 0, 'writing')", (file,))
    assert moved(here, there).is_same
    assert b"".join(there.blobs.read(file)) == b"bytes"


def test_a_store_with_foreign_bytes_is_refused(places: Places) -> None:
    """A blob store may hold bytes of this app's files, but not those of another app: a sweep would delete them."""
    here, there, other = places.ready(), places.new(), places.new()
    file = here.files.store(b"mine", None)
    there.blobs.write(file, [b"mine"])
    assert moved(here, there).is_same
    other.blobs.write("_storage_of_others", [b"theirs"])
    with pytest.raises(MoveRefusedError, match=re.escape("this app's files ('_storage_of_others')")):
        moved(here, other)
    assert b"".join(other.blobs.read("_storage_of_others")) == b"theirs"


def test_bytes_of_deleted_files_do_not_stop_the_next_run(places: Places) -> None:
    """A blob store that a run has begun to fill may hold bytes of files that were deleted since."""
    here, there = places.ready(), places.new()
    file = here.files.store(b"bytes", None)
    assert moved(here, there).is_same
    here.ctx().storage.delete(file)
    report = moved(here, there)
    assert report.is_same
    assert report.files is not None and report.files.files == 0
