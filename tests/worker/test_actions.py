"""Scheduled actions: how often they run, the record of each attempt, cancellation and a stopped worker."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import ActionCtx, Retry, internal_action
from flask_convex_http.functions.function import ActionFunction
from flask_convex_http.testing import Clock
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.sqlite.crews import PATIENCE, wait_until
from tests.sqlite.limits import no_more_threads
from tests.worker.workers import (
    Boom,
    all_jobs,
    get_job,
    open_backend,
    run_all,
    running_worker,
    wait_until_ended,
    write_note,
    written_notes,
)

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

AT_ONCE = Retry(max_attempts=3, backoff=0)


class Slow:
    """Work that runs until it is released.

    Attributes:
        begun: The number of runs that have begun.
        ended: The number of runs that have ended.
        most_at_once: The most runs at the same time.
    """

    def __init__(self) -> None:
        self.begun = self.ended = self.most_at_once = 0
        self._end = threading.Event()
        self._mutex = threading.Lock()

    def __call__(self) -> None:
        with self._mutex:
            self.begun += 1
            self.most_at_once = max(self.most_at_once, self.begun - self.ended)
        assert self._end.wait(PATIENCE)
        with self._mutex:
            self.ended += 1

    def release(self) -> None:
        """End all runs."""
        self._end.set()


def action(body: Callable[[ActionCtx], object], retry: Retry | None = None) -> ActionFunction[[], None]:
    """Return an action with this body."""

    def task(ctx: ActionCtx) -> None:
        body(ctx)

    return internal_action(retry=retry)(task)


# --- attempts --------------------------------------------------------------------------------------------------------


def test_an_action_that_fails_runs_once(tmp_path: Path) -> None:
    """An action without a retry that raises has failed after one attempt, which is recorded."""
    runs = []

    def body(ctx: ActionCtx) -> None:
        runs.append(ctx.attempt)
        raise Boom("no")

    with open_backend(tmp_path, [task := action(body)]) as backend:
        backend.ctx().scheduler.run_after(0, task)
        [job] = run_all(backend)
    assert (job.state, job.error, runs) == ("failed", "tests.worker.workers.Boom: no", [1])
    [attempt] = job.attempts
    assert (attempt.outcome, attempt.error) == ("failed", job.error)
    assert attempt.ended is not None
    assert job.scheduled_time <= attempt.started <= attempt.ended


def test_an_action_with_a_retry_runs_until_it_succeeds(tmp_path: Path) -> None:
    """Attempts follow each other with the same token, and the outcome of each is recorded."""
    seen = []

    def body(ctx: ActionCtx) -> None:
        seen.append((ctx.attempt, ctx.idempotency_token))
        if ctx.attempt < 3:
            raise Boom(str(ctx.attempt))

    with open_backend(tmp_path, [task := action(body, AT_ONCE)]) as backend:
        job_id = backend.ctx().scheduler.run_after(0, task)
        [job] = run_all(backend)
    assert seen == [(1, job_id), (2, job_id), (3, job_id)]
    assert (job.state, job.error) == ("success", None)
    assert [attempt.outcome for attempt in job.attempts] == ["failed", "failed", "success"]
    assert [str(attempt.error).rpartition(" ")[2] for attempt in job.attempts] == ["1", "2", "None"]
    ends = [attempt.ended for attempt in job.attempts]
    starts = [attempt.started for attempt in job.attempts]
    assert all(end is not None and end <= start for end, start in zip(ends, starts[1:], strict=False))


def test_an_action_fails_after_its_last_attempt(tmp_path: Path) -> None:
    """An action that always raises fails after `max_attempts` attempts."""

    def body(ctx: ActionCtx) -> None:
        raise Boom(str(ctx.attempt))

    with open_backend(tmp_path, [task := action(body, AT_ONCE)]) as backend:
        backend.ctx().scheduler.run_after(0, task)
        [job] = run_all(backend)
    assert (job.state, job.error, len(job.attempts)) == ("failed", "tests.worker.workers.Boom: 3", 3)


def test_attempts_wait_for_the_backoff(tmp_path: Path) -> None:
    """The next attempt starts after the backoff, not before."""

    def body(ctx: ActionCtx) -> None:
        if ctx.attempt == 1:
            raise Boom

    with open_backend(tmp_path, [task := action(body, Retry(max_attempts=2, backoff=0.4))]) as backend:
        backend.ctx().scheduler.run_after(0, task)
        [job] = run_all(backend)
    first, second = job.attempts
    assert first.ended is not None
    assert second.started - first.ended >= 0.75 * 400


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), ValueError("\ud800")], ids=["exit", "Ctrl-C", "text"]
)
def test_any_exception_fails_the_action(error: BaseException, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Any exception fails the one action, and the worker goes on."""
    caplog.set_level("CRITICAL", logger="flask_convex_http")  # pytest-xdist cannot transfer a lone surrogate

    def body(ctx: ActionCtx) -> None:
        raise error

    with open_backend(tmp_path, [task := action(body)]) as backend, running_worker(backend):
        backend.ctx().scheduler.run_after(0, task)
        backend.ctx().scheduler.run_after(0.05, write_note, text="next")
        failed, _ = wait_until_ended(backend)
        assert (failed.state, written_notes(backend)) == ("failed", ["next"])


