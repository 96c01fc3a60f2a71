"""What scheduled functions are run in: the application context, and its end."""

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
from tests.worker.runs import SCHEMA, Boom, Note, notes, run_all, wait_until_ended, working, write_down, written

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


def who_and_where(text: str) -> str:
    """What a function sees of the context it runs in, and a mark it leaves there."""
    assert not has_request_context()
    seen = f"{text} in {current_app.name}, mark {g.get('mark')}"
    g.mark = text
    return seen


@internal_mutation
def mutate(ctx: MutationCtx, *, text: str, fails: bool = False) -> None:
    ctx.db.insert(Note(text=who_and_where(text)))
    if fails:
        raise Boom


@internal_action
def act(ctx: ActionCtx, *, text: str, fails: bool = False) -> None:
    ctx.run_mutation(write_down, text=who_and_where(text))
    if fails:
        raise Boom


@contextmanager
def app_at(folder: Path) -> Iterator[tuple[Flask, Backend]]:
    with deployed(folder, schema=SCHEMA, functions=[mutate, act, write_down, notes], TESTING=True) as app:
        yield app, backend_of(app)


@pytest.mark.parametrize("function", [mutate, act], ids=["mutation", "action"])
def test_each_has_an_app_context_of_its_own(function: Any, tmp_path: Path) -> None:
    """Scheduled functions find the app in `current_app`, and nothing that another one left in `g`."""
    with app_at(tmp_path) as (app, backend):
        for text in "abc":
            backend.ctx().scheduler.run_after(0, function, text=text)
        with working(backend, app_context=app.app_context):
            ended = wait_until_ended(backend)
        assert {job.state for job in ended} == {"success"}
        assert sorted(written(backend)) == [f"{text} in test_app, mark None" for text in "abc"]
    assert not has_app_context()


@pytest.mark.parametrize("function", [mutate, act], ids=["mutation", "action"])
def test_the_context_of_each_ends(function: Any, tmp_path: Path) -> None:
    """What an app registers for the end of its contexts is done once for each function, also for one that fails."""
    with app_at(tmp_path) as (app, backend):
        ends: list[tuple[str, str]] = []

        @app.teardown_appcontext
        def note_end(error: BaseException | None) -> None:
            if "mark" in g:
                ends.append((g.mark, type(error).__name__))

        for text in "abc":
            backend.ctx().scheduler.run_after(0, function, text=text, fails=text == "b")
        with working(backend, app_context=app.app_context):
            wait_until_ended(backend)
        assert sorted(ends) == [("a", "NoneType"), ("b", "Boom"), ("c", "NoneType")]


def test_an_end_that_fails_undoes_the_mutation(tmp_path: Path) -> None:
    """A mutation whose context ends with an error has failed, and leaves none of its writes; others go on."""
    with app_at(tmp_path) as (app, backend):

        @app.teardown_appcontext
        def fail(error: BaseException | None) -> None:
            if g.get("mark") == "b":
                raise Boom("at the end")

        for text in "abc":
            backend.ctx().scheduler.run_after(0, mutate, text=text)
        with working(backend, app_context=app.app_context):
            ended = wait_until_ended(backend)
        assert [job.state for job in ended] == ["success", "failed", "success"]
        assert written(backend) == [f"{text} in test_app, mark None" for text in "ac"]


def test_without_an_app_there_is_no_context(tmp_path: Path) -> None:
    """A worker that was given nothing to run functions in runs them bare."""
    with app_at(tmp_path) as (_, backend):
        backend.ctx().scheduler.run_after(0, mutate, text="a")
        [job] = run_all(backend)
        assert job.state == "failed"
        assert "outside of application context" in str(job.error)
