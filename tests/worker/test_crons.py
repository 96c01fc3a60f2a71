"""Crons with a running worker: one that is always due, and a last job that has not ended."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http import ActionCtx, Crons, MutationCtx, internal_action, internal_mutation
from flask_convex_http.backend import Backend
from flask_convex_http.database.query import Query
from flask_convex_http.schema.system_tables import CronJob
from flask_convex_http.testing import Clock
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.sqlite.crews import PATIENCE, wait_until
from tests.worker.workers import Note, all_jobs, get_job, open_backend, running_worker, write_note, written_notes

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

MINUTE = timedelta(minutes=1)


class FastClock(Clock):
    """A clock that advances a minute at each look."""

    def __call__(self) -> float:
        self.advance(MINUTE)
        return super().__call__()


@internal_mutation
def tick(ctx: MutationCtx) -> None:
    """Insert a note."""
    ctx.db.insert(Note(text="tick"))


def next_tick(backend: Backend) -> float:
    """Return the next tick of the only cron."""
    table = backend.schema.table_for(CronJob)
    with backend.engine.snapshot() as snapshot:
        found = Query(snapshot, table, table.indexes["by_creation_time"]).unique()
    assert found is not None
    return found.next_tick


def test_a_cron_that_is_always_due(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A cron that is always due does not keep mutations, actions or its own jobs from running."""
    caplog.set_level("ERROR", logger="flask_convex_http")  # each round logs how many ticks it skipped
    acted = threading.Event()

    @internal_action
    def act(ctx: ActionCtx) -> None:
        acted.set()

    crons = Crons()
    crons.interval("always due", 1, tick)
    with open_backend(tmp_path, [tick, act], crons, clock=FastClock()) as backend:
        backend.ctx().scheduler.run_after(0, write_note, text="a mutation")
        backend.ctx().scheduler.run_after(0, act)
        with running_worker(backend):
            wait_until(lambda: {"a mutation", "tick"} <= set(written_notes(backend)))
            assert acted.wait(PATIENCE)


def test_a_canceled_action_still_blocks_its_cron(tmp_path: Path) -> None:
    """A cron skips its ticks until a job that was canceled while it runs has ended."""
    begun: list[str] = []
    end = threading.Event()

    @internal_action
    def act(ctx: ActionCtx) -> None:
        begun.append(ctx.idempotency_token)
        assert end.wait(PATIENCE)

    crons, clock = Crons(), Clock()
    crons.interval("each minute", MINUTE, act)
    with open_backend(tmp_path, [act], crons, clock=clock, worker_lease=0.5) as backend, running_worker(backend):
        wait_until(lambda: len(begun) == 1)
        [job] = all_jobs(backend)
        backend.ctx().scheduler.cancel(job.id)
        clock.advance(MINUTE * 1.5)
        wait_until(lambda: next_tick(backend) > clock())
        assert len(all_jobs(backend)) == 1
        end.set()
        wait_until(lambda: get_job(backend, job.id).completed_time is not None)
        clock.advance(MINUTE)
        wait_until(lambda: len(begun) == 2)
