"""Crons at work: what one that is always due leaves to the others, and what counts as a run that has not ended."""

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
from tests.worker.runs import Note, opened, row, rows, working, write_down, written

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

MINUTE = timedelta(minutes=1)


class Hurry(Clock):
    """A clock that shows a later minute whenever somebody looks."""

    def __call__(self) -> float:
        self.advance(MINUTE)
        return super().__call__()


@internal_mutation
def tick(ctx: MutationCtx) -> None:
    ctx.db.insert(Note(text="tick"))


def next_tick(backend: Backend) -> float:
    """When the only cron is to fire next."""
    table = backend.schema.table_for(CronJob)
    with backend.engine.snapshot() as snapshot:
        found = Query(snapshot, table, table.indexes["by_creation_time"]).unique()
    assert found is not None
    return found.next_tick


def test_a_cron_that_is_always_due(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A cron whose next tick is due before its last one is written keeps nothing else from running, neither mutations
    nor actions nor its own runs."""
    caplog.set_level("ERROR", logger="flask_convex_http")  # it says of each round how many ticks it was late
    acted = threading.Event()

    @internal_action
    def act(ctx: ActionCtx) -> None:
        acted.set()

    crons = Crons()
    crons.interval("always due", 1, tick)
    with opened(tmp_path, [tick, act], crons, clock=Hurry()) as backend:
        backend.ctx().scheduler.run_after(0, write_down, text="a mutation")
        backend.ctx().scheduler.run_after(0, act)
        with working(backend):
            wait_until(lambda: {"a mutation", "tick"} <= set(written(backend)))
            assert acted.wait(PATIENCE)


def test_a_canceled_run_goes_on(tmp_path: Path) -> None:
    """A run that was canceled while it runs has not ended: until it has, its cron skips its ticks."""
    begun: list[str] = []
    end = threading.Event()

    @internal_action
    def act(ctx: ActionCtx) -> None:
        begun.append(ctx.idempotency_token)
        assert end.wait(PATIENCE)

    crons, clock = Crons(), Clock()
    crons.interval("each minute", MINUTE, act)
    with opened(tmp_path, [act], crons, clock=clock, worker_lease=0.5) as backend, working(backend):
        wait_until(lambda: len(begun) == 1)
        [job] = rows(backend)
        backend.ctx().scheduler.cancel(job.id)
        clock.advance(MINUTE * 1.5)
        wait_until(lambda: next_tick(backend) > clock())
        assert len(rows(backend)) == 1
        end.set()
        wait_until(lambda: row(backend, job.id).completed_time is not None)
        clock.advance(MINUTE)
        wait_until(lambda: len(begun) == 2)
