"""Undo: restoring what commits have changed, and what stands in the way."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_convex_http import Document, UndoRefusedError, unique
from flask_convex_http.database.db import DatabaseWriter
from tests.databases import EACH_ENGINE
from tests.deployment import Deployment, deployed
from tests.lengths import SAMPLED, examples

pytestmark = EACH_ENGINE


class Note(Document, table="notes", indexes={"by_name": unique("name")}):
    name: str
    text: str = ""
    stars: int = 0
    tags: list[str] = []


@pytest.fixture(name="app")
def _app(each_engine: str) -> Iterator[Deployment]:
    with deployed(Note) as deployment:
        yield deployment


def last(app: Deployment) -> str:
    """Return the number of the last commit as text."""
    return str(app.backend.history.feed.last_commit())


def notes(app: Deployment) -> list[Note]:
    """Return all notes."""
    return app.read(lambda db: db.query(Note).collect())


def test_undo_restores_only_the_changed_fields(app: Deployment) -> None:
    """An undo gives fields their previous values, and leaves fields that others have changed since."""
    [note] = app.add(Note(name="a", text="old"))
    app.write(lambda db: db.patch(note, text="new", tags=["x"]))
    target = last(app)
    app.write(lambda db: db.patch(note, stars=5))
    report = app.backend.undo.run(target)
    found = app.get(note)
    assert (found.text, found.stars, found.tags) == ("old", 5, [])
    assert report.commits == [int(target)]
    assert [(row.verb, sorted(row.fields)) for row in report.rows] == [("changed", ["tags", "text"])]


def test_undo_of_an_insert_and_of_a_deletion(app: Deployment) -> None:
    """An inserted document is deleted, and a deleted one comes back with its id and creation time."""
    first, second = app.add(Note(name="a"), Note(name="b", text="kept"))
    before = app.get(second)

    def change(db: DatabaseWriter) -> Any:
        db.delete(second)
        return db.insert(Note(name="b"))  # takes the unique name of the deleted one

    third = app.write(change)
    app.backend.undo.run(last(app))
    assert app.get(third) is None
    assert app.get(second) == before
    assert app.get(first) is not None


def test_a_later_change_of_the_same_field_is_a_conflict(app: Deployment) -> None:
    """An undo is refused if a later commit has changed the same field, and the message names that commit."""
    [note] = app.add(Note(name="a"))
    inserted = last(app)
    app.write(lambda db: db.patch(note, text="one"))
    target = last(app)
    app.write(lambda db: db.patch(note, text="two"))
    with pytest.raises(UndoRefusedError, match=rf"Commit {last(app)} has changed text of {note} since"):
        app.backend.undo.run(target)
    with pytest.raises(UndoRefusedError, match=rf"Commit {last(app)} has changed"):
        app.backend.undo.run(inserted)
    assert app.get(note).text == "two"


def test_a_deleted_document_is_a_conflict(app: Deployment) -> None:
    """A change cannot be undone after its document was deleted."""
    [note] = app.add(Note(name="a"))
    app.write(lambda db: db.patch(note, text="one"))
    target = last(app)
    app.write(lambda db: db.delete(note))
    with pytest.raises(UndoRefusedError, match=rf"Commit {last(app)} has deleted {note} since"):
        app.backend.undo.run(target)


def test_an_undo_is_a_commit_that_can_be_undone(app: Deployment) -> None:
    """An undo is logged with the commits that it undoes. Undone twice is refused, and an undo can be undone."""
    [note] = app.add(Note(name="a", text="old"))
    app.write(lambda db: db.patch(note, text="new"))
    target = last(app)
    app.backend.undo.run(target)
    with pytest.raises(UndoRefusedError, match="is undone already"):
        app.backend.undo.run(target)
    [newest] = app.backend.history.log(limit=1)
    assert newest.undoes == [int(target)]
    app.backend.undo.run(str(newest.number))
    assert app.get(note).text == "new"


def test_a_unique_index_can_stand_in_the_way(app: Deployment) -> None:
    """A document does not come back if another one has its unique value by now, and nothing is changed."""
    [note] = app.add(Note(name="a"))
    app.write(lambda db: db.delete(note))
    target = last(app)
    app.add(Note(name="a", text="other"))
    with pytest.raises(UndoRefusedError, match="another document has the same name"):
        app.backend.undo.run(target)
    assert [found.text for found in notes(app)] == ["other"]


def test_a_dry_run_changes_nothing(app: Deployment) -> None:
    """A dry run returns the same rows as the undo, and makes no commit."""
    [note] = app.add(Note(name="a"))
    app.write(lambda db: db.patch(note, text="new"))
    target = last(app)
    shown = app.backend.undo.run(target, only_show=True)
    assert (app.get(note).text, last(app)) == ("new", target)
    assert app.backend.undo.run(target) == shown


def test_an_unknown_name_is_refused(app: Deployment) -> None:
    """A number, request or delivery that the log does not have is refused."""
    for what in ("7", "no-such-request", "9" * 30, ""):
        with pytest.raises(UndoRefusedError, match="is not in the log"):
            app.backend.undo.run(what)


#: A document, what to do with it, and a value.
Step = tuple[int, str, int]
_FIELDS = ("name", "text", "stars", "tags")
_TOUCHED = {"both": ("text", "stars"), "delete": _FIELDS}
_STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(("text", "stars", "tags", "both", "delete")), st.integers(1, 9)),
    max_size=6,
)


@SAMPLED
@settings(max_examples=examples(100, sample=6), deadline=None, suppress_health_check=list(HealthCheck))
@given(before=_STEPS, own=_STEPS, after=_STEPS)
def test_undo_of_commuting_commits(each_engine: str, before: list[Step], own: list[Step], after: list[Step]) -> None:
    """After an undo, the documents are as if a commit had never been, if all later ones touch other fields."""
    touched = {field for step in own for field in _touched(step)}
    after = [step for step in after if not touched & set(_touched(step))]
    with deployed(Note) as app:
        ids = app.add(*(Note(name=str(number)) for number in range(4)))
        _commit(app, ids, *([step] for step in before))
        known = last(app)
        _commit(app, ids, own)
        target = last(app)
        _commit(app, ids, *([step] for step in after))
        if target != known:
            app.backend.undo.run(target)
        found = [_fields(note) for note in notes(app)]
    with deployed(Note) as app:
        ids = app.add(*(Note(name=str(number)) for number in range(4)))
        _commit(app, ids, *([step] for step in (*before, *after)))
        assert found == [_fields(note) for note in notes(app)]


def _touched(step: Step) -> list[tuple[int, str]]:
    place, do, _ = step
    return [(place, name) for name in _TOUCHED.get(do, (do,))]


def _commit(app: Deployment, ids: list[Any], *commits: list[Step]) -> None:
    for steps in commits:
        app.write(partial(_run, ids, steps))


def _run(ids: list[Any], steps: list[Step], db: DatabaseWriter) -> None:
    for place, do, value in steps:
        values = {"name": f"{place}", "text": str(value), "stars": value, "tags": [str(value)]}
        if db.get(ids[place]) is None:
            continue
        if do == "delete":
            db.delete(ids[place])
        else:
            db.patch(ids[place], **{name: values[name] for name in _TOUCHED.get(do, (do,))})


def _fields(note: Note) -> list[Any]:
    return [getattr(note, name) for name in _FIELDS]
