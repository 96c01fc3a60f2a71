"""What functions raise that is hard to show or looks like the worker's own trouble: it fails the one, and no more."""

import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import (
    ActionCtx,
    MutationCtx,
    OverloadedError,
    UnavailableError,
    internal_action,
    internal_mutation,
)
from flask_convex_http.engines import Engine, Transaction
from flask_convex_http.worker.action_runner import ActionRunner
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.databases import rows as stored_rows
from tests.sqlite.crews import PATIENCE, wait_until
from tests.sqlite.limits import no_more_threads
from tests.worker.runs import opened, row, rows, run_all, wait_until_ended, working, write_down, written

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


class NoNotes(Exception):
    """An error whose notes cannot be read."""

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]  # that is what is wrong with it
        raise ValueError("no notes")


class NoText(Exception):
    """An error that has no text."""

    def __str__(self) -> str:
        raise ValueError("no text")


def _line_that_is_no_text() -> Exception:
    return SyntaxError("bad", ("file", 1, 5, 123))  # type: ignore[arg-type]  # as some parsers make it


ERRORS: dict[str, Callable[[], Exception]] = {
    "SyntaxError": _line_that_is_no_text,
    "NoNotes": NoNotes,
    "NoText": NoText,
}


@internal_mutation
def mutate(ctx: MutationCtx, *, error: str) -> None:
    raise ERRORS[error]()


@internal_action
def act(ctx: ActionCtx, *, error: str) -> None:
    raise ERRORS[error]()


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_that_cannot_be_shown(name: str, tmp_path: Path) -> None:
    """Whatever an error does when it is shown, the mutation or action that raised it has failed, its row names the
    error, and the worker goes on."""
    with opened(tmp_path, [mutate, act]) as backend, working(backend):
        for function in (mutate, act):
            backend.ctx().scheduler.run_after(0, function, error=name)
        failed = wait_until_ended(backend)
        backend.ctx().scheduler.run_after(0, write_down, text="next")
        wait_until(lambda: written(backend) == ["next"])
    assert [job.state for job in failed] == ["failed", "failed"]
    assert all(name in str(job.error) for job in failed)


def _caused() -> Exception:
    error = UnavailableError("The shop does not answer")
    error.__cause__ = ConnectionRefusedError()
    return error


@pytest.mark.parametrize(
    "error",
    [UnavailableError("The shop is closed"), OverloadedError("The shop is full"), _caused()],
    ids=["503", "overloaded", "503 with a cause"],
)
def test_a_mutation_that_says_it_is_unavailable(
    error: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that the database could have raised, but the function has, fails the mutation like any other one: it
    runs once, and nobody says that the database could not be used."""
    runs: list[float] = []

    @internal_mutation
    def refuse(ctx: MutationCtx) -> None:
        runs.append(time.monotonic())
        raise error

    with opened(tmp_path, [refuse]) as backend:
        backend.ctx().scheduler.run_after(0, refuse)
        [job] = run_all(backend)
    assert (job.state, len(runs)) == ("failed", 1)
    assert str(error) in str(job.error)
    assert "could not use the database" not in caplog.text


class Refusing:
    """An engine whose second write fails, after something else has happened."""

    def __init__(self, engine: Engine, first: Callable[[], None]) -> None:
        self._engine = engine
        self._first = first
        self._writes = 0

    def write(self, work: Callable[[Transaction], Any], **options: Any) -> Any:
        self._writes += 1
        if self._writes == 2:
            self._first()
            raise UnavailableError("The disk is full")
        return self._engine.write(work, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def test_an_action_that_cannot_be_put_back(tmp_path: Path) -> None:
    """When no thread is left for an action and the database refuses to take it back, the others that were taken with it
    run all the same."""

    @internal_action
    def do(ctx: ActionCtx, *, text: str) -> None:
        ctx.run_mutation(write_down, text=text)

    with opened(tmp_path, [do]) as backend, ExitStack() as shortage:
        for text in ("first", "second", "third"):
            backend.ctx().scheduler.run_after(0, do, text=text)
        shortage.enter_context(no_more_threads())
        backend.engine = Refusing(backend.engine, shortage.close)
        actions = ActionRunner(backend, nullcontext, lambda: None)
        assert actions.start_due() == 3
        assert actions.wait(PATIENCE)
        assert sorted(written(backend)) == ["second", "third"]
        assert [job.state for job in rows(backend)] == ["inProgress", "success", "success"]


def test_a_row_that_cannot_be_read(tmp_path: Path, each_engine: str) -> None:
    """A row that somebody has spoilt by hand has failed and can be looked at; it holds up nobody."""
    with opened(tmp_path) as backend:
        spoilt, *others = (backend.ctx().scheduler.run_after(0, write_down, text=text) for text in "abc")
        statement = "UPDATE _scheduled_functions SET args = ?, attempts = ? WHERE _id = ?"
        wrong = ("[" * 100_000, "no JSON") if each_engine == "sqlite" else ("[5]", '"no list"')  # which must be JSON
        stored_rows(tmp_path, statement, *wrong, spoilt)
        with working(backend):  # nobody can look at the rows until it has dealt with that one
            wait_until(lambda: written(backend) == ["b", "c"])
        assert [row(backend, each).state for each in (spoilt, *others)] == ["failed", "success", "success"]
        assert "holds something that does not match the schema" in str(row(backend, spoilt).error)
