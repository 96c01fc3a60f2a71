"""Moves that are refused because they would lose or mix data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import Document, Schema
from flask_convex_http.backend import Backend
from flask_convex_http.errors import MigrationRequiredError
from flask_convex_http.operations.move.records import MoveRefusedError
from flask_convex_http.operations.progress import Progress
from tests.operations.move.moving import (
    ODD,
    SCHEMA,
    Lamp,
    Maker,
    Places,
    change,
    deployment_like,
    documents,
    lamps,
    move_of,
    moved,
    silent,
    write,
)
from tests.operations.move.moving import pair_fixture as pair_fixture
from tests.operations.move.moving import places_fixture as places_fixture


def test_a_target_with_foreign_rows_is_refused(pair: tuple[Backend, Backend]) -> None:
    """Rows that no move has written stay in the target."""
    here, there = pair
    write(here, *ODD)
    there.migrate()
    write(there, Lamp(code="mine"))
    with pytest.raises(MoveRefusedError, match="lamps that no move has written: name an empty"):
        moved(here, there)
    assert [lamp.code for lamp in lamps(there)] == ["mine"]


def test_a_target_that_was_only_migrated_counts_as_empty(pair: tuple[Backend, Backend]) -> None:
    """A target with tables and a secret of its own gets the source's secret."""
    here, there = pair
    there.migrate()
    write(here, *ODD)
    assert there.signing.sign("file", "a")
    assert moved(here, there).is_same
    again = deployment_like(there)
    assert again.signing.sign("file", "a") == here.signing.sign("file", "a")
    again.close()


def test_a_target_that_the_app_has_written_to_is_refused(pair: tuple[Backend, Backend]) -> None:
    """After the cut-over, a move from the old database would overwrite newer rows."""
    here, there = pair
    ids = write(here, *ODD)
    assert moved(here, there).is_same
    change(there, lambda db: db.patch(ids[0], name="written after"))
    before = lamps(there)
    with pytest.raises(MoveRefusedError, match=r"lamps has changed since the last move.*overwrite newer data"):
        moved(here, there)
    assert lamps(there) == before


def test_a_target_of_another_source_is_refused(places: Places) -> None:
    """Rows that were moved from one database are not overwritten by a move from another."""
    here, other, there = places.ready(), places.ready(), places.new()
    write(here, *ODD)
    assert moved(here, there).is_same
    with pytest.raises(MoveRefusedError, match="moved from another database"):
        moved(other, there)
    assert lamps(there) == lamps(here)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_source_itself_is_refused(places: Places, kind: str) -> None:
    """A second URL of the source's database is recognized."""
    here = places.ready(kind)
    write(here, *ODD)
    with pytest.raises(MoveRefusedError, match="is the database that the app uses now"):
        moved(here, places.again(here, SCHEMA))
    assert len(lamps(here)) == len(ODD)


def test_a_target_with_another_schema_is_refused(pair: tuple[Backend, Backend], places: Places) -> None:
    """The tables of another app, or of a former version of this one, stay unchanged."""
    here, there = pair

    class Other(Document, table="lamps"):
        size: int

    other = places.again(there, Schema(Other))
    other.migrate()
    (kept,) = write(other, Other(size=3))
    with pytest.raises(MoveRefusedError, match=r"tables of another schema.*name an empty database"):
        moved(here, there)
    assert [(row.id, row.size) for row in documents(other, other.schema.table_for(Other))] == [(kept, 3)]


def test_a_target_with_foreign_rows_and_missing_tables_is_refused(places: Places) -> None:
    """Foreign rows are recognized although some tables of the app have to be created."""
    here, there = places.ready(), places.new()
    less = places.again(there, Schema(Maker))
    less.migrate()
    write(less, Maker(name="Anna"))
    with pytest.raises(MoveRefusedError, match="makers that no move has written"):
        moved(here, there)


def test_a_table_added_since_the_last_run_is_copied(places: Places) -> None:
    """A run after a migration of the source creates the new table in the target."""
    here, there = places.ready("sqlite", Schema(Maker)), places.new()
    write(here, Maker(name="Anna"))
    assert moved(here, places.again(there, Schema(Maker))).is_same
    newer = places.again(here, SCHEMA)
    newer.migrate()
    write(newer, *ODD)
    assert moved(newer, there).is_same
    assert lamps(there) == lamps(newer)


def test_a_row_that_cannot_be_stored_is_named(places: Places) -> None:
    """A row whose text is too long for an index of PostgreSQL is named, and the next run continues without it."""
    here, there = places.ready(), places.new("postgres")
    write(here, *ODD)
    (long,) = write(here, Lamp(code="long", name="é" * 3000))
    write(here, Lamp(code="last"))
    with pytest.raises(MoveRefusedError, match=f"{long} of lamps cannot be stored.*Change or delete it"):
        moved(here, there)
    change(here, lambda db: db.delete(long))
    assert moved(here, there).is_same
    assert lamps(there) == lamps(here)


def test_a_source_that_is_not_migrated_is_refused(places: Places) -> None:
    """A source without tables is refused."""
    with pytest.raises(MigrationRequiredError):
        moved(places.new(), places.new())


def test_verify_needs_a_move_before(places: Places) -> None:
    """To verify an empty target says to move first, and creates nothing there."""
    here, there = places.ready(), places.new()
    with pytest.raises(MoveRefusedError, match="no tables to compare with"):
        move_of(here, there).verify(silent)
    assert not Path(there.settings.database_url.removeprefix("sqlite:///")).exists()


def test_two_concurrent_moves_do_not_mix(places: Places) -> None:
    """A run that is overtaken by another one ends with an error, and each row is in the target once."""
    here, there = places.ready(), places.new()
    write(here, *(Lamp(code=str(number)) for number in range(50)))
    other = places.again(there, SCHEMA)

    @contextmanager
    def overtaken(label: str) -> Iterator[Progress]:
        yield lambda done, total: overtake() if label == "Rows" else None

    def overtake() -> None:
        if not others:
            others.append(moved(here, other))

    others: list[Any] = []
    move = move_of(here, there)
    with pytest.raises(MoveRefusedError, match="Another move writes to the same database"):
        move.run(overtaken)
    assert others[0].is_same
    assert moved(here, there).is_same
    assert lamps(there) == lamps(here)
