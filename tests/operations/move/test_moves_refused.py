"""What no move does: overwrite what it has not brought, or go on where something does not fit."""

from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import Document, Schema
from flask_convex_http.backend import Backend
from flask_convex_http.errors import MigrationRequiredError
from flask_convex_http.operations.move.records import MoveRefusedError
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
    watch,
    write,
)
from tests.operations.move.moving import pair_fixture as pair_fixture
from tests.operations.move.moving import places_fixture as places_fixture


def test_a_target_with_rows_of_its_own_is_refused_and_left_alone(pair: tuple[Backend, Backend]) -> None:
    """Rows that no move has brought are not lost."""
    here, there = pair
    write(here, *ODD)
    there.migrate()
    write(there, Lamp(code="mine"))
    with pytest.raises(MoveRefusedError, match="lamps that no move has brought: name an empty"):
        moved(here, there)
    assert [lamp.code for lamp in lamps(there)] == ["mine"]


def test_a_database_that_was_only_migrated_is_as_good_as_an_empty_one(pair: tuple[Backend, Backend]) -> None:
    """A target that has its tables and a secret of its own gets the source's secret."""
    here, there = pair
    there.migrate()
    write(here, *ODD)
    assert there.signing.sign("file", "a")
    assert moved(here, there).is_same
    again = deployment_like(there)
    assert again.signing.sign("file", "a") == here.signing.sign("file", "a")
    again.close()


def test_a_database_that_the_app_has_written_to_is_not_moved_to_again(pair: tuple[Backend, Backend]) -> None:
    """After the cut-over a move from the old database would undo what the new one has."""
    here, there = pair
    ids = write(here, *ODD)
    assert moved(here, there).is_same
    change(there, lambda db: db.patch(ids[0], name="written after"))
    before = lamps(there)
    with pytest.raises(MoveRefusedError, match=r"lamps is not what the move before has left.*undo what it has written"):
        moved(here, there)
    assert lamps(there) == before


def test_a_target_of_another_source_is_refused(places: Places) -> None:
    """What was moved from one database is not overwritten with another."""
    here, other, there = places.ready(), places.ready(), places.new()
    write(here, *ODD)
    assert moved(here, there).is_same
    with pytest.raises(MoveRefusedError, match="moved from another database"):
        moved(other, there)
    assert lamps(there) == lamps(here)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_source_itself_is_refused(places: Places, kind: str) -> None:
    """Two ways to the same database are told to be one."""
    here = places.ready(kind)
    write(here, *ODD)
    with pytest.raises(MoveRefusedError, match="is the database that the app has now"):
        moved(here, places.again(here, SCHEMA))
    assert len(lamps(here)) == len(ODD)


def test_tables_of_another_shape_are_refused_and_left_alone(pair: tuple[Backend, Backend], places: Places) -> None:
    """A database of another app, or of a former version of this one, is not changed."""
    here, there = pair

    class Other(Document, table="lamps"):
        size: int

    other = places.again(there, Schema(Other))
    other.migrate()
    (kept,) = write(other, Other(size=3))
    with pytest.raises(MoveRefusedError, match=r"tables of another schema.*name an empty database"):
        moved(here, there)
    assert [(row.id, row.size) for row in documents(other, other.schema.table_for(Other))] == [(kept, 3)]


def test_rows_of_a_table_that_is_new_here_are_refused(places: Places) -> None:
    """Also where tables of the app have to be made, the others hold what a move has brought, or nothing."""
    here, there = places.ready(), places.new()
    less = places.again(there, Schema(Maker))
    less.migrate()
    write(less, Maker(name="Anna"))
    with pytest.raises(MoveRefusedError, match="makers that no move has brought"):
        moved(here, there)


def test_a_table_that_has_come_since_is_brought(places: Places) -> None:
    """A run after the source was migrated makes the new table in the target."""
    here, there = places.ready("sqlite", Schema(Maker)), places.new()
    write(here, Maker(name="Anna"))
    assert moved(here, places.again(there, Schema(Maker))).is_same
    newer = places.again(here, SCHEMA)
    newer.migrate()
    write(newer, *ODD)
    assert moved(newer, there).is_same
    assert lamps(there) == lamps(newer)


def test_a_row_that_cannot_be_stored_is_named(places: Places) -> None:
    """PostgreSQL has no room for long text in an index: the run says which row it is, and goes on when it is gone."""
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
    """There is nothing to move before the first migration."""
    with pytest.raises(MigrationRequiredError):
        moved(places.new(), places.new())


def test_there_is_nothing_to_compare_before_a_move(places: Places) -> None:
    """To verify against an empty place says what to do, and makes nothing there."""
    here, there = places.ready(), places.new()
    with pytest.raises(MoveRefusedError, match="nothing yet to compare with"):
        move_of(here, there).verify(watch)
    assert not Path(there.settings.database_url.removeprefix("sqlite:///")).exists()


def test_two_moves_at_once_do_not_mix(places: Places) -> None:
    """A run that finds another one at work ends, and the rows are there once."""
    here, there = places.ready(), places.new()
    write(here, *(Lamp(code=str(number)) for number in range(50)))
    other = places.again(there, SCHEMA)

    def overtaken(label: str, work: Any) -> Any:
        return work(lambda done, total: overtake() if label == "Rows" else None)

    def overtake() -> None:
        if not others:
            others.append(moved(here, other))

    others: list[Any] = []
    move = move_of(here, there)
    move.look(silent)
    with pytest.raises(MoveRefusedError, match="Another move to the same database"):
        move.run(overtaken)
    assert others[0].is_same
    assert moved(here, there).is_same
    assert lamps(there) == lamps(here)
