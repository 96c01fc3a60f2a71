"""Actions whose worker is gone, and clocks that jump: who shows signs of life is alive, who shows none is not."""

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import ActionCtx, Retry, internal_action
from flask_convex_http.backend import Backend
from flask_convex_http.engines import Engine, Transaction
from flask_convex_http.testing import Clock
from flask_convex_http.worker.action_runner import ActionRunner
from flask_convex_http.worker.lost_actions import LeaseMonitor
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.sqlite.crews import PATIENCE, wait_until
from tests.worker.runs import opened, row, rows, wait_until_ended, working, write_down, written

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

HOUR = timedelta(hours=1)
#: Seconds; a worker then looks at the time about ten times a second.
LEASE = 0.8
JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "backward"])
RETRIES = pytest.mark.parametrize(
    "retry", [None, Retry(max_attempts=3, backoff=0)], ids=["without a retry", "with a retry"]
)


class Endless:
    """An action whose first attempt goes on until it is told to end; the others end at once.

    Attributes:
        attempts: Number and token of each attempt.
    """

    def __init__(self, retry: Retry | None = None) -> None:
        self.attempts: list[tuple[int, str]] = []
        self._end = threading.Event()

        @internal_action(retry=retry)
        def task(ctx: ActionCtx) -> None:
            self.attempts.append((ctx.attempt, ctx.idempotency_token))
            if ctx.attempt == 1:
                assert self._end.wait(PATIENCE)

        self.task = task

    def let_go(self) -> None:
        """Let the first attempt end."""
        self._end.set()


def start_and_vanish(backend: Backend, work: Endless) -> ActionRunner:
    """Leave what a worker leaves that was killed while it ran an action: a row that nobody renews."""
    backend.ctx().scheduler.run_after(0, work.task)
    vanished = ActionRunner(backend, nullcontext, lambda: None)
    vanished.start_due()
    wait_until(lambda: len(work.attempts) == 1)
    return vanished


# --- those who are gone ----------------------------------------------------------------------------------------------


@RETRIES
def test_an_action_whose_worker_is_gone(retry: Retry | None, tmp_path: Path) -> None:
    """It has failed, or is tried again with the same token; and when the worker was not gone after all, what it makes
    of the action counts for nothing."""
    work = Endless(retry)
    with opened(tmp_path, [work.task], worker_lease=LEASE) as backend:
        vanished = start_and_vanish(backend, work)
        with working(backend):
            [job] = wait_until_ended(backend)
        work.let_go()
        assert vanished.wait(PATIENCE)
        assert row(backend, job.id) == job
    lost, *others = job.attempts
    assert (lost.outcome, lost.error) == ("lost", "The worker that ran it died")
    assert lost.ended is not None
    assert lost.ended - lost.started >= LEASE * 1000
    assert [attempt.outcome for attempt in others] == (["success"] if retry else [])
    assert job.state == ("success" if retry else "failed")
    assert work.attempts == [(number, job.id) for number in range(1, len(job.attempts) + 1)]


def test_the_last_attempt_of_a_worker_that_is_gone(tmp_path: Path) -> None:
    """Attempts that were lost count like others: when there are no more, the action has failed."""
    tokens: list[str] = []
    end = threading.Event()

    @internal_action(retry=Retry(max_attempts=2, backoff=0))
    def task(ctx: ActionCtx) -> None:
        tokens.append(ctx.idempotency_token)
        assert end.wait(PATIENCE)

    with opened(tmp_path, [task], worker_lease=LEASE) as backend:
        job_id = backend.ctx().scheduler.run_after(0, task)
        vanished = [ActionRunner(backend, nullcontext, lambda: None) for _ in range(2)]
        leases = LeaseMonitor(backend)
        for each in vanished:
            wait_until(lambda each=each: each.start_due() == 1)  # type: ignore[misc]  # bound now, not later
            wait_until(lambda: leases.end_lost_attempts() == 1)
        job = row(backend, job_id)
        end.set()
        assert all(each.wait(PATIENCE) for each in vanished)
        assert row(backend, job_id) == job
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("failed", ["lost", "lost"])
    assert tokens == [job_id, job_id]


def test_an_action_that_was_canceled_when_its_worker_died(tmp_path: Path) -> None:
    """What was canceled while it ran is not tried again when its worker is gone."""
    work = Endless(Retry(max_attempts=3, backoff=0))
    with opened(tmp_path, [work.task], worker_lease=LEASE) as backend:
        vanished = start_and_vanish(backend, work)
        [job] = rows(backend)
        backend.ctx().scheduler.cancel(job.id)
        with working(backend):
            time.sleep(3 * LEASE)
        assert (row(backend, job.id).state, len(work.attempts)) == ("canceled", 1)
        work.let_go()
        assert vanished.wait(PATIENCE)


def test_a_sign_of_life_at_the_last_moment(tmp_path: Path) -> None:
    """A worker that shows that it lives after it was taken for dead, but before that was written, keeps its action."""
    work = Endless()
    with opened(tmp_path, [work.task], worker_lease=LEASE) as backend:
        living = start_and_vanish(backend, work)
        leases = LeaseMonitor(backend)
        for pause in (0.5 * LEASE, 0.6 * LEASE):
            assert leases.end_lost_attempts() == 0
            time.sleep(pause)
        backend.engine = Interrupted(backend.engine, living.renew_leases)
        assert leases.end_lost_attempts() == 1
        assert [job.state for job in rows(backend)] == ["inProgress"]
        work.let_go()
        assert living.wait(PATIENCE)
        assert [job.state for job in rows(backend)] == ["success"]


