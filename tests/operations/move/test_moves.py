"""Moves between databases and stores: what arrives, what a second run brings, and what is refused."""

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flask_convex_http import Document, Schema
from flask_convex_http.backend import Backend
from flask_convex_http.ids import new_id
from flask_convex_http.schema.system_tables import ApiKey, ScheduledFunction
from tests.operations.move.moving import (
    ODD,
    Lamp,
    Maker,
    Places,
    all_rows,
    change,
    lamps,
    move_of,
    moved,
    silent,
    watch,
    write,
)
from tests.operations.move.moving import pair_fixture as pair_fixture
from tests.operations.move.moving import places_fixture as places_fixture

#: More than are read or written at once.
MANY = 1100


# --- what arrives ----------------------------------------------------------------------------------------------------


def test_everything_is_there_as_it_was(pair: tuple[Backend, Backend]) -> None:
    """Rows keep their ids, times and values, files their bytes; keys and URLs that were given out stay valid."""
    here, there = pair
    (maker,) = write(here, Maker(name="Anna"))
    write(here, *ODD, Lamp(maker=maker))
    file = here.files.store(b"a photo", "image/png")
    key, _ = here.api_keys.create(lambda hint, hash: ApiKey(name="ci", hint=hint, hash=hash, scopes=["read"]))
    url = here.ctx().storage.get_url(file)
    report = moved(here, there)
    assert report.is_same
    assert report.files is not None and (report.files.files, report.files.copied, report.files.bytes) == (1, 1, 7)
    assert all_rows(there) == all_rows(here)
    assert len(lamps(there)) == len(ODD) + 1
    assert there.api_keys.verify(key) == here.api_keys.verify(key) is not None
    assert there.ctx().storage.get_url(file) == url
    assert b"".join(there.blobs.read(file)) == b"a photo"


def test_there_and_back_is_where_it_began(pair: tuple[Backend, Backend], places: Places) -> None:
    """What went to another database and came back is what it was, and checksums do not depend on the database."""
    here, there = pair
    write(here, *ODD)
    back = places.new("sqlite")
    out, home = moved(here, there), moved(there, back)
    assert out.is_same and home.is_same
    assert [table.source for table in out.tables] == [table.target for table in home.tables]
    assert all_rows(back) == all_rows(here)


def test_a_checksum_sees_every_change(places: Places) -> None:
    """Each column, the creation time and the id are part of it."""
    here, there = places.ready(), places.new()
    (lamp,) = write(here, Lamp(code="a", name="b", watts=1, price=1.0))
    moved(here, there)
    table = there.schema.table_for(Lamp)
    (before,) = [found.target for found in move_of(here, there).verify(watch).tables if found.name == "lamps"]
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
        with there.engine.read() as snapshot:
            row = snapshot.get(table, lamp)
        assert row is not None
        names = ("_id", "_creation_time", *table.columns)
        there.engine.write(lambda it, column=column, value=value: it.update(table, lamp, {column: value}))  # type: ignore[misc]
        report = move_of(here, there).verify(watch)
        assert report.different == ["lamps"], column
        old = row[names.index(column)]
        there.engine.write(lambda it, column=column, old=old: it.update(table, lamp, {column: old}))  # type: ignore[misc]
    (after,) = [found.target for found in move_of(here, there).verify(watch).tables if found.name == "lamps"]
    assert after == before


def test_the_source_is_only_read(places: Places) -> None:
    """A move of the database leaves the bytes of the source's file as they are."""
    here, there = places.ready(), places.new()
    write(here, *ODD)
    here.close()
    path = Path(here.settings.database_url.removeprefix("sqlite:///"))
    before = path.read_bytes()
    assert moved(here, there).is_same
    here.close()
    assert path.read_bytes() == before


def test_large_rows_do_not_pile_up_in_memory(places: Places) -> None:
    """Rows of a megabyte each are read and written some at a time."""
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


def test_a_second_run_brings_what_has_changed(pair: tuple[Backend, Backend]) -> None:
    """What was inserted, changed and deleted since is so in the target, and the rest is left alone."""
    here, there = pair
    ids = write(here, *(Lamp(code=str(number)) for number in range(MANY)))
    assert moved(here, there).is_same
    change(here, lambda db: [db.delete(id) for id in ids[::7]])
    change(here, lambda db: [db.patch(id, name="new") for id in ids[1::7]])
    write(here, *ODD)
    report = moved(here, there)
    assert report.is_same
    assert lamps(there) == lamps(here)


