"""Moves between databases: the rows that arrive, and the rows that a second run copies."""

import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flask_convex_http import Document, Id, Schema, StoredFile
from flask_convex_http.backend import Backend
from flask_convex_http.operations.progress import Progress
from tests.operations.move.moving import (
    ODD,
    ONE_PAIR,
    Lamp,
    Maker,
    Places,
    all_rows,
    change,
    lamps,
    move_of,
    moved,
    silent,
    write,
)
from tests.operations.move.moving import pair_fixture as pair_fixture
from tests.operations.move.moving import places_fixture as places_fixture

#: More rows than one page or batch has.
MANY = 1100


# --- one run ---------------------------------------------------------------------------------------------------------


def test_rows_and_files_arrive_unchanged(pair: tuple[Backend, Backend]) -> None:
    """Rows keep their ids, times and values, files keep their bytes, and issued keys and URLs stay valid."""
    here, there = pair
    (maker,) = write(here, Maker(name="Anna"))
    write(here, *ODD, Lamp(maker=maker))
    file = here.files.store(b"a photo", "image/png")
    key, _ = here.api_keys.create(name="ci", scopes=["read"])
    url = url_of(here, file)
    report = moved(here, there)
    assert report.is_same
    assert report.files is not None and (report.files.files, report.files.copied, report.files.bytes) == (1, 1, 7)
    assert all_rows(there) == all_rows(here)
    assert len(lamps(there)) == len(ODD) + 1
    assert there.api_keys.verify(key) == here.api_keys.verify(key) is not None
    assert url_of(there, file) == url
    assert b"".join(there.blobs.read(file)) == b"a photo"


def url_of(backend: Backend, file: Id[StoredFile]) -> str | None:
    """Return the URL of a file."""
    return backend.ctx(site=lambda: "https://example.com").storage.get_url(file)


def test_rows_that_are_moved_back_are_unchanged(pair: tuple[Backend, Backend], places: Places) -> None:
    """Rows that moved to another database and back are unchanged, and checksums do not depend on the database."""
    here, there = pair
    write(here, *ODD)
    back = places.new("sqlite")
    out, home = moved(here, there), moved(there, back)
    assert out.is_same and home.is_same
    assert {name: source for name, (source, _) in out.tables.items()} == {
        name: target for name, (_, target) in home.tables.items()
    }
    assert all_rows(back) == all_rows(here)


def test_a_checksum_covers_every_column(places: Places) -> None:
    """A change of any column or of the creation time changes the checksum."""
    here, there = places.ready(), places.new()
    (lamp,) = write(here, Lamp(code="a", name="b", watts=1, price=1.0))
    moved(here, there)
    table = there.schema.table_for(Lamp)
    before = move_of(here, there).verify(silent).tables["lamps"]
    for column, value in {
        "_creation_time": 5.0,
        "code": None,
        "name": "B",
        "watts": 2,
        "price": 1.5,
        "lit": 1,
        "photo": b"\0",
        "made": "2024-01-01T00:00:00.000000Z",
        "tags": '["a"]',
    }.items():
        with there.engine.snapshot() as snapshot:
            row = snapshot.get(table, lamp)
        assert row is not None
        names = ("_id", "_creation_time", *table.columns)
        there.engine.write(lambda it, column=column, value=value: it.update(table, lamp, {column: value}))  # type: ignore[misc]
        report = move_of(here, there).verify(silent)
        assert report.different == ["lamps"], column
        old = row[names.index(column)]
        there.engine.write(lambda it, column=column, old=old: it.update(table, lamp, {column: old}))  # type: ignore[misc]
    assert move_of(here, there).verify(silent).tables["lamps"] == before


def test_the_source_is_only_read(places: Places) -> None:
    """A move does not change a byte of the source's database file."""
    here, there = places.ready(), places.new()
    write(here, *ODD)
    here.close()
    path = Path(here.settings.database_url.removeprefix("sqlite:///"))
    before = path.read_bytes()
    assert moved(here, there).is_same
    here.close()
    assert path.read_bytes() == before


def test_memory_does_not_grow_with_large_rows(places: Places) -> None:
    """Rows of a megabyte each are read and written in small batches."""
    here, there = places.ready(), places.new()
    for _ in range(40):
        write(here, Lamp(photo=bytes(2**20)))
    tracemalloc.start()
    try:
        assert moved(here, there).is_same
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 * 2**20


# --- a second run ----------------------------------------------------------------------------------------------------


def test_a_second_run_copies_the_differences(pair: tuple[Backend, Backend]) -> None:
    """A second run inserts, changes and deletes the rows that changed in the source since the first one."""
    here, there = pair
    ids = write(here, *(Lamp(code=str(number)) for number in range(MANY)))
    assert moved(here, there).is_same
    change(here, lambda db: [db.delete(id) for id in ids[::7]])
    change(here, lambda db: [db.patch(id, name="new") for id in ids[1::7]])
    write(here, *ODD)
    report = moved(here, there)
    assert report.is_same
    assert lamps(there) == lamps(here)


