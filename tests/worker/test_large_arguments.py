"""Many rows with large arguments: what runs or forgets them never has more than a few in memory, nor in its way."""

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

from flask_convex_http import ActionCtx, MutationCtx, internal_action, internal_mutation
from flask_convex_http.testing import Clock
from flask_convex_http.worker.cleanup import Cleaner
from flask_convex_http.worker.mutation_runner import MutationRunner
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.worker.runs import opened, rows

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

#: How long the arguments are, and of how many rows.
SIZE = 200_000
COUNT = 60


@internal_mutation
def work(ctx: MutationCtx, *, text: str) -> None:
    """Take longer than a transaction should."""
    time.sleep(0.02)


@internal_action
def act(ctx: ActionCtx, *, text: str) -> None: ...


@internal_mutation
def schedule(ctx: MutationCtx) -> None:
    for _ in range(COUNT):
        ctx.scheduler.run_after(0, work, text="x" * SIZE)


@internal_mutation
def schedule_and_cancel(ctx: MutationCtx) -> None:
    """Leave as many rows that have ended of each kind."""
    for _ in range(COUNT // 2):
        ctx.scheduler.cancel(ctx.scheduler.run_after(0, work, text="x" * SIZE))
        ctx.scheduler.cancel(ctx.scheduler.run_after(0, act, text="x" * SIZE))


class Peak:
    """The most memory that was in use at a time.

    Attributes:
        rows: How many rows' arguments it would hold.
    """

    rows = 0.0


@contextmanager
def measured() -> Iterator[Peak]:
    """What the block needs more than what is there before it."""
    peak = Peak()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield peak
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    peak.rows = (most - before) / SIZE


def test_running(tmp_path: Path) -> None:
    """A transaction that has time for one mutation reads a few of those that are due, not all that it could run if they
    were quicker."""
    with opened(tmp_path, [work, schedule]) as backend:
        backend.ctx().run_mutation(schedule)
        with measured() as peak:
            assert len(MutationRunner(backend, nullcontext).run()) == 1
    assert peak.rows < 12


def test_forgetting(tmp_path: Path) -> None:
    """A transaction that forgets some rows reads so many and no more, whatever they were and ended with."""
    clock = Clock()
    with opened(tmp_path, [work, act, schedule_and_cancel], clock=clock) as backend:
        for _ in range(2):
            backend.ctx().run_mutation(schedule_and_cancel)
        clock.advance(timedelta(days=8))
        with measured() as peak:
            assert Cleaner(backend).purge()
        forgotten = 2 * COUNT - len(rows(backend))
    assert 0 < peak.rows < 3 * forgotten  # each is there twice: as it was stored, and as a document
