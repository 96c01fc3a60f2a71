"""`ctx.db.as_of`: the documents as they were, by `get` and by ranges of indexes."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.databases import EACH_ENGINE
from tests.deployment import Deployment, deployed
from tests.history.journal import Entry, Journal, Quiet
from tests.lengths import LONG, SAMPLED, examples

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


@LONG
@pytest.mark.timeout(3600)
def test_the_past_of_many_commits(app: Deployment) -> None:
    """The same holds after 100,000 commits, for copies that were taken at random."""
    journal = Journal(app, 1)
    for _ in range(100):
        journal.run(1000)
        kept = {number: copy for number, copy in journal.copies.items() if journal.random.random() < 0.002}
        journal.copies = kept | {max(journal.copies): journal.now}
    for number in list(journal.copies)[-10:]:
        journal.check(number)
