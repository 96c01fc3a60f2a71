"""The commit log: the stored changes, their retention and erasure, and gaps in the log."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest

from flask_convex_http import (
    Document,
    HistoryError,
    RegistrationError,
    StoredFile,
    UndoRefusedError,
    renamed_from,
)
from flask_convex_http.errors import ArgumentValidationError, FunctionLimitError, MigrationRequiredError
from flask_convex_http.history.coverage import read_coverage
from tests.databases import EACH_ENGINE, rows, settings_in
from tests.deployment import Deployment, deployed
from tests.history.journal import Entry, Journal, Quiet

pytestmark = EACH_ENGINE

DAY = 86_400_000.0


class Note(Document, table="notes"):
    name: str
    text: str = ""


@pytest.fixture(name="app")
def _app(each_engine: str) -> Iterator[Deployment]:
    with deployed(Note, Quiet) as deployment:
        yield deployment


def at(app: Deployment, when: Any, document_id: Any) -> Any:
    """Return a document as it was at a time."""
    return app.read(lambda db: db.as_of(when).get(document_id))


def purge(app: Deployment, now: float) -> None:
    """Purge the log as the worker does, at a time."""
    app.backend.clock.source = lambda: now
    while app.backend.engine.write(app.backend.history.purge):
        pass
    app.backend.clock.source = None


def test_only_changed_fields_are_stored(tmp_path: Path, each_engine: str) -> None:
    """The log stores the previous values of changed fields, all fields of a deleted document, and none of a new one."""
    app = Deployment(Note, Quiet, folder=tmp_path)
    app.backend.migrate()
    [note] = app.add(Note(name="a", text="é"))
    app.write(lambda db: db.patch(note, name="a", text="new"))
    app.write(lambda db: db.delete(note))
    app.add(Quiet(name="not logged"))
    app.backend.close()
    found = rows(tmp_path, "SELECT table_name, document, operation, before FROM _changes ORDER BY commit_number")
    before = [str(row[3]).replace(" ", "").replace("'", '"') for row in found]
    assert [row[:3] for row in found] == [("notes", note, do) for do in ("insert", "update", "delete")]
    assert before[:2] == ["None", '{"text":"é"}']
    assert '"name":"a","text":"new"' in before[2]
    assert len(rows(tmp_path, "SELECT number FROM _commits")) == 3


def test_a_document_has_its_history(app: Deployment) -> None:
    """`ctx.db.history` has the changes of a document, newest first, each with the document after it."""
    [note, _] = app.add(Note(name="a"), Note(name="b"))
    app.write(lambda db: db.patch(note, text="new"))
    app.write(lambda db: db.delete(note))
    history = app.read(lambda db: db.history(note))
    assert [revision.operation for revision in history] == ["delete", "update", "insert"]
    assert [getattr(revision.document, "text", None) for revision in history] == [None, "new", ""]
    assert [revision.before for revision in history][1:] == [{"text": ""}, {}]
    assert len(app.read(lambda db: db.history(note, limit=1))) == 1


def test_a_mutation_sees_its_own_changes(app: Deployment) -> None:
    """In a mutation, the past is without its own writes, and the history has only commits."""
    [note] = app.add(Note(name="a"))
    number = app.backend.history.feed.last_commit()

    def work(db: Any) -> tuple[Any, ...]:
        db.patch(note, text="mine")
        other = db.insert(Note(name="b"))
        past = db.as_of(number)
        names = [found.name for found in past.query(Note).collect()]
        return past.get(note).text, past.get(other), names, db.history(note)[0].document.text

    assert app.write(work) == ("", None, ["a"], "")


def test_times_and_numbers(app: Deployment) -> None:
    """`as_of` takes the number of a commit, a datetime, and milliseconds as an int or a float."""
    clock = app.backend.clock
    texts = []
    [note] = app.add(Note(name="a", text="0"))
    for turn in range(1, 5):
        clock.source = lambda turn=turn: 1.8e12 + turn * 1000.0
        app.write(lambda db, turn=turn: db.patch(note, text=str(turn)))  # type: ignore[misc]  # the turn of this round
    clock.source = None
    moment = datetime.datetime.fromtimestamp(1.8e9 + 2.5, datetime.UTC)
    for when in (moment, 1.8e12 + 2500.0, 1_800_000_002_500, 1.8e12 + 2000.0):
        texts.append(at(app, when, note).text)
    assert texts == ["2"] * 4
    assert at(app, 9e12, note).text == "4"
    for wrong in (moment.replace(tzinfo=None), "1", True, None, float("nan")):
        with pytest.raises(ArgumentValidationError):
            at(app, wrong, note)


def test_old_commits_are_purged(app: Deployment) -> None:
    """The worker purges commits after the retention, but not the newest. Reads of the purged past are refused."""
    [note] = app.add(Note(name="a"))
    for turn in range(5):
        app.write(lambda db, turn=turn: db.patch(note, text=str(turn)))  # type: ignore[misc]  # of this round
    number = app.backend.history.feed.last_commit()
    purge(app, app.backend.clock() + 6 * DAY)
    assert len(app.read(lambda db: db.history(note))) == 6
    purge(app, app.backend.clock() + 8 * DAY)
    assert [revision.commit.number for revision in app.read(lambda db: db.history(note))] == [number]
    assert at(app, number - 1, note).text == "3"
    with pytest.raises(HistoryError, match="are purged"):
        app.read(lambda db: db.as_of(number - 2).get(note))
    with pytest.raises(HistoryError, match="begins at commit"):
        list(app.backend.history.feed.changes(number - 2))
    with pytest.raises(UndoRefusedError):
        app.backend.undo.run(str(number - 2))
    app.add(Note(name="b"))
    assert app.backend.history.feed.last_commit() > number


def test_the_history_of_a_document_is_erased(app: Deployment) -> None:
    """Erased, no previous value of a document is left. Its commits stay, and cannot be undone."""
    [note, other] = app.add(Note(name="secret-1"), Note(name="other"))
    app.write(lambda db: db.patch(note, name="secret-2"))
    number = app.backend.history.feed.last_commit()
    app.write(lambda db: db.delete(note))
    assert app.backend.history.erase(note) == 3
    assert app.backend.history.erase(note) == 0
    history = app.read(lambda db: db.history(note))
    assert [(each.operation, each.before, each.document) for each in history] == [("erased", {}, None)] * 3
    assert "secret" not in repr([history, list(app.backend.history.feed.changes(0))])
    assert app.read(lambda db: db.as_of(number).get(note)) is None
    assert [each.name for each in app.read(lambda db: db.as_of(number).query(Note).collect())] == ["other"]
    assert app.get(other).name == "other"
    with pytest.raises(UndoRefusedError, match="was erased"):
        app.backend.undo.run(str(number))


def test_a_gap_in_the_log_is_refused(tmp_path: Path, each_engine: str) -> None:
    """While the log is off nothing is written. Reads across such a gap are refused."""
    app = Deployment(Note, folder=tmp_path)
    app.backend.migrate()
    [note] = app.add(Note(name="a"))
    before = app.backend.history.feed.last_commit()
    app.backend.close()
    off = Deployment(Note, folder=tmp_path, settings=settings_in(tmp_path, history="off"))
    off.write(lambda db: db.patch(note, text="unlogged"))
    assert off.backend.history.feed.last_commit() == before
    with pytest.raises(HistoryError, match="has no history yet"):
        off.read(lambda db: db.as_of(before).get(note))
    off.backend.close()
    again = Deployment(Note, folder=tmp_path)
    again.write(lambda db: db.patch(note, text="logged"))
    after = again.backend.history.feed.last_commit()
    assert at(again, after - 1, note).text == "unlogged"
    with pytest.raises(HistoryError, match="begins at commit"):
        again.read(lambda db: db.as_of(before).get(note))
    with pytest.raises(HistoryError, match="begins at commit"):
        list(again.backend.history.feed.changes(before))
    assert [revision.document for revision in again.read(lambda db: db.history(note))][1:] == [None]
    again.backend.close()


def test_a_table_without_history(app: Deployment) -> None:
    """A table with `history=False`, and the package's own tables, have no past and no history."""
    [quiet] = app.add(Quiet(name="a"))
    with pytest.raises(HistoryError, match="history=False"):
        app.read(lambda db: db.history(quiet))
    with pytest.raises(HistoryError, match="history=False"):
        app.read(lambda db: db.as_of(1).query(Quiet).collect())
    with pytest.raises(HistoryError, match="table of the package"):
        app.read(lambda db: db.as_of(1).system.query(StoredFile).collect())


