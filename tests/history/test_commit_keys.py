"""The index of the commit log: the commits of a document, a request and a delivery without a scan of the log."""

import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_convex_http import Document, UndoRefusedError
from flask_convex_http.engines import ReadBudget
from flask_convex_http.engines.transaction import Transaction
from flask_convex_http.errors import FunctionLimitError
from flask_convex_http.history.commit_keys import entries_of
from flask_convex_http.history.coverage import Coverage, read_coverage, write_coverage
from flask_convex_http.history.reader import HistoryReader
from flask_convex_http.runtime import MutationCalls
from flask_convex_http.schema.history_tables import COMMIT_KEYS
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.worker.cleanup import Cleaner
from tests.databases import EACH_ENGINE
from tests.deployment import Deployment, deployed
from tests.history.journal import Entry, Journal, Quiet
from tests.lengths import SAMPLED, examples

pytestmark = EACH_ENGINE

DAY = 86_400_000.0


class Note(Document, table="notes"):
    text: str


@pytest.fixture(name="app")
def _app(each_engine: str) -> Iterator[Deployment]:
    with deployed(Note) as deployment:
        yield deployment


def index(app: Deployment) -> None:
    """Add all commits to the index, as the worker does."""
    while app.backend.history.index():
        pass


def entries(app: Deployment) -> set[str]:
    """Return the ids of all entries of the index."""
    with app.backend.engine.snapshot() as snapshot:
        rows = snapshot.stream(app.backend.schema.tables[COMMIT_KEYS], Segment(()), descending=False)
        return {row[0] for row in rows}


def expected_entries(app: Deployment) -> set[str]:
    """Return the ids of the entries of all commits."""
    with app.backend.engine.snapshot() as snapshot:
        rows = snapshot.stream(app.backend.schema.tables["_commits"], Segment(()), descending=False)
        return {entry for row in rows for entry in entries_of(row)}


def requested(app: Deployment, request_id: str, note: Any, text: str) -> None:
    """Change a document in a mutation of a request."""

    def patch(calls: MutationCalls) -> None:
        calls.ctx().db.patch(note, text=text)

    app.backend.runtime.write(patch, app.backend.caller(request_id=request_id))


def test_the_history_of_a_document_is_no_scan(app: Deployment) -> None:
    """The changes of a document are found by the index, and other commits are not read."""
    [note, other] = app.add(Note(text="0"), Note(text="0"))
    app.write(lambda db: db.patch(note, text="1"))
    for number in range(40):
        app.write(lambda db, number=number: db.patch(other, text=f"{number}" * 100))  # type: ignore[misc]  # of now
    with app.backend.engine.snapshot() as snapshot, pytest.raises(FunctionLimitError):
        HistoryReader(snapshot, app.backend.schema).changes_of_document(note, 0, budget=ReadBudget(2000))
    index(app)
    with app.backend.engine.snapshot() as snapshot:
        found = HistoryReader(snapshot, app.backend.schema).changes_of_document(note, 0, budget=ReadBudget(2000))
    assert [(change.number, change.operation) for change in found] == [(2, "update"), (1, "insert")]


def test_the_worker_adds_new_commits(app: Deployment) -> None:
    """A cleanup of the worker adds the commits since the last one, and deletes the entries of purged ones."""
    [note] = app.add(Note(text="0"))
    requested(app, "first", note, "1")
    Cleaner(app.backend).purge()
    assert entries(app) == expected_entries(app) != set()
    requested(app, "second", note, "2")
    requested(app, "second", note, "3")
    later = app.backend.clock() + 8 * DAY
    app.backend.clock.source = lambda: later
    Cleaner(app.backend).purge()
    app.backend.clock.source = None
    assert len(expected_entries(app)) == 2
    assert entries(app) == expected_entries(app)


def test_a_request_is_undone_by_the_index(app: Deployment) -> None:
    """The commits of a request and the undos of them are found, indexed or not, and each is undone once."""
    [note] = app.add(Note(text="0"))
    for indexed in (True, False):
        before = app.get(note).text
        requested(app, f"request-{indexed}", note, "1")
        requested(app, f"request-{indexed}", note, "2")
        for _ in range(2):
            if indexed:
                index(app)
            report = app.backend.undo.run(f"request-{indexed}")
            assert (len(report.commits), app.get(note).text) == (2, before)
            if indexed:
                index(app)
            with pytest.raises(UndoRefusedError, match="is undone already"):
                app.backend.undo.run(f"request-{indexed}")
            app.backend.undo.run(str(app.backend.history.feed.last_commit()))
            assert app.get(note).text == "2"
        app.write(partial(_patch, note, before))


def _patch(note: Any, text: str, db: Any) -> None:
    db.patch(note, text=text)


def test_an_index_without_an_end_is_built_anew(app: Deployment) -> None:
    """If the database has lost how far the index goes, the worker builds it again from its start."""
    [note] = app.add(Note(text="0"))
    requested(app, "first", note, "1")
    index(app)

    def lose(transaction: Transaction) -> None:
        starts = (read_coverage(transaction, app.backend.schema) or Coverage()).starts
        write_coverage(transaction, app.backend.schema, Coverage(starts), 0.0)

    app.backend.engine.write(lose)
    requested(app, "second", note, "2")
    index(app)
    assert entries(app) == expected_entries(app)


@SAMPLED
@settings(max_examples=examples(40, sample=3), deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_the_index_changes_no_result(each_engine: str, seed: int) -> None:
    """However far the index goes, the history of each document is that of the feed, and the past is as it was."""
    with deployed(Entry, Quiet) as app:
        chance = random.Random(seed)
        journal = Journal(app, seed)
        for _ in range(4):
            journal.run(chance.randint(1, 8))
            if chance.random() < 0.7:
                index(app)
            changes: dict[str, list[tuple[int, str]]] = {}
            for commit in app.backend.history.feed.read(0):
                for change in commit.changes:
                    changes.setdefault(change.id, []).append((commit.number, change.operation))
            for document_id, expected in changes.items():
                revisions = app.backend.history.revisions(document_id)
                assert [(each.commit.number, each.operation) for each in revisions] == expected[::-1]
                newest = app.backend.history.revisions(document_id, 1)
                assert [each.commit.number for each in newest] == [expected[-1][0]]
            journal.check(chance.choice(list(journal.copies)))
        assert entries(app) <= expected_entries(app)
