"""`ctx.db.as_of`: the documents as they were, by `get` and by ranges of indexes."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_convex_http.history.as_of import PastRow
from flask_convex_http.history.reader import HistoryReader
from tests.databases import EACH_ENGINE
from tests.deployment import Deployment, deployed
from tests.history.journal import Entry, Journal, Quiet
from tests.lengths import SAMPLED, examples, repetitions

pytestmark = EACH_ENGINE


@pytest.fixture(name="app")
def _app(each_engine: str) -> Iterator[Deployment]:
    with deployed(Entry, Quiet) as deployment:
        yield deployment


@SAMPLED
@settings(max_examples=examples(40, sample=3), deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_the_past_equals_the_copies_taken_on_the_way(each_engine: str, seed: int) -> None:
    """The documents that are rebuilt from now backwards equal the copies that were taken after each commit."""
    with deployed(Entry, Quiet) as app:
        journal = Journal(app, seed)
        journal.run(25)
        for number in journal.copies:
            journal.check(number)


@SAMPLED
@pytest.mark.timeout(1200)
def test_the_log_is_walked_back(app: Deployment) -> None:
    """The state that is rebuilt from now backwards equals copies that were taken at random, over many commits."""
    journal, commits = Journal(app, 1), repetitions("HISTORY_COMMITS", sample=60, whole=10_000)
    kept = {}
    for _ in range(commits):
        journal.commit()
        if journal.random.random() < 20 / commits:
            kept[journal.last_commit()] = dict(journal.now)
    table = app.backend.schema.table_for(Entry)
    with app.backend.engine.snapshot() as snapshot:
        reader = HistoryReader(snapshot, app.backend.schema)
        rows = {entry_id: PastRow(table, entry_id, snapshot.get(table, entry_id)) for entry_id in journal.now}
        for change in reader.changes_since(0):
            _compare(rows, kept, change.number)
            rows.setdefault(change.document_id, PastRow(table, change.document_id, None)).undo_logged(change)
        _compare(rows, kept, 0)
    assert not kept
    assert all(row.values is None for row in rows.values())


def _compare(rows: dict[str, PastRow], kept: dict[int, dict[str, Entry]], number: int) -> None:
    """Compare the state before the next change of a commit with the copies after that commit, and drop them."""
    for known in [known for known in kept if known >= number]:
        documents = {entry_id: row.document() for entry_id, row in rows.items() if row.values is not None}
        assert documents == kept.pop(known)
