"""Jobs whose function another version of the application has changed, removed or not added yet."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import (
    ActionCtx,
    MutationCtx,
    internal_action,
    internal_mutation,
    internal_query,
)
from flask_convex_http.backend import Backend
from flask_convex_http.telemetry import Event, JobFinished
from flask_convex_http.testing import Clock, run_scheduled
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.worker.workers import (
    Note,
    all_jobs,
    open_backend,
    write_note,
    written_notes,
)

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


def version(kind: Any, *, text: str = "", takes_more: bool = False) -> Any:
    """Return a version of the function `task`."""
    if takes_more:

        def task(ctx: MutationCtx, *, amount: int) -> None:
            raise AssertionError(amount)

    elif kind is internal_action:

        def task(ctx: ActionCtx) -> None:  # type: ignore[misc]  # another version
            ctx.run_mutation(write_note, text=text)

    else:

        def task(ctx: MutationCtx) -> None:  # type: ignore[misc]  # another version
            if kind is not internal_query:
                ctx.db.insert(Note(text=text))

    return kind(task)


@contextmanager
def upgraded(folder: Path, old: Any, *new: Any, clock: Clock | None = None) -> Iterator[Backend]:
    """Open a newer version of an application that finds a job of an older one."""
    clock = clock or Clock()
    with open_backend(folder, [old], clock=clock) as backend:
        backend.ctx().scheduler.run_after(0, old)
    with open_backend(folder, new, clock=clock) as backend:
        yield backend


@pytest.mark.parametrize(
    ("old", "new"),
    [(internal_mutation, internal_action), (internal_action, internal_mutation)],
    ids=["to an action", "to a mutation"],
)
def test_a_function_of_another_kind_now(old: Any, new: Any, tmp_path: Path) -> None:
    """A job whose function was a mutation and is an action now, or the reverse, runs as its new kind."""
    with upgraded(tmp_path, version(old), version(new, text="new")) as backend:
        run_scheduled(backend)
        [job] = all_jobs(backend)
        assert (job.state, written_notes(backend)) == ("success", ["new"])
        assert job.kind == version(new).kind


def test_a_function_that_is_a_query_now(tmp_path: Path) -> None:
    """A job whose function is a query now fails with that reason."""
    with upgraded(tmp_path, version(internal_mutation), version(internal_query)) as backend:
        run_scheduled(backend)
        [job] = all_jobs(backend)
        assert (job.state, job.error) == (
            "failed",
            "test_changed_functions:task is a query now, and cannot be scheduled",
        )


def test_arguments_that_do_not_match_any_more(tmp_path: Path) -> None:
    """A job whose arguments do not match its function any more fails."""
    with upgraded(tmp_path, version(internal_mutation), version(internal_mutation, takes_more=True)) as backend:
        run_scheduled(backend)
        [job] = all_jobs(backend)
        assert job.state == "failed"
        assert "ArgumentValidationError" in str(job.error)


@pytest.mark.parametrize("kind", [internal_mutation, internal_action], ids=["mutation", "action"])
def test_a_function_that_is_not_known_yet(kind: Any, tmp_path: Path) -> None:
    """A job of an unknown function waits in an older version, and runs in a newer one."""
    clock = Clock()
    with upgraded(tmp_path, version(kind, text="new"), clock=clock) as older:
        run_scheduled(older, advance=timedelta(seconds=30))
        assert [job.state for job in all_jobs(older)] == ["pending"]
        with open_backend(tmp_path, [version(kind, text="new")], clock=clock) as newer:
            run_scheduled(newer, advance=timedelta(seconds=3))
            assert ([job.state for job in all_jobs(newer)], written_notes(newer)) == (["success"], ["new"])


@pytest.mark.parametrize("kind", [internal_mutation, internal_action], ids=["mutation", "action"])
def test_a_function_that_is_gone(kind: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A job whose function is unknown for a minute fails, and the error names the function. It is one event."""
    events: list[Event] = []
    with upgraded(tmp_path, version(kind)) as backend:
        backend.telemetry.subscribe(events.append)
        run_scheduled(backend, advance=timedelta(minutes=2))
        [job] = all_jobs(backend)
        assert job.state == "failed"
        assert "test_changed_functions:task" in str(job.error)
    [ended] = [event for event in events if isinstance(event, JobFinished)]
    assert (ended.id, ended.outcome, str(ended.error), ended.lag) == (job.id, "failed", job.error, None)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        f"The scheduled {job.kind} {job.name} ({job.id}) failed: {job.error}"
    ]


@pytest.mark.parametrize("kind", [internal_mutation, internal_action], ids=["mutation", "action"])
def test_an_unknown_function_that_was_due_long_ago(kind: Any, tmp_path: Path) -> None:
    """The minute starts when the job is scheduled, even if its time was past then."""
    clock, task = Clock(), version(kind)
    with open_backend(tmp_path, [task], clock=clock) as newer:
        newer.ctx().scheduler.run_at(datetime.fromtimestamp(clock() / 1000, UTC) - timedelta(days=1), task)
    with open_backend(tmp_path, clock=clock) as older:
        run_scheduled(older)
        assert [job.state for job in all_jobs(older)] == ["pending"]