@ONE_PAIR
def test_rows_may_exchange_unique_values(pair: tuple[Backend, Backend]) -> None:
    """A second run copies rows that have exchanged their values of a unique index, in several batches."""
    here, there = pair
    ids = write(here, *(Lamp(code=str(number)) for number in range(MANY)))
    assert moved(here, there).is_same

    def rotate(db: Any) -> None:
        for id in ids:
            db.patch(id, code=None)
        for number, id in enumerate(ids[:-1]):
            db.patch(id, code=str(number + 1))
        db.delete(ids[-1])
        db.insert(Lamp(code="0"))

    change(here, rotate)
    assert moved(here, there).is_same
    assert lamps(there) == lamps(here)


def test_a_changed_creation_time_arrives(places: Places) -> None:
    """A creation time that was changed by hand arrives, whether it is earlier or later than before."""
    here, there = places.ready(), places.new()
    ids = write(here, *(Lamp(code=str(number)) for number in range(3)))
    assert moved(here, there).is_same
    table = here.schema.table_for(Lamp)
    here.engine.write(lambda it: it.update(table, ids[0], {"_creation_time": 9e12}))
    here.engine.write(lambda it: it.update(table, ids[2], {"_creation_time": 1.0}))
    assert moved(here, there).is_same
    assert lamps(there) == lamps(here)


@ONE_PAIR
@pytest.mark.parametrize(("part", "share"), [("Checking the target", 0), ("Rows", 0.3), ("Rows", 0.9), ("Files", 0)])
def test_a_run_may_be_interrupted_at_any_point(pair: tuple[Backend, Backend], part: str, share: float) -> None:
    """The next run continues an interrupted one, and each row is in the target once."""
    here, there = pair
    write(here, *(Lamp(code=str(number)) for number in range(MANY)))
    write(here, *(Maker(name=str(number)) for number in range(MANY)))
    here.files.store(b"bytes", None)
    ids = [lamp.id for lamp in lamps(here)]

    @contextmanager
    def interrupted(label: str) -> Iterator[Progress]:
        def progress(done: int, total: int) -> None:
            if label == part and done >= share * total:
                raise KeyboardInterrupt

        yield progress

    move = move_of(here, there)
    with suppress(KeyboardInterrupt):
        move.run(interrupted)
    change(here, lambda db: [db.delete(id) for id in ids[::5]])
    assert moved(here, there).is_same
    assert all_rows(there) == all_rows(here)


@ONE_PAIR
def test_the_source_may_be_written_during_a_run(pair: tuple[Backend, Backend]) -> None:
    """Runs while rows are inserted, changed and deleted do not fail, and the first one afterwards copies the rest."""
    here, there = pair
    write(here, *(Lamp(code=str(number)) for number in range(150)))
    over = threading.Event()

    def work() -> None:
        random = Random(1)
        while not over.is_set():
            swap(here, *random.sample(lamps(here), 2))

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(work)
        try:
            for _ in range(3):
                moved(here, there)
        finally:
            over.set()
        writer.result()
    assert moved(here, there).is_same
    assert lamps(there) == lamps(here)


def swap(backend: Backend, one: Lamp, other: Lamp) -> None:
    """Delete one lamp, give its code to the other, and the other's code to a new lamp."""
    change(backend, lambda db: db.delete(one.id))
    change(backend, lambda db: db.patch(other.id, code=one.code, watts=other.watts + 1))
    write(backend, Lamp(code=other.code))


# --- reports ---------------------------------------------------------------------------------------------------------


def test_tables_and_columns_outside_the_schema_are_named(places: Places) -> None:
    """Tables and columns of former versions of the app do not move, and the report names them."""
    here = places.ready()

    class Less(Document, table="lamps"):
        name: str = ""

    write(here, *ODD)
    less = places.again(here, Schema(Less))
    report = moved(less, places.new("sqlite", Schema(Less)))
    assert report.is_same
    assert report.left_behind[0] == "makers"
    assert "lamps.photo" in report.left_behind


def test_each_part_reports_its_progress(places: Places) -> None:
    """The progress of each part ends at its total and never exceeds it."""
    here, there = places.ready(), places.new()
    write(here, *(Lamp(code=str(number)) for number in range(MANY)))
    here.files.store(b"bytes", None)
    reports: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def recorded(label: str) -> Iterator[Progress]:
        yield lambda done, total: reports.setdefault(label, []).append((done, total))

    move_of(here, there).run(recorded)
    assert set(reports) == {"Checking the target", "Rows", "Files", "Comparing"}
    for label, steps in reports.items():
        assert all(done <= total for done, total in steps), label
        assert steps[-1][0] == steps[-1][1], label
