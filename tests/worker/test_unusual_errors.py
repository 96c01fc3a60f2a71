"""Exceptions that cannot be formatted or look like the database's: they fail one job, and no more."""

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
from flask_convex_http.worker import ActionRunner
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.databases import rows as stored_rows
from tests.sqlite.crews import PATIENCE, wait_until
from tests.sqlite.limits import no_more_threads
from tests.worker.workers import (
    all_jobs,
    get_job,
    open_backend,
    run_all,
    running_worker,
    wait_until_ended,
    write_note,
    written_notes,
)

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


class NoNotes(Exception):
    """An exception whose notes raise."""

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]  # the error that the test needs
        raise ValueError("no notes")


class NoText(Exception):
    """An exception whose text raises."""

    def __str__(self) -> str:
        raise ValueError("no text")


def _line_that_is_no_text() -> Exception:
    """Return a SyntaxError whose line is not a text, as some parsers make it."""
    return SyntaxError("bad", ("file", 1, 5, 123))  # type: ignore[arg-type]  # so do some parsers


ERRORS: dict[str, Callable[[], Exception]] = {
    "SyntaxError": _line_that_is_no_text,
    "NoNotes": NoNotes,
    "NoText": NoText,
}


@internal_mutation
def mutate(ctx: MutationCtx, *, error: str) -> None:
    """Raise an exception."""
    raise ERRORS[error]()


@internal_action
def act(ctx: ActionCtx, *, error: str) -> None:
    """Raise an exception."""
    raise ERRORS[error]()


@pytest.mark.parametrize("name", ERRORS)
def test_an_exception_that_cannot_be_formatted(name: str, tmp_path: Path) -> None:
    """A job whose exception cannot be formatted fails, its row names the class, and the worker goes on."""
    with open_backend(tmp_path, [mutate, act]) as backend, running_worker(backend):
        for function in (mutate, act):
            backend.ctx().scheduler.run_after(0, function, error=name)
        failed = wait_until_ended(backend)
        backend.ctx().scheduler.run_after(0, write_note, text="next")
        wait_until(lambda: written_notes(backend) == ["next"])
    assert [job.state for job in failed] == ["failed", "failed"]
    assert all(name in str(job.error) for job in failed)


def _caused() -> Exception:
    """Return an UnavailableError with a cause, like those of an engine."""
    error = UnavailableError("The shop does not answer")
    error.__cause__ = ConnectionRefusedError()
    return error


@pytest.mark.parametrize(
    "error",
    [UnavailableError("The shop is closed"), OverloadedError("The shop is full"), _caused()],
    ids=["503", "overloaded", "503 with a cause"],
)
def test_a_mutation_that_raises_unavailable(error: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A mutation that raises an error of the database's kind fails after one run.

    The log does not say that the database was unavailable.
    """
    runs: list[float] = []

    @internal_mutation
    def refuse(ctx: MutationCtx) -> None:
        runs.append(time.monotonic())
        raise error

    with open_backend(tmp_path, [refuse]) as backend:
        backend.ctx().scheduler.run_after(0, refuse)
        [job] = run_all(backend)
    assert (job.state, len(runs)) == ("failed", 1)
    assert str(error) in str(job.error)
    assert "could not use the database" not in caplog.text


class FailingEngine:
    """An engine whose second write fails, after it has called a function."""

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
    """If an action can neither start nor be put back, the others that were claimed with it still run."""

    @internal_action
    def do(ctx: ActionCtx, *, text: str) -> None:
        ctx.run_mutation(write_note, text=text)

    with open_backend(tmp_path, [do]) as backend, ExitStack() as shortage:
        for text in ("first", "second", "third"):
            backend.ctx().scheduler.run_after(0, do, text=text)
        shortage.enter_context(no_more_threads())
        backend.engine = FailingEngine(backend.engine, shortage.close)
        actions = ActionRunner(backend, nullcontext, lambda: None)
        assert actions.start_due() == 3
        assert actions.wait(PATIENCE)
        assert sorted(written_notes(backend)) == ["second", "third"]
        assert [job.state for job in all_jobs(backend)] == ["inProgress", "success", "success"]


def test_a_row_that_cannot_be_read(tmp_path: Path, each_engine: str) -> None:
    """A row that was damaged by hand fails, can be listed, and blocks no other job."""
    with open_backend(tmp_path) as backend:
        damaged, *others = (backend.ctx().scheduler.run_after(0, write_note, text=text) for text in "abc")
        statement = "UPDATE _scheduled_functions SET args = ?, attempts = ? WHERE _id = ?"
        # PostgreSQL accepts JSON only.
        wrong = ("[" * 100_000, "no JSON") if each_engine == "sqlite" else ("[5]", '"no list"')
        stored_rows(tmp_path, statement, *wrong, damaged)
        with running_worker(backend):  # until then, reading the rows raises
            wait_until(lambda: written_notes(backend) == ["b", "c"])
        assert [get_job(backend, each).state for each in (damaged, *others)] == ["failed", "success", "success"]
        assert "holds something that does not match the schema" in str(get_job(backend, damaged).error)
