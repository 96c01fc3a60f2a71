"""Forgetting: what has ended is kept for the days set, then it goes, a little at a time; what has not ended stays."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http import MutationCtx, internal_mutation
from flask_convex_http.backend import Backend
from flask_convex_http.testing import Clock, run_scheduled
from flask_convex_http.worker.cleanup import Cleaner
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.sqlite.crews import wait_until
from tests.worker.runs import Boom, opened, rows, run_all, working, write_down

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

DAY = timedelta(days=1)


@internal_mutation
def fail(ctx: MutationCtx) -> None:
    raise Boom


@internal_mutation
def schedule_many(ctx: MutationCtx, *, count: int) -> None:
    for _ in range(count):
        ctx.scheduler.run_after(0, write_down, text="one of many")


def schedule_all_kinds(backend: Backend) -> None:
    """One that will succeed, one that will fail, one that is canceled and one for much later."""
    scheduler = backend.ctx().scheduler
    scheduler.run_after(0, write_down, text="a")
    scheduler.run_after(0, fail)
    scheduler.cancel(scheduler.run_after(3600, write_down, text="b"))
    scheduler.run_after(DAY * 365, write_down, text="c")


@pytest.mark.parametrize(("config", "days"), [({}, 7.0), ({"scheduled_retention_days": 0.5}, 0.5)], ids=["7", "0.5"])
def test_what_has_ended_is_kept_for_some_days(config: dict[str, float], days: float, tmp_path: Path) -> None:
    """Whatever a scheduled function ended with, its row is there for the days that are set, a week if none are, counted
    from its end; then it goes. What is pending stays."""
    clock = Clock()
    with opened(tmp_path, [fail], clock=clock, **config) as backend:
        schedule_all_kinds(backend)
        clock.advance(timedelta(hours=1))
        run_scheduled(backend)
        housekeeping = Cleaner(backend)
        clock.advance(timedelta(days=days, hours=-1, seconds=-1))
        housekeeping.purge()
        assert sorted(job.state for job in rows(backend)) == ["canceled", "failed", "pending", "success"]
        clock.advance(timedelta(hours=1))  # the one that was canceled has ended an hour before the others
        housekeeping.purge()
        assert sorted(job.state for job in rows(backend)) == ["failed", "pending", "success"]
        clock.advance(timedelta(seconds=2))
        housekeeping.purge()
        assert [job.state for job in rows(backend)] == ["pending"]


def test_what_is_overdue_is_not_forgotten(tmp_path: Path) -> None:
    """What should have run years ago, because there was no worker, is there still and runs."""
    clock = Clock()
    with opened(tmp_path, clock=clock) as backend:
        backend.ctx().scheduler.run_after(0, write_down, text="late")
        clock.advance(1000 * DAY)
        Cleaner(backend).purge()
        assert [job.state for job in run_scheduled(backend)] == ["success"]


def test_a_little_at_a_time(tmp_path: Path) -> None:
    """One round removes a bounded number and says whether there is more; round after round all of it goes."""
    clock = Clock()
    with opened(tmp_path, [schedule_many], clock=clock) as backend:
        backend.ctx().run_mutation(schedule_many, count=999)
        backend.ctx().run_mutation(schedule_many, count=300)
        run_all(backend)
        clock.advance(8 * DAY)
        left, housekeeping = [len(rows(backend))], Cleaner(backend)
        while housekeeping.purge():
            left.append(len(rows(backend)))
        assert left == list(range(1299, 0, -50))
        assert rows(backend) == []
        assert housekeeping.purge() is False


def test_a_worker_does_not_stop_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has nothing else to do, and does not have to keep house for long afterwards, forgets all there is
    at once."""
    monkeypatch.setattr("flask_convex_http.worker.worker.random.uniform", lambda low, high: low)
    clock = Clock()
    with opened(tmp_path, [schedule_many], clock=clock) as backend:
        backend.ctx().run_mutation(schedule_many, count=200)
        run_scheduled(backend)
        clock.advance(8 * DAY)
        start = time.monotonic()
        with working(backend):
            wait_until(lambda: rows(backend) == [])
        assert time.monotonic() - start < 4


def test_a_worker_keeps_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker forgets by itself, once in a while."""
    monkeypatch.setattr("flask_convex_http.worker.worker._CLEANUP_INTERVAL", 0.2)
    clock = Clock()
    with opened(tmp_path, [fail], clock=clock, worker_lease=0.5) as backend:
        schedule_all_kinds(backend)
        run_scheduled(backend)
        with working(backend):
            clock.advance(8 * DAY)
            wait_until(lambda: [job.state for job in rows(backend)] == ["pending"])
