"""Cleanup: ended jobs are kept for the configured days and then deleted in small batches. Others stay."""

from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http import MutationCtx, internal_mutation
from flask_convex_http.backend import Backend
from flask_convex_http.testing import Clock, run_scheduled
from flask_convex_http.worker.cleanup import Cleaner
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.sqlite.crews import wait_until
from tests.worker.workers import Boom, all_jobs, open_backend, run_all, running_worker, write_note

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

DAY = timedelta(days=1)


@internal_mutation
def fail(ctx: MutationCtx) -> None:
    raise Boom


@internal_mutation
def schedule_many(ctx: MutationCtx, *, count: int) -> None:
    for _ in range(count):
        ctx.scheduler.run_after(0, write_note, text="one of many")


def schedule_all_kinds(backend: Backend) -> None:
    """Schedule a job that succeeds, one that fails, one that is canceled and one for much later."""
    scheduler = backend.ctx().scheduler
    scheduler.run_after(0, write_note, text="a")
    scheduler.run_after(0, fail)
    scheduler.cancel(scheduler.run_after(3600, write_note, text="b"))
    scheduler.run_after(DAY * 365, write_note, text="c")


@pytest.mark.parametrize(("config", "days"), [({}, 7.0), ({"scheduled_retention_days": 0.5}, 0.5)], ids=["7", "0.5"])
def test_retention_of_ended_jobs(config: dict[str, float], days: float, tmp_path: Path) -> None:
    """An ended job is deleted after `scheduled_retention_days`, counted from its end. The default is a week.

    Pending jobs stay.
    """
    clock = Clock()
    with open_backend(tmp_path, [fail], clock=clock, **config) as backend:
        schedule_all_kinds(backend)
        clock.advance(timedelta(hours=1))
        run_scheduled(backend)
        cleaner = Cleaner(backend)
        clock.advance(timedelta(days=days, hours=-1, seconds=-1))
        cleaner.purge()
        assert sorted(job.state for job in all_jobs(backend)) == ["canceled", "failed", "pending", "success"]
        clock.advance(timedelta(hours=1))  # the canceled job ended an hour before the others
        cleaner.purge()
        assert sorted(job.state for job in all_jobs(backend)) == ["failed", "pending", "success"]
        clock.advance(timedelta(seconds=2))
        cleaner.purge()
        assert [job.state for job in all_jobs(backend)] == ["pending"]


def test_an_overdue_job_is_kept(tmp_path: Path) -> None:
    """A job that is years overdue is kept, and runs."""
    clock = Clock()
    with open_backend(tmp_path, clock=clock) as backend:
        backend.ctx().scheduler.run_after(0, write_note, text="late")
        clock.advance(1000 * DAY)
        Cleaner(backend).purge()
        assert [job.state for job in run_scheduled(backend)] == ["success"]


def test_batches(tmp_path: Path) -> None:
    """Each batch deletes a limited number of rows, until all are deleted."""
    clock = Clock()
    with open_backend(tmp_path, [schedule_many], clock=clock) as backend:
        backend.ctx().run_mutation(schedule_many, count=999)
        backend.ctx().run_mutation(schedule_many, count=300)
        run_all(backend)
        clock.advance(8 * DAY)
        left, cleaner = [len(all_jobs(backend))], Cleaner(backend)
        while cleaner.purge():
            left.append(len(all_jobs(backend)))
        assert left == list(range(1299, 0, -50))
        assert all_jobs(backend) == []
        assert cleaner.purge() is False


def test_a_worker_deletes_all_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_polling: None) -> None:
    """A worker deletes all batches at once if it has no other work."""
    monkeypatch.setattr("flask_convex_http.worker.worker.random.uniform", lambda low, high: low)
    clock = Clock()
    with open_backend(tmp_path, [schedule_many], clock=clock) as backend:
        backend.ctx().run_mutation(schedule_many, count=200)
        run_scheduled(backend)
        clock.advance(8 * DAY)
        with running_worker(backend):
            wait_until(lambda: all_jobs(backend) == [])


def test_a_worker_cleans_up_at_an_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker deletes expired rows at an interval."""
    monkeypatch.setattr("flask_convex_http.worker.worker._CLEANUP_INTERVAL", 0.2)
    clock = Clock()
    with open_backend(tmp_path, [fail], clock=clock, worker_lease=0.5) as backend:
        schedule_all_kinds(backend)
        run_scheduled(backend)
        with running_worker(backend):
            clock.advance(8 * DAY)
            wait_until(lambda: [job.state for job in all_jobs(backend)] == ["pending"])