# --- actions at the same time ----------------------------------------------------------------------------------------


def test_limit_of_actions_at_a_time(tmp_path: Path) -> None:
    """A worker runs at most `worker_actions` actions at a time, and mutations do not wait for them."""
    slow = Slow()
    task = action(lambda ctx: slow())
    with open_backend(tmp_path, [task], worker_actions=2) as backend, running_worker(backend):
        for _ in range(5):
            backend.ctx().scheduler.run_after(0, task)
        wait_until(lambda: slow.begun == 2)
        backend.ctx().scheduler.run_after(0, write_note, text="meanwhile")
        wait_until(lambda: written_notes(backend) == ["meanwhile"])
        assert Counter(job.state for job in all_jobs(backend)) == {"inProgress": 2, "pending": 3, "success": 1}
        slow.release()
        assert {job.state for job in wait_until_ended(backend)} == {"success"}
    assert (slow.begun, slow.most_at_once) == (5, 2)


def test_a_busy_worker_wakes_another(tmp_path: Path, no_polling: None) -> None:
    """A worker without a free slot wakes another worker, which takes the next action at once."""
    slow = Slow()
    task = action(lambda ctx: slow())
    with (
        open_backend(tmp_path, [task], worker_actions=1) as first,
        open_backend(tmp_path, [task], worker_actions=1) as second,
        running_worker(first),
        running_worker(second),
    ):
        time.sleep(0.3)  # until both sleep
        first.ctx().scheduler.run_after(0, task)
        wait_until(lambda: slow.begun == 1)
        time.sleep(0.3)
        first.ctx().scheduler.run_after(0, task)
        wait_until(lambda: slow.begun == 2)
        slow.release()
        ended = wait_until_ended(first)
    assert len({job.worker for job in ended}) == 2


def test_two_workers_run_nothing_twice(tmp_path: Path) -> None:
    """Several workers run each of many due actions and mutations once."""
    ran: list[str] = []
    mutex = threading.Lock()

    def body(ctx: ActionCtx) -> None:
        with mutex:
            ran.append(ctx.idempotency_token)

    task = action(body)
    with open_backend(tmp_path, [task]) as first, open_backend(tmp_path, [task]) as second:
        for number in range(60):
            first.ctx().scheduler.run_after(0, task)
            first.ctx().scheduler.run_after(0, write_note, text=str(number))
        with running_worker(first), running_worker(second), running_worker(first):
            ended = wait_until_ended(first)
        assert sorted(ran) == sorted(job.id for job in ended if job.kind == "action")
        assert sorted(written_notes(first)) == sorted(str(number) for number in range(60))


def test_a_system_without_threads(tmp_path: Path) -> None:
    """An action whose thread cannot start waits until threads are available, and loses no attempt."""
    clock = Clock()
    once, again = action(lambda ctx: None), internal_action(retry=AT_ONCE)(_do_nothing)
    with open_backend(tmp_path, [once, again], clock=clock) as backend, running_worker(backend) as worker:
        for function in (once, again):  # first, since a write of this thread may need a thread
            backend.ctx().scheduler.run_after(60, function)
        with no_more_threads():
            clock.advance(timedelta(minutes=1))
            worker.wake()
            time.sleep(1.5)
            assert {job.completed_time for job in all_jobs(backend)} == {None}
        clock.advance(timedelta(minutes=1))
        worker.wake()
        jobs = wait_until_ended(backend)
    assert [(job.state, len(job.attempts)) for job in jobs] == [("success", 1), ("success", 1)]


