"""Undo of requests with many commits, among the commits of others, and again after it was undone itself."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_convex_http import Document, UndoRefusedError
from flask_convex_http.database.db import DatabaseWriter
from flask_convex_http.runtime import MutationCalls
from tests.databases import EACH_ENGINE
from tests.deployment import Deployment, deployed
from tests.lengths import SAMPLED, examples, repetitions

pytestmark = EACH_ENGINE

#: The commits of a request with many.
COMMITS = repetitions("UNDO_COMMITS", sample=40, whole=2000)


class Note(Document, table="notes"):
    first: str = ""
    second: str = ""
    other: str = ""


@pytest.fixture(name="app")
def _app(each_engine: str) -> Iterator[Deployment]:
    with deployed(Note) as deployment:
        yield deployment


def as_request(app: Deployment, request_id: str, body: Any) -> Any:
    """Run a function of ctx.db as a mutation of a request."""

    def run(calls: MutationCalls) -> Any:
        return body(calls.ctx().db)

    return app.backend.runtime.write(run, app.backend.caller(request_id=request_id))


def index(app: Deployment) -> None:
    """Add all commits to the index, as the worker does."""
    while app.backend.history.index():
        pass


@SAMPLED
@pytest.mark.timeout(600)
@pytest.mark.parametrize("indexed", [True, False])
def test_a_request_with_many_commits_is_undone(app: Deployment, indexed: bool) -> None:
    """All commits of a request are undone at once, and changes of other requests between them stay."""
    ids = app.add(*(Note(first="0", other="0") for _ in range(10)))
    for number in range(1, COMMITS + 1):
        note = ids[number % len(ids)]
        as_request(app, "many", lambda db, note=note, number=number: db.patch(note, first=f"{number}"))
        as_request(app, "many", lambda db, number=number: db.insert(Note(first=f"{number}")))
        as_request(app, f"{number}", lambda db, note=note, number=number: db.patch(note, other=f"{number}"))
    if indexed:
        index(app)
    report = app.backend.undo.run("many")
    assert (len(report.commits), len(report.rows)) == (2 * COMMITS, COMMITS + len(ids))
    found = app.read(lambda db: db.query(Note).collect())
    newest = [range(place or len(ids), COMMITS + 1, len(ids))[-1] for place in range(len(ids))]
    assert [(note.id, note.first, note.other) for note in found] == [
        (note, "0", f"{number}") for note, number in zip(ids, newest, strict=True)
    ]


#: A request, what it does in one commit, the place of a document, and a value.
Step = tuple[str, str, int, int]
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(("first", "second", "other")),
        st.sampled_from(("patch", "patch", "insert", "change own", "delete own")),
        st.integers(0, 2),
        st.integers(1, 9),
    ),
    max_size=12,
)
#: Requests that are undone, or redone if they are undone, and whether the index is brought up to date before.
_TOGGLES = st.lists(st.tuples(st.sampled_from(("first", "second")), st.booleans()), max_size=6)


@SAMPLED
@settings(max_examples=examples(60, sample=3), deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=_STEPS, toggles=_TOGGLES)
def test_undone_requests_have_never_run(each_engine: str, steps: list[Step], toggles: list[tuple[str, bool]]) -> None:
    """After undos of requests and undos of those, the documents are as if only the others had ever run."""
    undone: dict[str, int] = {}
    with deployed(Note) as app:
        run_all(app, steps)
        for request_id, is_indexed in toggles:
            if is_indexed:
                index(app)
            toggle(app, request_id, undone)
        found = contents(app)
    with deployed(Note) as app:
        run_all(app, [step for step in steps if step[0] not in undone])
        assert found == contents(app)


def toggle(app: Deployment, request_id: str, undone: dict[str, int]) -> None:
    """Undo a request, or undo its undo."""
    if request_id in undone:
        app.backend.undo.run(str(undone.pop(request_id)))
        return
    before = app.backend.history.feed.last_commit()
    try:
        app.backend.undo.run(request_id)
    except UndoRefusedError as error:  # it has changed nothing
        assert "is not in the log" in str(error)
        return
    after = app.backend.history.feed.last_commit()
    if after > before:  # nothing was left to undo otherwise
        undone[request_id] = after


def run_all(app: Deployment, steps: list[Step]) -> None:
    """Run the steps of all requests on three documents and their own."""
    shared = app.add(Note(), Note(), Note())
    own: dict[str, list[Any]] = {}
    for step in steps:
        as_request(app, step[0], partial(run, step, shared, own.setdefault(step[0], [])))


def run(step: Step, shared: list[Any], own: list[Any], db: DatabaseWriter) -> None:
    """Run one step. Each request has a field of its own in the shared documents."""
    request_id, do, place, value = step
    if do == "insert":
        own.append(db.insert(Note(other=f"{request_id} {value}")))
    elif do == "patch":
        db.patch(shared[place], **{request_id: str(value)})
    elif own and do == "change own":
        db.patch(own[-1], other=f"{request_id} {value}")
    elif own:
        db.delete(own.pop())


def contents(app: Deployment) -> list[tuple[str, str, str]]:
    """Return the fields of all documents in their order."""
    return [(note.first, note.second, note.other) for note in app.read(lambda db: db.query(Note).collect())]
