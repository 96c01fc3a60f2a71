"""The application context that scheduled functions run in, and its teardown."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app, g, has_app_context, has_request_context

from flask_convex_http import ActionCtx, MutationCtx, internal_action, internal_mutation
from flask_convex_http.backend import Backend
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.web.apps import backend_of, deployed
from tests.worker.workers import (
    SCHEMA,
    Boom,
    Note,
    notes,
    run_all,
    running_worker,
    wait_until_ended,
    write_note,
    written_notes,
)

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


def describe_context(text: str) -> str:
    """Describe the application context, and leave a mark in it."""
    assert not has_request_context()
    seen = f"{text} in {current_app.name}, mark {g.get('mark')}"
    g.mark = text
    return seen


@internal_mutation
def mutate(ctx: MutationCtx, *, text: str, fails: bool = False) -> None:
    ctx.db.insert(Note(text=describe_context(text)))
    if fails:
        raise Boom


@internal_action
def act(ctx: ActionCtx, *, text: str, fails: bool = False) -> None:
    ctx.run_mutation(write_note, text=describe_context(text))
    if fails:
        raise Boom


@contextmanager
def app_at(folder: Path) -> Iterator[tuple[Flask, Backend]]:
    """Set up an app with these functions in a folder."""
    with deployed(folder, schema=SCHEMA, functions=[mutate, act, write_note, notes], TESTING=True) as app:
        yield app, backend_of(app)


@pytest.mark.parametrize("function", [mutate, act], ids=["mutation", "action"])
def test_each_has_an_app_context_of_its_own(function: Any, tmp_path: Path) -> None:
    """Each scheduled function has its own application context: `current_app` is set, and `g` is empty."""
    with app_at(tmp_path) as (app, backend):
        for text in "abc":
            backend.ctx().scheduler.run_after(0, function, text=text)
        with running_worker(backend, app_context=app.app_context):
            ended = wait_until_ended(backend)
        assert {job.state for job in ended} == {"success"}
        assert sorted(written_notes(backend)) == [f"{text} in test_app, mark None" for text in "abc"]
    assert not has_app_context()


@pytest.mark.parametrize("function", [mutate, act], ids=["mutation", "action"])
def test_each_context_is_torn_down(function: Any, tmp_path: Path) -> None:
    """Teardown functions run once for each scheduled function, failed ones included."""
    with app_at(tmp_path) as (app, backend):
        ends: list[tuple[str, str]] = []

        @app.teardown_appcontext
        def note_end(error: BaseException | None) -> None:
            if "mark" in g:
                ends.append((g.mark, type(error).__name__))

        for text in "abc":
            backend.ctx().scheduler.run_after(0, function, text=text, fails=text == "b")
        with running_worker(backend, app_context=app.app_context):
            wait_until_ended(backend)
        assert sorted(ends) == [("a", "NoneType"), ("b", "Boom"), ("c", "NoneType")]


def test_a_failing_teardown_rolls_back_the_mutation(tmp_path: Path) -> None:
    """A mutation whose teardown raises fails and is rolled back. Others go on."""
    with app_at(tmp_path) as (app, backend):

        @app.teardown_appcontext
        def fail(error: BaseException | None) -> None:
            if g.get("mark") == "b":
                raise Boom("at the end")

        for text in "abc":
            backend.ctx().scheduler.run_after(0, mutate, text=text)
        with running_worker(backend, app_context=app.app_context):
            ended = wait_until_ended(backend)
        assert [job.state for job in ended] == ["success", "failed", "success"]
        assert written_notes(backend) == [f"{text} in test_app, mark None" for text in "ac"]


def test_without_an_app_there_is_no_context(tmp_path: Path) -> None:
    """A worker without `app_context` runs functions without one."""
    with app_at(tmp_path) as (_, backend):
        backend.ctx().scheduler.run_after(0, mutate, text="a")
        [job] = run_all(backend)
        assert job.state == "failed"
        assert "outside of application context" in str(job.error)