def _do_nothing(ctx: ActionCtx) -> None:
    pass


# --- cancellation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_cancel_while_it_runs(fails: bool, tmp_path: Path) -> None:
    """An action that is canceled while it runs goes on, stays canceled and is not retried.

    Jobs that it scheduled before run. Jobs that it schedules afterwards are canceled.
    """
    slow = Slow()

    def body(ctx: ActionCtx) -> None:
        ctx.scheduler.run_after(0, write_note, text="before")
        slow()
        ctx.scheduler.run_after(0, write_note, text="after")
        ctx.run_mutation(write_note, text="itself")
        if fails:
            raise Boom("after all")

    with open_backend(tmp_path, [task := action(body, AT_ONCE)]) as backend, running_worker(backend):
        job_id = backend.ctx().scheduler.run_after(0, task)
        wait_until(lambda: slow.begun == 1 and written_notes(backend) == ["before"])
        backend.ctx().scheduler.cancel(job_id)
        assert (get_job(backend, job_id).state, get_job(backend, job_id).completed_time) == ("canceled", None)
        slow.release()
        job, before, after = wait_until_ended(backend)
        assert [job.state, before.state, after.state] == ["canceled", "success", "canceled"]
        assert written_notes(backend) == ["before", "itself"]
    [attempt] = job.attempts
    assert attempt.outcome == ("failed" if fails else "success")


def test_cancel_between_two_attempts(tmp_path: Path) -> None:
    """An action that is canceled between two attempts does not run again."""
    runs = []

    def body(ctx: ActionCtx) -> None:
        runs.append(ctx.attempt)
        raise Boom

    clock = Clock()
    with (
        open_backend(tmp_path, [task := action(body, Retry(max_attempts=5, backoff=60))], clock=clock) as backend,
        running_worker(backend),
    ):
        job_id = backend.ctx().scheduler.run_after(0, task)
        wait_until(lambda: [attempt.outcome for attempt in get_job(backend, job_id).attempts] == ["failed"])
        backend.ctx().scheduler.cancel(job_id)
        clock.advance(timedelta(minutes=5))
        backend.ctx().scheduler.run_after(0, write_note, text="after")
        wait_until(lambda: written_notes(backend) == ["after"])
        job = get_job(backend, job_id)
    assert (job.state, job.completed_time is None, runs) == ("canceled", False, [1])


# --- stopping a worker -----------------------------------------------------------------------------------------------


def test_a_stopped_worker_lets_actions_end(tmp_path: Path) -> None:
    """A stopped worker lets its actions end and starts no other.

    No other worker treats them as lost, even if they take longer than a lease.
    """
    slow = Slow()
    task = action(lambda ctx: slow(), AT_ONCE)
    with (
        open_backend(tmp_path, [task], worker_lease=0.5) as backend,
        open_backend(tmp_path, [task], worker_lease=0.5) as other,
        running_worker(backend) as worker,
    ):
        job_id = backend.ctx().scheduler.run_after(0, task)
        wait_until(lambda: slow.begun == 1)
        worker.stop()
        with running_worker(other):
            time.sleep(2)
            assert get_job(other, job_id).state == "inProgress"
            slow.release()
            [job] = wait_until_ended(other)
    assert (job.state, len(job.attempts), slow.begun) == ("success", 1, 1)


@pytest.mark.parametrize("retry", [None, AT_ONCE], ids=["without a retry", "with a retry"])
def test_actions_that_outlast_the_grace(retry: Any, tmp_path: Path) -> None:
    """An action that outlasts the grace fails, or is retried by another worker.

    The end of its first attempt is ignored.
    """
    slow = Slow()

    def body(ctx: ActionCtx) -> None:
        if ctx.attempt == 1:
            slow()
            raise Boom

    task = action(body, retry)
    with open_backend(tmp_path, [task]) as backend, open_backend(tmp_path, [task]) as other:
        with running_worker(backend, grace=0.1):
            backend.ctx().scheduler.run_after(0, task)
            wait_until(lambda: slow.begun == 1)
        job = run_all(other)[0]
        slow.release()
        wait_until(lambda: slow.ended == 1)
        wait_until(lambda: not any(thread.name.startswith("convex-action") for thread in threading.enumerate()))
        assert get_job(other, job.id) == job
    assert [attempt.outcome for attempt in job.attempts] == (["stopped", "success"] if retry else ["stopped"])
    assert job.state == ("success" if retry else "failed")