def test_rows_may_take_the_places_of_others(pair: tuple[Backend, Backend]) -> None:
    """Values of a unique index that have gone around among many rows, and from a deleted one to another, arrive."""
    here, there = pair
    ids = write(here, *(Lamp(code=str(number)) for number in range(MANY)))
    assert moved(here, there).is_same

    def turn(db: Any) -> None:
        for id in ids:
            db.patch(id, code=None)
        for number, id in enumerate(ids[:-1]):
            db.patch(id, code=str(number + 1))
        db.delete(ids[-1])
        db.insert(Lamp(code="0"))

    change(here, turn)
    assert moved(here, there).is_same
    assert lamps(there) == lamps(here)


def test_a_row_with_another_time_is_the_same_row(places: Places) -> None:
    """A creation time that somebody has changed arrives, be it earlier or later than it was."""
    here, there = places.ready(), places.new()
    ids = write(here, *(Lamp(code=str(number)) for number in range(3)))
    assert moved(here, there).is_same
    table = here.schema.table_for(Lamp)
    here.engine.write(lambda it: it.update(table, ids[0], {"_creation_time": 9e12}))
    here.engine.write(lambda it: it.update(table, ids[2], {"_creation_time": 1.0}))
    assert moved(here, there).is_same
    assert lamps(there) == lamps(here)


@pytest.mark.parametrize("step", (1, 5))
def test_a_run_may_end_at_any_step(pair: tuple[Backend, Backend], step: int) -> None:
    """What a run that was interrupted has brought is there once when the next one has ended."""
    here, there = pair
    write(here, *(Lamp(code=str(number)) for number in range(MANY)))
    write(here, *(Maker(name=str(number)) for number in range(MANY)))
    here.files.store(b"bytes", None)
    ids = [lamp.id for lamp in lamps(here)]
    told = 0

    def interrupted(label: str, work: Any) -> Any:
        def progress(done: int, total: int) -> None:
            nonlocal told
            told += 1
            if told == step * MANY // 3:
                raise KeyboardInterrupt

        return work(progress)

    move = move_of(here, there)
    move.look(silent)
    with suppress(KeyboardInterrupt):
        move.run(interrupted)
    change(here, lambda db: [db.delete(id) for id in ids[::5]])
    assert moved(here, there).is_same
    assert all_rows(there) == all_rows(here)


def test_the_source_may_be_written_meanwhile(pair: tuple[Backend, Backend]) -> None:
    """Runs while rows come, change, go and take each other's unique values bring what they can; the one when nobody
    writes any more brings the rest."""
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
    """One lamp goes, another one takes its code, and a new one that one's."""
    change(backend, lambda db: db.delete(one.id))
    change(backend, lambda db: db.patch(other.id, code=one.code, watts=other.watts + 1))
    write(backend, Lamp(code=other.code))


# --- what is said ----------------------------------------------------------------------------------------------------


def test_what_is_not_in_the_schema_is_said(places: Places) -> None:
    """Tables and columns that the database has from former versions of the app are left behind, and named."""
    here = places.ready()

    class Less(Document, table="lamps"):
        name: str = ""

    write(here, *ODD)
    less = places.again(here, Schema(Less))
    report = moved(less, places.new("sqlite", Schema(Less)))
    assert report.is_same
    assert report.left_behind[0] == "makers"
    assert "lamps.photo" in report.left_behind


def test_actions_under_way_are_counted(places: Places) -> None:
    """What the source's workers have begun and not ended shows."""
    here, there = places.ready(), places.new()
    running = ScheduledFunction(name="a:b", args={}, kind="action", state="inProgress", scheduled_time=0, due=0)
    table = here.schema.table_for(ScheduledFunction)
    row = [new_id(table.name, 0), 0.0, *table.row(running)]
    here.engine.write(lambda transaction: transaction.insert(table, row))
    assert moved(here, there).actions == 1


def test_progress_ends_at_all(places: Places) -> None:
    """Each part tells how far it is, never more than all, and ends there."""
    here, there = places.ready(), places.new()
    write(here, *(Lamp(code=str(number)) for number in range(MANY)))
    here.files.store(b"bytes", None)
    told: dict[str, list[tuple[int, int]]] = {}

    def watching(label: str, work: Any) -> Any:
        return work(lambda done, total: told.setdefault(label, []).append((done, total)))

    move = move_of(here, there)
    move.look(silent)
    move.run(watching)
    assert set(told) == {"Looking", "Rows", "Files", "Comparing"}
    for label, steps in told.items():
        assert all(done <= total for done, total in steps), label
        assert steps[-1][0] == steps[-1][1], label
