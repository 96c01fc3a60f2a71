"""The commit log of writes that share one commit on SQLite: each has a row of its own, and none if it fails."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_convex_http import Document, UserIdentity
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.errors import EngineError, OverloadedError
from flask_convex_http.history.rows import Change
from flask_convex_http.runtime import MutationCalls
from tests.deployment import Deployment, deployed
from tests.lengths import SAMPLED, examples
from tests.sqlite.crews import crew, tell_statements, waiting


class Note(Document, table="notes"):
    text: str


class Refused(Exception):
    """A member of a group fails."""


#: What a member does, in this order.
Member = list[str]
_STEPS = ("insert", "patch", "delete", "inner", "broken inner", "history", "newest", "fail")


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Deployment]:
    with deployed(Note, folder=tmp_path) as deployment:
        yield deployment


def engine_of(app: Deployment) -> SQLiteEngine:
    """Return the engine of a deployment on SQLite."""
    engine = app.backend.engine
    assert isinstance(engine, SQLiteEngine)
    return engine


def write_together(app: Deployment, *bodies: Callable[[MutationCalls], Any]) -> list[Any]:
    """Run functions as mutations in one group commit, and return their results or errors."""
    runtime = app.backend.runtime
    app.write(lambda db: None)  # the first write of a process looks at the log before it waits
    with crew(engine_of(app)) as members:
        members.hold()
        calls = [partial(runtime.write, body, runtime.caller(), name=f"{n}") for n, body in enumerate(bodies)]
        futures = members.queue_calls(*calls)
    return [future.exception() or future.result() for future in futures]


def numbers(app: Deployment) -> list[tuple[int, str | None]]:
    """Return the number of each commit, oldest first, with the function that made it."""
    return [(commit.number, commit.function) for commit in app.backend.history.feed.read(0)]


def test_a_group_writes_its_commits_at_once(app: Deployment) -> None:
    """The commits of a group are written by one statement, with successive numbers in the order of the writes."""
    app.add(Note(text="first"))
    statements: list[str] = []
    tell_statements(engine_of(app), statements.append)
    write_together(app, *[lambda calls: calls.ctx().db.insert(Note(text="more"))] * 5)
    assert sum('INTO "_commits"' in statement for statement in statements) == 1
    assert numbers(app) == [(1, None), *((2 + place, str(place)) for place in range(5))]


def test_a_member_sees_earlier_commits_of_its_group(app: Deployment) -> None:
    """A mutation that reads the log finds the commits of its group before it, and keeps them if it fails afterwards."""
    [note] = app.add(Note(text="0"))

    def patch(calls: MutationCalls) -> None:
        calls.ctx().db.patch(note, text="1")

    def look(calls: MutationCalls) -> int:
        return len(calls.ctx().db.history(note))

    def look_and_fail(calls: MutationCalls) -> None:
        calls.ctx().db.patch(note, text="lost")
        look(calls)
        raise Refused

    results = write_together(app, patch, look, look_and_fail, look, patch, patch)
    assert [str(result) for result in results] == ["None", "2", "", "2", "None", "None"]
    assert numbers(app) == [(1, None), (2, "0")]
    assert [revision.before for revision in app.read(lambda db: db.history(note))] == [{"text": "0"}, {}]


def test_a_large_commit_is_written_at_once(app: Deployment) -> None:
    """A commit of more than a megabyte is not kept for the end of its group, and is rolled back with its member."""
    [note, other] = app.add(Note(text="x" * 900_000), Note(text="x" * 900_000))
    last = app.backend.history.feed.last_commit()

    def delete(calls: MutationCalls) -> None:
        calls.ctx().db.delete(note)
        calls.ctx().db.delete(other)

    def delete_and_fail(calls: MutationCalls) -> None:
        calls.attempt(partial(delete, calls))
        raise Refused

    write_together(app, delete_and_fail, delete, lambda calls: calls.ctx().db.insert(Note(text="")))
    assert numbers(app)[-2:] == [(last + 1, "1"), (last + 2, "2")]


@SAMPLED
@settings(max_examples=examples(200, sample=6), deadline=None, suppress_health_check=list(HealthCheck))
@given(members=st.lists(st.lists(st.sampled_from(_STEPS), max_size=5), min_size=1, max_size=8))
def test_each_change_has_its_commit(members: list[Member]) -> None:
    """In a group of writes of which some fail, the log is that of the others one after another, without holes."""
    with deployed(Note) as app:
        [note] = app.add(Note(text="first"))
        results = write_together(app, *(partial(run, note, steps) for steps in members))
        kept = [steps for steps, result in zip(members, results, strict=True) if not isinstance(result, Refused)]
        found = [summary(app), [number for number, _ in numbers(app)]]
    with deployed(Note) as alone:
        [note] = alone.add(Note(text="first"))
        for steps in kept:
            alone.backend.runtime.write(partial(run, note, steps), alone.backend.caller())
        assert found == [summary(alone), list(range(1, len(numbers(alone)) + 1))]


def run(note: Any, steps: Member, calls: MutationCalls) -> None:
    """Run the steps of a member."""
    db = calls.ctx().db
    for step in steps:
        if step == "insert":
            db.insert(Note(text="new"))
        elif step == "patch" and (found := db.get(note)) is not None:
            db.patch(note, text=f"{len(found.text)}{found.text}"[:40])
        elif step == "delete" and db.get(note) is not None:
            db.delete(note)
        elif step == "history":
            db.history(note)
        elif step == "newest":
            db.as_of(10**6).query(Note).collect()
        elif step == "inner":
            calls.attempt(partial(run, note, ["patch", "history"], calls))
        elif step == "broken inner":
            with pytest.raises(Refused):
                calls.attempt(partial(run, note, ["insert", "patch", "newest", "fail"], calls))
        elif step == "fail":
            raise Refused


def summary(app: Deployment) -> list[Any]:
    """Return the changes of all commits without ids."""
    commits = app.backend.history.feed.read(0)
    return [[_summary(change) for change in commit.changes] for commit in commits]


def _summary(change: Change[Any]) -> tuple[Any, ...]:
    return change.operation, change.before.get("text"), getattr(change.document, "text", None)


def test_one_thread_looks_at_the_log_first(app: Deployment) -> None:
    """Of the threads that make the first writes of a process, one looks at the log, and no other waits too long."""
    runtime = app.backend.runtime
    with crew(engine_of(app)) as members:
        members.hold()
        futures = members.queue_calls(partial(app.add, Note(text="first")))
        late = members.submit(partial(runtime.write, lambda calls: None, runtime.caller(), timeout=0.01))
        assert isinstance(late.exception(), OverloadedError)
        futures += [members.submit(partial(app.add, Note(text="more"))) for _ in range(8)]
        assert waiting(engine_of(app)) == 1
    assert len({future.result()[0] for future in futures}) == 9
    assert [number for number, _ in numbers(app)] == list(range(1, 10))


def test_a_cause_that_cannot_be_stored_fails_alone(app: Deployment) -> None:
    """A mutation of an identity whose subject has a lone surrogate fails, and no other of its group."""
    runtime = app.backend.runtime
    strange = runtime.caller(UserIdentity(subject="\ud800", issuer="a"))
    app.add(Note(text="first"))

    def insert(calls: MutationCalls) -> None:
        calls.ctx().db.insert(Note(text="more"))

    with crew(engine_of(app)) as members:
        members.hold()
        callers = (runtime.caller(), strange, runtime.caller())
        futures = members.queue_calls(*(partial(runtime.write, insert, caller) for caller in callers))
    assert [type(future.exception()) for future in futures] == [type(None), EngineError, type(None)]
