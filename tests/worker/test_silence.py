"""Silence that means nothing, and silence that does: whose actions are taken for lost when nobody could show life, when
the judge does not know the function, and when they were canceled meanwhile."""

import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from flask_convex_http import MutationCtx, Retry, internal_mutation
from flask_convex_http.engines import Engine
from flask_convex_http.worker.lost_actions import LeaseMonitor
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.sqlite.crews import PATIENCE, wait_until
from tests.worker.runs import Note, opened, row, rows, wait_until_ended, working
from tests.worker.test_lost_workers import LEASE, Endless, start_and_vanish

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

AT_ONCE = Retry(max_attempts=3, backoff=0)


@internal_mutation
def hold(ctx: MutationCtx, *, seconds: float) -> None:
    """Keep everybody else from writing."""
    ctx.db.insert(Note(text="held"))
    time.sleep(seconds)


# --- who could not show life -----------------------------------------------------------------------------------------


def test_a_mutation_that_writes_longer_than_a_lease(tmp_path: Path) -> None:
    """A worker whose own process writes for longer than a lease cannot show life meanwhile; it does so right
    afterwards, and no other worker has taken its action by then."""
    work = Endless(AT_ONCE)
    with (
        opened(tmp_path, [work.task, hold], worker_lease=LEASE) as backend,
        opened(tmp_path, [work.task, hold], worker_lease=LEASE) as other,
        working(backend),
        working(other),
    ):
        backend.ctx().scheduler.run_after(0, work.task)
        wait_until(lambda: len(work.attempts) == 1)
        time.sleep(LEASE / 2)  # until the other one has seen it
        backend.ctx().run_mutation(hold, seconds=2 * LEASE)
        time.sleep(LEASE / 2)
        work.let_go()
        [job] = wait_until_ended(backend)
    assert (job.state, len(work.attempts)) == ("success", 1)


class Deaf:
    """An engine that nobody can listen at."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def listen(self) -> NoReturn:
        raise PermissionError("There are no named pipes here")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def test_a_worker_that_nobody_can_wake(tmp_path: Path) -> None:
    """A worker without a pipe of its own shows life as often as others do."""
    work = Endless(AT_ONCE)
    with (
        opened(tmp_path, [work.task], worker_lease=LEASE) as backend,
        opened(tmp_path, [work.task], worker_lease=LEASE) as other,
    ):
        backend.engine = Deaf(backend.engine)
        with working(backend):
            backend.ctx().scheduler.run_after(0, work.task)
            wait_until(lambda: len(work.attempts) == 1)
            with working(other):
                time.sleep(2 * LEASE)
                work.let_go()
                [job] = wait_until_ended(other)
    assert (job.state, len(work.attempts)) == ("success", 1)


def test_all_of_them_were_frozen(tmp_path: Path) -> None:
    """After a time in which nobody ran, the judge as little as those it watches, the first one awake takes nothing from
    the others; they have the time of a lease to show life."""
    work = Endless()
    with opened(tmp_path, [work.task], worker_lease=LEASE) as backend:
        living, leases = start_and_vanish(backend, work), LeaseMonitor(backend)
        assert leases.end_lost_attempts() == 0
        time.sleep(2 * LEASE)
        assert leases.end_lost_attempts() == 0
        living.renew_leases()
        assert leases.end_lost_attempts() == 0
        work.let_go()
        assert living.wait(PATIENCE)
        assert [job.state for job in rows(backend)] == ["success"]


# --- functions that the judge does not know --------------------------------------------------------------------------


def test_an_action_that_only_a_newer_version_knows(tmp_path: Path) -> None:
    """A worker that does not know the function cannot know whether it may be tried again; it leaves that to one that
    does."""
    work = Endless(AT_ONCE)
    with (
        opened(tmp_path, [work.task], worker_lease=LEASE) as newer,
        opened(tmp_path, worker_lease=LEASE) as older,
    ):
        vanished = start_and_vanish(newer, work)
        with working(older):
            time.sleep(1.5 * LEASE)
            assert [job.state for job in rows(older)] == ["inProgress"]
        with working(newer):
            [job] = wait_until_ended(newer)
        work.let_go()
        assert vanished.wait(PATIENCE)
    assert [attempt.outcome for attempt in job.attempts] == ["lost", "success"]


def test_an_action_that_nobody_knows_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody who knows the function comes for long, the action has failed nevertheless."""
    monkeypatch.setattr("flask_convex_http.worker.lost_actions._UNKNOWN_FUNCTION_GRACE", 0.2)
    work = Endless(AT_ONCE)
    with opened(tmp_path, [work.task], worker_lease=LEASE) as newer, opened(tmp_path, worker_lease=LEASE) as older:
        vanished = start_and_vanish(newer, work)
        with working(older):
            [job] = wait_until_ended(older)
        work.let_go()
        assert vanished.wait(PATIENCE)
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("failed", ["lost"])


# --- canceled while they ran -----------------------------------------------------------------------------------------


def test_the_worker_of_a_canceled_action_dies(tmp_path: Path) -> None:
    """An action that was canceled while it ran ends with its worker, and its attempt is lost."""
    work = Endless(AT_ONCE)
    with opened(tmp_path, [work.task], worker_lease=LEASE) as backend:
        vanished = start_and_vanish(backend, work)
        [job] = rows(backend)
        backend.ctx().scheduler.cancel(job.id)
        with working(backend):
            [job] = wait_until_ended(backend)
        work.let_go()
        assert vanished.wait(PATIENCE)
        assert row(backend, job.id) == job
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("canceled", ["lost"])


def test_the_worker_of_a_canceled_action_lives(tmp_path: Path) -> None:
    """An action that was canceled while it runs keeps its worker's signs of life, and ends when it does."""
    work = Endless(AT_ONCE)
    with (
        opened(tmp_path, [work.task], worker_lease=LEASE) as backend,
        opened(tmp_path, [work.task], worker_lease=LEASE) as other,
        working(backend),
        working(other),
    ):
        job_id = backend.ctx().scheduler.run_after(0, work.task)
        wait_until(lambda: len(work.attempts) == 1)
        other.ctx().scheduler.cancel(job_id)
        time.sleep(2 * LEASE)
        assert row(other, job_id).completed_time is None
        work.let_go()
        [job] = wait_until_ended(other)
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("canceled", ["success"])
