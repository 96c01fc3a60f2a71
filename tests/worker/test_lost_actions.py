"""Actions whose worker died, and clocks that jump: only actions whose lease is not renewed are lost."""

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
from flask_convex_http.telemetry import Event, JobFinished
from flask_convex_http.testing import Clock
from flask_convex_http.worker import ActionRunner
from flask_convex_http.worker.lost_actions import LeaseMonitor
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.lengths import LONG
from tests.sqlite.crews import PATIENCE, wait_until
from tests.worker.workers import (
    all_jobs,
    get_job,
    open_backend,
    running_worker,
    wait_until_ended,
    write_note,
    written_notes,
)

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

HOUR = timedelta(hours=1)
AT_ONCE = Retry(max_attempts=3, backoff=0)
#: Seconds. A worker then sends a heartbeat several times a second.
LEASE = 0.8
#: Each way of a jump and each kind of action once; `make test-long` has the other two pairs.
JUMPS = pytest.mark.parametrize(
    ("jump", "retry"),
    [
        pytest.param(HOUR, None, id="forward, without a retry"),
        pytest.param(-HOUR, AT_ONCE, id="backward, with a retry"),
        pytest.param(HOUR, AT_ONCE, id="forward, with a retry", marks=LONG),
        pytest.param(-HOUR, None, id="backward, without a retry", marks=LONG),
    ],
)
RETRIES = pytest.mark.parametrize("retry", [None, AT_ONCE], ids=["without a retry", "with a retry"])


