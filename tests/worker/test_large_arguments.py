"""Jobs with large arguments: running and deleting them holds only a few rows in memory."""

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

from flask_convex_http import ActionCtx, MutationCtx, internal_action, internal_mutation
from flask_convex_http.testing import Clock
from flask_convex_http.worker import MutationRunner
from flask_convex_http.worker.cleanup import Cleaner
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.worker.workers import all_jobs, open_backend

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

#: The bytes of one row's arguments, and the number of rows.
SIZE = 200_000
COUNT = 60


@internal_mutation
def work(ctx: MutationCtx, *, text: str) -> None:
    """Take longer than a batch should."""
    time.sleep(0.02)


@internal_action
def act(ctx: ActionCtx, *, text: str) -> None:
    """Do nothing."""


@internal_mutation
def schedule(ctx: MutationCtx) -> None:
    """Schedule mutations with large arguments."""
    for _ in range(COUNT):
        ctx.scheduler.run_after(0, work, text="x" * SIZE)


@internal_mutation
def schedule_and_cancel(ctx: MutationCtx) -> None:
    """Leave equally many ended jobs of each kind."""
    for _ in range(COUNT // 2):
        ctx.scheduler.cancel(ctx.scheduler.run_after(0, work, text="x" * SIZE))
        ctx.scheduler.cancel(ctx.scheduler.run_after(0, act, text="x" * SIZE))


class Peak:
    """The peak of the allocated memory.

    Attributes:
        rows: The number of rows whose arguments would fill it.
    """

    rows = 0.0


@contextmanager
def measured() -> Iterator[Peak]:
    """Measure the memory that the block allocates on top of the memory before it."""
    peak = Peak()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield peak
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    peak.rows = (most - before) / SIZE


def test_memory_of_a_batch(tmp_path: Path) -> None:
    """A batch with time for one mutation reads a few due rows, not as many as it could run at most."""
    with open_backend(tmp_path, [work, schedule]) as backend:
        backend.ctx().run_mutation(schedule)
        with measured() as peak:
            assert len(MutationRunner(backend, nullcontext).run()) == 1
    assert peak.rows < 12


def test_memory_of_the_cleanup(tmp_path: Path) -> None:
    """A batch of the cleanup reads only the rows that it deletes."""
    clock = Clock()
    with open_backend(tmp_path, [work, act, schedule_and_cancel], clock=clock) as backend:
        for _ in range(2):
            backend.ctx().run_mutation(schedule_and_cancel)
        clock.advance(timedelta(days=8))
        with measured() as peak:
            assert Cleaner(backend).purge()
        deleted = 2 * COUNT - len(all_jobs(backend))
    assert 0 < peak.rows < 3 * deleted  # each is in memory twice: as it is stored, and as a document
