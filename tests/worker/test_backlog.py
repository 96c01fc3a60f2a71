"""A large backlog of due jobs: the last ones take no longer than the first, since an index finds them.

WORKER_BACKLOG is the number of jobs.
"""

import statistics
import time
from pathlib import Path

import pytest

from flask_convex_http import ActionCtx, MutationCtx, internal_action, internal_mutation
from flask_convex_http.backend import Backend
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.engines import Transaction
from flask_convex_http.functions.function import Function
from flask_convex_http.scheduling import Submission
from flask_convex_http.sqlite.connections import sqlite3
from flask_convex_http.worker.cleanup import Cleaner
from tests.lengths import SAMPLED, repetitions
from tests.sqlite.crews import tell_statements, wait_until
from tests.worker.workers import open_backend, running_worker

BACKLOG = repetitions("WORKER_BACKLOG", sample=4000, whole=20_000)
#: The number of measurements.
PARTS = 40


@internal_mutation
def task(ctx: MutationCtx) -> None:
    pass


@internal_action
def action_task(ctx: ActionCtx) -> None:
    pass


def schedule(backend: Backend, count: int, function: Function[..., None] = task) -> None:
    """Schedule jobs in one transaction, beyond the limit of one mutation."""
    submission = Submission.of(function, backend.schema, backend.clock(), (), {})

    def work(transaction: Transaction) -> None:
        now = backend.clock()
        times = CreationTimes(now)
        for _ in range(count):
            backend.jobs.add(transaction, times, now, submission)

    backend.engine.write(work)


@SAMPLED
@pytest.mark.timeout(0 if BACKLOG > 20_000 else 300)
def test_the_last_take_no_longer_than_the_first(tmp_path: Path) -> None:
    """While a backlog is drained, the time of a job depends neither on the ended jobs nor on the pending ones."""
    ends: list[float] = []

    @internal_mutation
    def timed(ctx: MutationCtx) -> None:
        ends.append(time.process_time())  # not the wall clock, since the machine may be busy

    with open_backend(tmp_path, [timed], durability="normal") as backend:
        schedule(backend, BACKLOG, timed)
        with running_worker(backend):
            wait_until_drained(backend, ends)
    assert len(ends) == BACKLOG
    part = BACKLOG // PARTS
    times = [ends[start + part - 1] - ends[start] for start in range(0, BACKLOG, part)]
    first, last = statistics.median(times[: PARTS // 4]), statistics.median(times[-PARTS // 4 :])
    assert last < 4 * first  # other load on the machine may double it
    assert first < 4 * last


def wait_until_drained(backend: Backend, ends: list[float]) -> None:
    """Wait until all jobs have run and their commit is visible."""
    before = -1
    while len(ends) < BACKLOG:
        assert len(ends) > before, "The worker is stuck"
        before = len(ends)
        deadline = time.monotonic() + 30
        while len(ends) == before and time.monotonic() < deadline:
            time.sleep(0.05)

    def is_empty() -> bool:
        with backend.engine.snapshot() as snapshot:
            return backend.jobs.next_due(snapshot, "mutation") is None

    wait_until(is_empty)


def test_every_statement_uses_an_index(tmp_path: Path) -> None:
    """All statements of a worker about jobs, cleanup included, use the index by state or the id.

    None scans the table, and none sorts.
    """
    statements: set[str] = set()
    with open_backend(tmp_path, [task, action_task], worker_lease=1) as backend:
        schedule(backend, 300)
        schedule(backend, 5, action_task)
        tell_statements(backend.engine, statements.add)  # type: ignore[arg-type]  # it is SQLite's
        with running_worker(backend):
            wait_until(lambda: _is_drained(backend))
            Cleaner(backend).purge()
        plans = {sql: plan_of(tmp_path, sql) for sql in statements if "_scheduled_functions" in sql and _is_plain(sql)}
    asked = {sql.split()[0] for sql in plans}
    assert {"SELECT", "UPDATE"} <= asked
    for sql, plan in plans.items():
        assert "SCAN" not in plan, (sql, plan)
        assert "TEMP B-TREE" not in plan, (sql, plan)
    claims = [sql for sql in plans if sql.startswith("SELECT") and "'pending'" in sql]
    assert claims
    assert all("by_state" in plans[sql] for sql in claims)


def _is_drained(backend: Backend) -> bool:
    with backend.engine.snapshot() as snapshot:
        jobs = backend.jobs
        waiting = [
            jobs.next_due(snapshot, "mutation"),
            jobs.next_due(snapshot, "action"),
            *jobs.running_actions(snapshot),
        ]
    return waiting == [None, None]


def _is_plain(sql: str) -> bool:
    return sql.split()[0] in ("SELECT", "UPDATE", "DELETE")


def plan_of(folder: Path, sql: str) -> str:
    """Return SQLite's query plan of a statement."""
    connection = sqlite3.connect(folder / "convex.db")
    try:
        return "; ".join(str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}"))
    finally:
        connection.close()