def test_reads_of_the_log_count(app: Deployment) -> None:
    """Rows of the log count against the read limit of a function."""
    [note] = app.add(Note(name="a", text="x" * 1000))
    for _ in range(3):
        app.write(lambda db: db.patch(note, text=str(db.get(note))))

    def work(db: Any) -> Any:
        db._budget._limit = 2500
        return db.as_of(1).query(Note).collect()

    with pytest.raises(FunctionLimitError):
        app.read(work)


def test_an_old_database_must_be_migrated(tmp_path: Path, each_engine: str) -> None:
    """A database of an earlier release, without the tables of the log, says which command to run."""
    app = Deployment(Note, folder=tmp_path)
    app.backend.migrate()
    app.backend.close()
    rows(tmp_path, "DROP VIEW _changes")
    rows(tmp_path, "DROP TABLE _commits")
    rows(tmp_path, "DELETE FROM _settings")
    app = Deployment(Note, folder=tmp_path)
    with pytest.raises(MigrationRequiredError, match="flask convex migrate"):
        app.add(Note(name="a"))
    app.backend.migrate()
    app.add(Note(name="a"))
    assert len(list(app.backend.history.feed.changes(0))) == 1
    app.backend.close()


def test_a_renamed_and_a_dropped_field(tmp_path: Path, each_engine: str) -> None:
    """The past of a document is readable after a field was renamed, added or dropped, and clear after a new type."""

    class Old(Document, table="papers"):
        title: str
        pages: int = 1
        mood: str = "good"

    class Between(Document, table="papers"):
        title: str

    class New(Document, table="documents", renamed_from="papers"):
        name: Annotated[str, renamed_from("title")]
        pages: str = "1"
        author: str = "nobody"

    app = Deployment(Old, folder=tmp_path)
    app.backend.migrate()
    [paper, gone] = app.add(Old(title="one"), Old(title="gone"))
    app.write(lambda db: db.patch(paper, title="two", mood="bad"))
    app.write(lambda db: db.delete(gone))
    app.write(lambda db: db.patch(paper, pages=2))
    app.backend.close()
    between = Deployment(Between, folder=tmp_path)
    between.backend.migrate(allow_destructive=True)
    between.backend.close()
    new = Deployment(New, folder=tmp_path)
    new.backend.migrate()
    new.add(New(name="three"))
    assert new.read(lambda db: [each.before for each in db.history(paper)]) == [
        {"pages": 1},
        {"title": "one", "mood": "good"},
        {},
    ]
    newest = new.backend.history.feed.last_commit()
    assert [each.name for each in new.read(lambda db: db.as_of(newest - 1).query(New).collect())] == ["two"]
    with pytest.raises(HistoryError, match="pages had another type"):
        new.read(lambda db: db.as_of(newest - 2).query(New).collect())
    assert new.backend.undo.run(str(newest)).commits == [newest]
    with pytest.raises(UndoRefusedError, match="pages had another type"):
        new.backend.undo.run(str(newest - 1))
    new.backend.close()


def test_history_takes_a_boolean() -> None:
    """`history=` of a class is True or False."""
    with pytest.raises(RegistrationError, match="history='off' must be True or False"):

        class Wrong(Document, table="wrongs", history="off"):
            name: str


def test_coverage_of_a_new_database(app: Deployment) -> None:
    """The log of a database that was empty at the first write starts at 0, for the logged tables only."""
    app.add(Note(name="a"))
    app.add(Note(name="b"))
    with app.backend.engine.snapshot() as snapshot:
        coverage = read_coverage(snapshot, app.backend.schema)
    assert coverage is not None
    assert ({name: start.number for name, start in coverage.starts.items()}, coverage.first) == ({"notes": 0}, 0)


def test_random_commits_are_walked_back(each_engine: str) -> None:
    """The revisions of each document are the documents of the copies that were taken on the way."""
    with deployed(Entry, Quiet) as app:
        journal = Journal(app, 7)
        journal.run(15)
        for entry_id in {each for copy in journal.copies.values() for each in copy}:
            for revision in app.backend.history.revisions(entry_id):
                assert revision.document == journal.copies[revision.commit.number].get(entry_id)
