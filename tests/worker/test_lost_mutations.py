"""Mutations whose process dies while they run. A child of fork() is the worker's process."""

import os
import signal
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import MutationCtx, internal_mutation
from flask_convex_http.backend import Backend
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.errors import EngineError
from flask_convex_http.functions.function import Function, MutationFunction
from flask_convex_http.scheduling import Submission
from flask_convex_http.testing import Clock
from flask_convex_http.worker import MutationRunner
from flask_convex_http.worker.lost_mutations import LOST_RETRY
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, SQLITE_ONLY
from tests.worker.workers import Note, get_job, open_backend, write_note, written_notes

pytestmark = EACH_ENGINE

DIED = 1


@internal_mutation
def die(ctx: MutationCtx, *, text: str) -> None:
    """Insert a note, and end the process at once as a segmentation fault does."""
    ctx.db.insert(Note(text=text))
    os._exit(DIED)


@internal_mutation
def die_once(ctx: MutationCtx, *, folder: str) -> None:
    """Get the process killed, but only in the first run."""
    ctx.db.insert(Note(text="survived"))
    if not Path(folder, "killed").exists():
        Path(folder, "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)


FUNCTIONS: list[Function[Any, Any]] = [die, die_once]


def work_in_child(folder: Path, clock: Clock) -> int:
    """Run due mutations in a child until none is left or it dies, and return its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        with open_backend(folder, FUNCTIONS, clock=clock) as backend:
            runner = MutationRunner(backend, nullcontext)
            runner.suspect(clock())  # as a worker does at its start
            while runner.run():
                pass
        os._exit(0)
    finally:
        os._exit(2)


def work_until_all_ended(backend: Backend, folder: Path, clock: Clock) -> int:
    """Start a new child after each death, until no mutation is pending, and return the number of deaths."""
    deaths = 0
    for _ in range(30):
        clock.advance(timedelta(seconds=90))  # longer than each delay and lease
        status = work_in_child(folder, clock)
        assert status in (0, DIED, -signal.SIGKILL)
        deaths += status != 0
        with backend.engine.snapshot() as snapshot:
            if backend.jobs.next_due(snapshot, "mutation") is None:
                break
    return deaths


@SLOW_ON_POSTGRES
def test_a_mutation_that_kills_its_process_is_dead_lettered(tmp_path: Path) -> None:
    """A mutation that kills each process that runs it fails after its attempts, and the jobs behind it run."""
    clock = Clock()
    with open_backend(tmp_path, FUNCTIONS, clock=clock) as backend:
        scheduler = backend.ctx().scheduler
        scheduler.run_after(0, write_note, text="before")
        poison = scheduler.run_after(1, die, text="poison")
        scheduler.run_after(2, write_note, text="behind")
        clock.advance(timedelta(seconds=10))
        assert work_in_child(tmp_path, clock) == DIED
        clock.advance(timedelta(seconds=0.1))
        assert work_in_child(tmp_path, clock) in (0, DIED)
        work_in_child(tmp_path, clock)
        assert sorted(written_notes(backend)) == ["before", "behind"]  # long before the poison is dead
        assert get_job(backend, poison).state == "pending"
        work_until_all_ended(backend, tmp_path, clock)
        job = get_job(backend, poison)
        assert (job.state, len(job.attempts)) == ("failed", LOST_RETRY.max_attempts)
        assert {attempt.outcome for attempt in job.attempts} == {"lost"}
        assert job.error is not None and "The process that ran it died" in job.error
        assert sorted(written_notes(backend)) == ["before", "behind"]


@SLOW_ON_POSTGRES
@pytest.mark.parametrize("count", [2])
def test_several_poison_mutations_are_dead_lettered(count: int, tmp_path: Path) -> None:
    """Mutations that kill their processes in turns all fail in the end, with a bounded number of deaths."""
    clock = Clock()
    with open_backend(tmp_path, FUNCTIONS, clock=clock) as backend:
        poison = [backend.ctx().scheduler.run_after(0, die, text="") for _ in range(count)]
        backend.ctx().scheduler.run_after(0, write_note, text="behind")
        deaths = work_until_all_ended(backend, tmp_path, clock)
        assert count * LOST_RETRY.max_attempts <= deaths <= count * LOST_RETRY.max_attempts + 1
        assert {get_job(backend, job).state for job in poison} == {"failed"}
        assert written_notes(backend) == ["behind"]


def test_a_mutation_whose_process_was_killed_once_succeeds(tmp_path: Path) -> None:
    """A mutation that ran when its process was killed runs again, and has its effect once."""
    clock = Clock()
    with open_backend(tmp_path, FUNCTIONS, clock=clock) as backend:
        job = backend.ctx().scheduler.run_after(0, die_once, folder=str(tmp_path))
        assert work_until_all_ended(backend, tmp_path, clock) == 1
        assert get_job(backend, job).state == "success"
        assert get_job(backend, job).attempts[-1].outcome == "success"
        assert written_notes(backend) == ["survived"]


@SQLITE_ONLY
def test_each_death_counts_on_sqlite(tmp_path: Path) -> None:
    """On SQLite the first death counts as well, and other jobs of the batch get no attempt."""
    clock = Clock()
    with open_backend(tmp_path, FUNCTIONS, clock=clock) as backend:
        before = backend.ctx().scheduler.run_after(0, write_note, text="before")
        poison = backend.ctx().scheduler.run_after(0, die, text="poison")
        assert work_until_all_ended(backend, tmp_path, clock) == LOST_RETRY.max_attempts
        assert (get_job(backend, before).attempts, get_job(backend, before).state) == ([], "success")
        assert get_job(backend, poison).state == "failed"


def test_a_lost_mutation_that_was_canceled_does_not_run_again(tmp_path: Path) -> None:
    """A mutation that is canceled after its process died stays canceled."""
    clock = Clock()
    with open_backend(tmp_path, FUNCTIONS, clock=clock) as backend:
        poison = backend.ctx().scheduler.run_after(0, die, text="poison")
        clock.advance(timedelta(seconds=1))
        assert work_in_child(tmp_path, clock) == DIED
        backend.ctx().scheduler.cancel(poison)
        assert work_until_all_ended(backend, tmp_path, clock) == 0
        assert get_job(backend, poison).state == "canceled"


@SQLITE_ONLY
def test_a_lost_delivery_that_cannot_be_read_does_not_run_for_ever(tmp_path: Path) -> None:
    """A job whose delivery cannot be read after a death has the limit of other mutations."""

    def fail(ctx: MutationCtx, arguments: dict[str, Any], error: str) -> float | None:
        raise EngineError("This row cannot be read")

    clock = Clock()
    with open_backend(tmp_path, FUNCTIONS, clock=clock) as backend:
        backend.functions.add_own("_test:process", MutationFunction(write_note.handler, public=False, on_lost=fail))
        submission, now, marker = (
            Submission("_test:process", "mutation", b"{}", 0),
            clock(),
            backend.engine.start_marker,
        )
        job = backend.engine.write(lambda step: backend.jobs.add(step, CreationTimes(now), now, submission))
        assert marker is not None
        for number in range(LOST_RETRY.max_attempts):
            assert get_job(backend, job).state == "pending", number
            marker.write(job)  # as a process does that dies then
            MutationRunner(backend, nullcontext).run()
        assert get_job(backend, job).state == "failed"
