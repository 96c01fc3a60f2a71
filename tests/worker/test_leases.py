"""Leases that cannot be renewed, functions that the checking process does not know, and canceled actions."""

import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from flask_convex_http import MutationCtx, Retry, internal_mutation
from flask_convex_http.engines import Engine
from flask_convex_http.worker.lost_actions import LeaseMonitor
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.sqlite.crews import PATIENCE, wait_until
from tests.worker.test_lost_actions import LEASE, EndlessAction, start_and_abandon
from tests.worker.workers import Note, all_jobs, get_job, open_backend, running_worker, wait_until_ended

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

AT_ONCE = Retry(max_attempts=3, backoff=0)


@internal_mutation
def hold(ctx: MutationCtx, *, seconds: float) -> None:
    """Keep all other writers waiting."""
    ctx.db.insert(Note(text="held"))
    time.sleep(seconds)


# --- leases that cannot be renewed -----------------------------------------------------------------------------------


def test_a_mutation_that_writes_longer_than_a_lease(tmp_path: Path) -> None:
    """A worker that cannot renew its lease during a long mutation of its own process keeps its action.

    It renews the lease right after the mutation, before another worker sees it expired.
    """
    work = EndlessAction(AT_ONCE)
    with (
        open_backend(tmp_path, [work.task, hold], worker_lease=LEASE) as backend,
        open_backend(tmp_path, [work.task, hold], worker_lease=LEASE) as other,
        running_worker(backend),
        running_worker(other),
    ):
        backend.ctx().scheduler.run_after(0, work.task)
        wait_until(lambda: len(work.attempts) == 1)
        time.sleep(LEASE / 2)  # until the other worker has seen it
        backend.ctx().run_mutation(hold, seconds=2 * LEASE)
        time.sleep(LEASE / 2)
        work.release()
        [job] = wait_until_ended(backend)
    assert (job.state, len(work.attempts)) == ("success", 1)


class EngineWithoutListeners:
    """An engine without listeners."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def notifications(self) -> "EngineWithoutListeners":
        return self

    def notify(self) -> None:
        self._engine.notifications.notify()

    def listen(self) -> NoReturn:
        raise PermissionError("There are no named pipes here")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def test_a_worker_without_a_pipe(tmp_path: Path) -> None:
    """A worker without a pipe renews its leases as often as others."""
    work = EndlessAction(AT_ONCE)
    with (
        open_backend(tmp_path, [work.task], worker_lease=LEASE) as backend,
        open_backend(tmp_path, [work.task], worker_lease=LEASE) as other,
    ):
        backend.engine = EngineWithoutListeners(backend.engine)
        with running_worker(backend):
            backend.ctx().scheduler.run_after(0, work.task)
            wait_until(lambda: len(work.attempts) == 1)
            with running_worker(other):
                time.sleep(2 * LEASE)
                work.release()
                [job] = wait_until_ended(other)
    assert (job.state, len(work.attempts)) == ("success", 1)


def test_suspended_processes(tmp_path: Path) -> None:
    """After a time in which no process ran, no action is lost.

    The other workers have the length of a lease to renew theirs.
    """
    work = EndlessAction()
    with open_backend(tmp_path, [work.task], worker_lease=LEASE) as backend:
        alive, leases = start_and_abandon(backend, work), LeaseMonitor(backend)
        assert leases.end_lost_attempts() == 0
        time.sleep(2 * LEASE)
        assert leases.end_lost_attempts() == 0
        alive.renew_leases()
        assert leases.end_lost_attempts() == 0
        work.release()
        assert alive.wait(PATIENCE)
        assert [job.state for job in all_jobs(backend)] == ["success"]


# --- functions that the checking process does not know ---------------------------------------------------------------


def test_a_lost_action_of_a_newer_version(tmp_path: Path) -> None:
    """A worker leaves a lost action of an unknown function to a worker that knows its retry policy."""
    work = EndlessAction(AT_ONCE)
    with (
        open_backend(tmp_path, [work.task], worker_lease=LEASE) as newer,
        open_backend(tmp_path, worker_lease=LEASE) as older,
    ):
        abandoned = start_and_abandon(newer, work)
        with running_worker(older):
            time.sleep(1.5 * LEASE)
            assert [job.state for job in all_jobs(older)] == ["inProgress"]
        with running_worker(newer):
            [job] = wait_until_ended(newer)
        work.release()
        assert abandoned.wait(PATIENCE)
    assert [attempt.outcome for attempt in job.attempts] == ["lost", "success"]


def test_a_lost_action_that_no_worker_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost action of a function that no worker knows fails after a grace."""
    monkeypatch.setattr("flask_convex_http.worker.lost_actions._UNKNOWN_FUNCTION_GRACE", 0.2)
    work = EndlessAction(AT_ONCE)
    with (
        open_backend(tmp_path, [work.task], worker_lease=LEASE) as newer,
        open_backend(tmp_path, worker_lease=LEASE) as older,
    ):
        abandoned = start_and_abandon(newer, work)
        with running_worker(older):
            [job] = wait_until_ended(older)
        work.release()
        assert abandoned.wait(PATIENCE)
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("failed", ["lost"])


# --- actions that were canceled while they ran -----------------------------------------------------------------------


def test_a_lost_action_that_was_canceled(tmp_path: Path) -> None:
    """The attempt of a canceled action is lost when its worker dies."""
    work = EndlessAction(AT_ONCE)
    with open_backend(tmp_path, [work.task], worker_lease=LEASE) as backend:
        abandoned = start_and_abandon(backend, work)
        [job] = all_jobs(backend)
        backend.ctx().scheduler.cancel(job.id)
        with running_worker(backend):
            [job] = wait_until_ended(backend)
        work.release()
        assert abandoned.wait(PATIENCE)
        assert get_job(backend, job.id) == job
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("canceled", ["lost"])


def test_a_running_action_that_was_canceled(tmp_path: Path) -> None:
    """A canceled action that runs keeps its lease until it ends."""
    work = EndlessAction(AT_ONCE)
    with (
        open_backend(tmp_path, [work.task], worker_lease=LEASE) as backend,
        open_backend(tmp_path, [work.task], worker_lease=LEASE) as other,
        running_worker(backend),
        running_worker(other),
    ):
        job_id = backend.ctx().scheduler.run_after(0, work.task)
        wait_until(lambda: len(work.attempts) == 1)
        other.ctx().scheduler.cancel(job_id)
        time.sleep(2 * LEASE)
        assert get_job(other, job_id).completed_time is None
        work.release()
        [job] = wait_until_ended(other)
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("canceled", ["success"])