class Interrupted:
    """An engine before whose next write something else happens."""

    def __init__(self, engine: Engine, first: Callable[[], None]) -> None:
        self._engine = engine
        self._first: list[Callable[[], None]] = [first]

    def write(self, work: Callable[[Transaction], Any], **options: Any) -> Any:
        if self._first:
            self._first.pop()()
        return self._engine.write(work, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@RETRIES
def test_a_long_action_of_a_worker_that_lives(retry: Retry | None, tmp_path: Path) -> None:
    """An action may take many times as long as a lease: its worker shows that it lives, and no other one takes it."""
    work = Endless(retry)
    with (
        opened(tmp_path, [work.task], worker_lease=LEASE) as backend,
        opened(tmp_path, [work.task], worker_lease=LEASE) as other,
        working(backend),
        working(other),
    ):
        backend.ctx().scheduler.run_after(0, work.task)
        time.sleep(3 * LEASE)
        work.let_go()
        [job] = wait_until_ended(backend)
    assert (job.state, len(work.attempts)) == ("success", 1)


# --- clocks that jump ------------------------------------------------------------------------------------------------


@JUMPS
@RETRIES
def test_a_jump_kills_nobody(jump: timedelta, retry: Retry | None, tmp_path: Path) -> None:
    """When the clock jumps while an action runs, no worker takes it for lost."""
    clock, work = Clock(), Endless(retry)
    with (
        opened(tmp_path, [work.task], clock=clock, worker_lease=LEASE) as backend,
        opened(tmp_path, [work.task], clock=clock, worker_lease=LEASE) as other,
        working(backend),
        working(other),
    ):
        backend.ctx().scheduler.run_after(0, work.task)
        wait_until(lambda: len(work.attempts) == 1)
        for _ in range(2):
            clock.advance(jump)
            time.sleep(LEASE)
        work.let_go()
        [job] = wait_until_ended(backend)
    assert (job.state, len(work.attempts), len(job.attempts)) == ("success", 1, 1)


@JUMPS
@RETRIES
def test_a_jump_hides_nobody(jump: timedelta, retry: Retry | None, tmp_path: Path) -> None:
    """When the clock jumps after a worker has died, what it ran is found nevertheless, and soon."""
    clock, work = Clock(), Endless(retry)
    with opened(tmp_path, [work.task], clock=clock, worker_lease=LEASE) as backend:
        vanished = start_and_vanish(backend, work)
        clock.advance(jump)
        with working(backend):
            [job] = wait_until_ended(backend)
        work.let_go()
        assert vanished.wait(PATIENCE)
    assert [attempt.outcome for attempt in job.attempts] == (["lost", "success"] if retry else ["lost"])


def test_what_is_due_later_waits_for_the_clock(tmp_path: Path) -> None:
    """While the clock says that it is not time yet, nothing runs, however long that takes; when it is set back, what
    is due then waits longer, and what is scheduled meanwhile does not wait for it."""
    clock = Clock()
    with opened(tmp_path, clock=clock, worker_lease=LEASE) as backend, working(backend):
        backend.ctx().scheduler.run_after(1800, write_down, text="later")
        clock.advance(-HOUR)
        backend.ctx().scheduler.run_after(0, write_down, text="now")
        wait_until(lambda: written(backend) == ["now"])
        clock.advance(HOUR + timedelta(seconds=1799))
        time.sleep(3 * LEASE)
        assert written(backend) == ["now"]
        clock.advance(timedelta(seconds=1))
        wait_until(lambda: written(backend) == ["now", "later"])


def test_a_jump_forward_makes_things_due(tmp_path: Path) -> None:
    """When the clock jumps beyond the time of what was scheduled, it runs soon, in the order of its time."""
    clock = Clock(datetime(2030, 1, 1, tzinfo=UTC))
    with opened(tmp_path, clock=clock, worker_lease=LEASE) as backend, working(backend):
        for minutes in (30, 10, 20, 90):
            backend.ctx().scheduler.run_after(60 * minutes, write_down, text=str(minutes))
        clock.advance(HOUR)
        wait_until(lambda: written(backend) == ["10", "20", "30"])


def test_an_attempt_waits_as_the_clock_says(tmp_path: Path) -> None:
    """The wait between two attempts ends when the clock jumps beyond it."""
    clock, attempts = Clock(), []

    @internal_action(retry=Retry(max_attempts=2, backoff=1000))
    def task(ctx: ActionCtx) -> Any:
        attempts.append(ctx.attempt)
        return 1 / (ctx.attempt - 1)

    with opened(tmp_path, [task], clock=clock, worker_lease=LEASE) as backend, working(backend):
        job_id = backend.ctx().scheduler.run_after(0, task)
        wait_until(lambda: row(backend, job_id).attempts != [] and row(backend, job_id).state == "pending")
        clock.advance(timedelta(seconds=1250))
        wait_until_ended(backend)
    assert attempts == [1, 2]
