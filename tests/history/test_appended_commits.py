"""Commits that one transaction appends to the log, such as those of several jobs, with savepoints between them."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_convex_http import Document
from flask_convex_http.engines import Transaction
from flask_convex_http.history.log import Cause
from flask_convex_http.history.reader import HistoryReader
from tests.databases import EACH_ENGINE
from tests.deployment import Deployment, deployed
from tests.lengths import SAMPLED, examples

pytestmark = EACH_ENGINE


class Note(Document, table="notes"):
    text: str


class Undone(Exception):
    """A savepoint is rolled back."""


#: A commit to append, a read of the log, or the steps of a savepoint and whether it is rolled back.
Step = Any
_STEPS = st.recursive(
    st.one_of(st.sampled_from(("a", "b'", "c\\", "é")), st.just(None)),
    lambda steps: st.tuples(st.lists(steps, max_size=4), st.booleans()),
    max_leaves=10,
)


@pytest.fixture(name="app")
def _app(each_engine: str) -> Iterator[Deployment]:
    with deployed(Note) as deployment:
        yield deployment


def functions(app: Deployment, transaction: Any) -> list[str | None]:
    """Return the functions of the commits of the log, oldest first, with numbers that ascend."""
    found = HistoryReader(transaction, app.backend.schema).commits(0, limit=1000)
    assert [commit.number for commit in found] == sorted({commit.number for commit in found})
    return [commit.function for commit in found]


def run(app: Deployment, steps: Sequence[Step], transaction: Transaction, expected: list[str | None]) -> None:
    """Run steps, and bring the expected functions up to date."""
    for step in steps:
        if step is None:
            assert functions(app, transaction) == expected
        elif isinstance(step, str):
            transaction.append_commit(1.0, Cause(function=step).values())
            expected.append(step)
        else:
            run_savepoint(app, step, transaction, expected)


def run_savepoint(
    app: Deployment, step: tuple[list[Step], bool], transaction: Transaction, expected: list[str | None]
) -> None:
    """Run steps at a savepoint, and perhaps roll it back."""
    inner, is_undone = list(expected), step[1]
    try:
        with transaction.savepoint():
            run(app, step[0], transaction, inner)
            if is_undone:
                raise Undone
    except Undone:
        return
    expected[:] = inner


@SAMPLED
@settings(max_examples=examples(200, sample=10), deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(_STEPS, max_size=6), more=st.lists(_STEPS, max_size=3))
def test_savepoints_take_their_commits_with_them(each_engine: str, steps: list[Step], more: list[Step]) -> None:
    """The log has the commits in their order, without those of savepoints that were rolled back, also to a reader."""
    with deployed(Note) as app:
        expected: list[str | None] = []
        for part in (steps, more):
            before = list(expected)

            def work(transaction: Transaction, part: list[Step] = part, before: list[str | None] = before) -> Any:
                after = list(before)
                run(app, part, transaction, after)
                return after

            expected = app.backend.engine.write(work)
        with app.backend.engine.snapshot() as snapshot:
            assert functions(app, snapshot) == expected


def test_a_failed_transaction_appends_nothing(app: Deployment) -> None:
    """The commits of a transaction that fails are not in the log, and the next one is."""

    def fail(transaction: Transaction) -> None:
        transaction.append_commit(1.0, Cause(function="lost").values())
        raise Undone

    with pytest.raises(Undone):
        app.backend.engine.write(fail)
    app.backend.engine.write(lambda transaction: transaction.append_commit(1.0, Cause(function="kept").values()))
    with app.backend.engine.snapshot() as snapshot:
        assert functions(app, snapshot) == ["kept"]