class EndlessAction:
    """An action whose first attempt runs until it is released; later attempts end at once.

    Attributes:
        attempts: The number and the token of each attempt.
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

    def release(self) -> None:
        """End the first attempt."""
        self._end.set()


def start_and_abandon(backend: Backend, work: EndlessAction) -> ActionRunner:
    """Start an action whose lease is not renewed, as if its worker was killed."""
    backend.ctx().scheduler.run_after(0, work.task)
    abandoned = ActionRunner(backend, nullcontext, lambda: None)
    abandoned.start_due()
    wait_until(lambda: len(work.attempts) == 1)
    return abandoned


# --- workers that died -----------------------------------------------------------------------------------------------


@RETRIES
def test_an_action_whose_worker_died(retry: Retry | None, tmp_path: Path) -> None:
    """An action whose worker died fails, or is retried with the same token.

    If that worker is alive after all, its result is ignored.
    """
    work = EndlessAction(retry)
    with open_backend(tmp_path, [work.task], worker_lease=LEASE) as backend:
        abandoned = start_and_abandon(backend, work)
        with running_worker(backend):
            [job] = wait_until_ended(backend)
        work.release()
        assert abandoned.wait(PATIENCE)
        assert get_job(backend, job.id) == job
    lost, *others = job.attempts
    assert (lost.outcome, lost.error) == ("lost", "The worker that ran it died")
    assert lost.ended is not None
    assert lost.ended - lost.started >= LEASE * 1000
    assert [attempt.outcome for attempt in others] == (["success"] if retry else [])
    assert job.state == ("success" if retry else "failed")
    assert work.attempts == [(number, job.id) for number in range(1, len(job.attempts) + 1)]


def test_lost_attempts_count(tmp_path: Path) -> None:
    """Lost attempts count towards `max_attempts`, and are events as other attempts are."""
    events: list[Event] = []
    tokens: list[str] = []
    end = threading.Event()

    @internal_action(retry=Retry(max_attempts=2, backoff=0))
    def task(ctx: ActionCtx) -> None:
        tokens.append(ctx.idempotency_token)
        assert end.wait(PATIENCE)

    with open_backend(tmp_path, [task], worker_lease=LEASE) as backend:
        backend.telemetry.subscribe(events.append)
        job_id = backend.ctx().scheduler.run_after(0, task)
        abandoned = [ActionRunner(backend, nullcontext, lambda: None) for _ in range(2)]
        leases = LeaseMonitor(backend)
        for each in abandoned:
            wait_until(lambda each=each: each.start_due() == 1)  # type: ignore[misc]  # bound now, not later
            wait_until(lambda: leases.end_lost_attempts() == 1)
        job = get_job(backend, job_id)
        end.set()
        assert all(each.wait(PATIENCE) for each in abandoned)
        assert get_job(backend, job_id) == job
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("failed", ["lost", "lost"])
    assert tokens == [job_id, job_id]
    found = [event for event in events if isinstance(event, JobFinished)]
    assert [(event.id, event.outcome, event.attempt) for event in found] == [
        (job_id, "retry", 1),
        (job_id, "failed", 2),
    ]
    assert {str(event.error) for event in found} == {"The worker that ran it died"}
    assert all(event.seconds >= LEASE for event in found)


def test_a_canceled_action_whose_worker_died(tmp_path: Path) -> None:
    """An action that was canceled while it ran is not retried when its worker dies."""
    work = EndlessAction(Retry(max_attempts=3, backoff=0))
    with open_backend(tmp_path, [work.task], worker_lease=LEASE) as backend:
        abandoned = start_and_abandon(backend, work)
        [job] = all_jobs(backend)
        backend.ctx().scheduler.cancel(job.id)
        with running_worker(backend):
            time.sleep(3 * LEASE)
        assert (get_job(backend, job.id).state, len(work.attempts)) == ("canceled", 1)
        work.release()
        assert abandoned.wait(PATIENCE)


def test_a_renewal_at_the_last_moment(tmp_path: Path) -> None:
    """A worker that renews a lease between the check and its record keeps its action."""
    work = EndlessAction()
    with open_backend(tmp_path, [work.task], worker_lease=LEASE) as backend:
        living = start_and_abandon(backend, work)
        leases = LeaseMonitor(backend)
        for pause in (0.5 * LEASE, 0.6 * LEASE):
            assert leases.end_lost_attempts() == 0
            time.sleep(pause)
        backend.engine = InterruptedEngine(backend.engine, living.renew_leases)
        assert leases.end_lost_attempts() == 1
        assert [job.state for job in all_jobs(backend)] == ["inProgress"]
        work.release()
        assert living.wait(PATIENCE)
        assert [job.state for job in all_jobs(backend)] == ["success"]


class InterruptedEngine:
    """An engine that calls a function before its next write."""

    def __init__(self, engine: Engine, first: Callable[[], None]) -> None:
        self._engine = engine
        self._first: list[Callable[[], None]] = [first]

    def write(self, work: Callable[[Transaction], Any], **options: Any) -> Any:
        if self._first:
            self._first.pop()()
        return self._engine.write(work, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@pytest.mark.parametrize("retry", [None, pytest.param(AT_ONCE, marks=LONG)], ids=["without a retry", "with a retry"])
def test_an_action_longer_than_a_lease(retry: Retry | None, tmp_path: Path) -> None:
    """An action may take many times as long as a lease, since its worker renews it."""
    work = EndlessAction(retry)
    with (
        open_backend(tmp_path, [work.task], worker_lease=LEASE) as backend,
        open_backend(tmp_path, [work.task], worker_lease=LEASE) as other,
        running_worker(backend),
        running_worker(other),
    ):
        backend.ctx().scheduler.run_after(0, work.task)
        time.sleep(3 * LEASE)
        work.release()
        [job] = wait_until_ended(backend)
    assert (job.state, len(work.attempts)) == ("success", 1)


# --- clocks that jump ------------------------------------------------------------------------------------------------


@JUMPS
def test_a_clock_jump_loses_no_action(jump: timedelta, retry: Retry | None, tmp_path: Path) -> None:
    """A jump of the clock while an action runs does not make it lost."""
    clock, work = Clock(), EndlessAction(retry)
    with (
        open_backend(tmp_path, [work.task], clock=clock, worker_lease=LEASE) as backend,
        open_backend(tmp_path, [work.task], clock=clock, worker_lease=LEASE) as other,
        running_worker(backend),
        running_worker(other),
    ):
        backend.ctx().scheduler.run_after(0, work.task)
        wait_until(lambda: len(work.attempts) == 1)
        for _ in range(2):
            clock.advance(jump)
            time.sleep(LEASE)
        work.release()
        [job] = wait_until_ended(backend)
    assert (job.state, len(work.attempts), len(job.attempts)) == ("success", 1, 1)


@JUMPS
def test_a_clock_jump_hides_no_lost_action(jump: timedelta, retry: Retry | None, tmp_path: Path) -> None:
    """A jump of the clock after a worker died does not delay the discovery of its action."""
    clock, work = Clock(), EndlessAction(retry)
    with open_backend(tmp_path, [work.task], clock=clock, worker_lease=LEASE) as backend:
        abandoned = start_and_abandon(backend, work)
        clock.advance(jump)
        with running_worker(backend):
            [job] = wait_until_ended(backend)
        work.release()
        assert abandoned.wait(PATIENCE)
    assert [attempt.outcome for attempt in job.attempts] == (["lost", "success"] if retry else ["lost"])


def test_a_job_waits_for_the_clock(tmp_path: Path) -> None:
    """A job never runs before its time by the clock.

    A clock that is set back delays it, and does not delay jobs that are scheduled afterwards.
    """
    clock = Clock()
    with open_backend(tmp_path, clock=clock, worker_lease=LEASE) as backend, running_worker(backend):
        backend.ctx().scheduler.run_after(1800, write_note, text="later")
        clock.advance(-HOUR)
        backend.ctx().scheduler.run_after(0, write_note, text="now")
        wait_until(lambda: written_notes(backend) == ["now"])
        clock.advance(HOUR + timedelta(seconds=1799))
        time.sleep(3 * LEASE)
        assert written_notes(backend) == ["now"]
        clock.advance(timedelta(seconds=1))
        wait_until(lambda: written_notes(backend) == ["now", "later"])


def test_a_clock_jump_makes_jobs_due(tmp_path: Path) -> None:
    """When the clock jumps past the time of jobs, they run in the order of their time."""
    clock = Clock(datetime(2030, 1, 1, tzinfo=UTC))
    with open_backend(tmp_path, clock=clock, worker_lease=LEASE) as backend, running_worker(backend):
        for minutes in (30, 10, 20, 90):
            backend.ctx().scheduler.run_after(60 * minutes, write_note, text=str(minutes))
        clock.advance(HOUR)
        wait_until(lambda: written_notes(backend) == ["10", "20", "30"])


def test_a_clock_jump_ends_the_backoff(tmp_path: Path) -> None:
    """The backoff between two attempts ends when the clock jumps past it."""
    clock, attempts = Clock(), []

    @internal_action(retry=Retry(max_attempts=2, backoff=1000))
    def task(ctx: ActionCtx) -> Any:
        attempts.append(ctx.attempt)
        return 1 / (ctx.attempt - 1)

    with open_backend(tmp_path, [task], clock=clock, worker_lease=LEASE) as backend, running_worker(backend):
        job_id = backend.ctx().scheduler.run_after(0, task)
        wait_until(lambda: get_job(backend, job_id).attempts != [] and get_job(backend, job_id).state == "pending")
        clock.advance(timedelta(seconds=1250))
        wait_until_ended(backend)
    assert attempts == [1, 2]
