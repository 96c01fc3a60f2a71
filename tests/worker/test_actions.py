"""Scheduled actions: how often they run, what is known of each attempt, and what cancel and stop do to them."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import ActionCtx, Retry, internal_action
from flask_convex_http.functions.function import ActionFunction
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.sqlite.crews import PATIENCE, wait_until
from tests.sqlite.limits import no_more_threads
from tests.worker.runs import Boom, opened, row, rows, run_all, wait_until_ended, working, write_down, written

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

AT_ONCE = Retry(max_attempts=3, backoff=0)


class Slow:
    """Work that takes until it is told to end.

    Attributes:
        begun: How many have begun.
        ended: How many have ended.
    """

    def __init__(self) -> None:
        self.begun = self.ended = self.most = 0
        self._end = threading.Event()
        self._mutex = threading.Lock()

    def __call__(self) -> None:
        with self._mutex:
            self.begun += 1
            self.most = max(self.most, self.begun - self.ended)
        assert self._end.wait(PATIENCE)
        with self._mutex:
            self.ended += 1

    def let_go(self) -> None:
        self._end.set()


def action(body: Callable[[ActionCtx], object], retry: Retry | None = None) -> ActionFunction[[], None]:
    """An action that does this."""

    def task(ctx: ActionCtx) -> None:
        body(ctx)

    return internal_action(retry=retry)(task)


# --- attempts --------------------------------------------------------------------------------------------------------


def test_an_action_that_fails_runs_once(tmp_path: Path) -> None:
    """Without a retry an action that raises has failed, after one attempt that is written down."""
    runs = []

    def body(ctx: ActionCtx) -> None:
        runs.append(ctx.attempt)
        raise Boom("no")

    with opened(tmp_path, [task := action(body)]) as backend:
        backend.ctx().scheduler.run_after(0, task)
        [job] = run_all(backend)
    assert (job.state, job.error, runs) == ("failed", "tests.worker.runs.Boom: no", [1])
    [attempt] = job.attempts
    assert (attempt.outcome, attempt.error) == ("failed", job.error)
    assert attempt.ended is not None
    assert job.scheduled_time <= attempt.started <= attempt.ended


def test_an_action_with_a_retry_runs_until_it_succeeds(tmp_path: Path) -> None:
    """Attempts are made one after another with the same token, and each one's outcome is written down."""
    seen = []

    def body(ctx: ActionCtx) -> None:
        seen.append((ctx.attempt, ctx.idempotency_token))
        if ctx.attempt < 3:
            raise Boom(str(ctx.attempt))

    with opened(tmp_path, [task := action(body, AT_ONCE)]) as backend:
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
    """Who fails each time has failed after as many attempts as there are at most."""

    def body(ctx: ActionCtx) -> None:
        raise Boom(str(ctx.attempt))

    with opened(tmp_path, [task := action(body, AT_ONCE)]) as backend:
        backend.ctx().scheduler.run_after(0, task)
        [job] = run_all(backend)
    assert (job.state, job.error, len(job.attempts)) == ("failed", "tests.worker.runs.Boom: 3", 3)


def test_attempts_keep_their_distance(tmp_path: Path) -> None:
    """The next attempt is made when the time between two of them is over, not before."""

    def body(ctx: ActionCtx) -> None:
        if ctx.attempt == 1:
            raise Boom

    with opened(tmp_path, [task := action(body, Retry(max_attempts=2, backoff=0.4))]) as backend:
        backend.ctx().scheduler.run_after(0, task)
        [job] = run_all(backend)
    first, second = job.attempts
    assert first.ended is not None
    assert second.started - first.ended >= 0.75 * 400


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), ValueError("\ud800")], ids=["exit", "Ctrl-C", "text"]
)
def test_whatever_an_action_raises(error: BaseException, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Any error fails the one action and leaves the worker at work."""
    caplog.set_level("CRITICAL", logger="flask_convex_http")  # pytest-xdist cannot hand on half a pair

    def body(ctx: ActionCtx) -> None:
        raise error

    with opened(tmp_path, [task := action(body)]) as backend, working(backend):
        backend.ctx().scheduler.run_after(0, task)
        backend.ctx().scheduler.run_after(0.05, write_down, text="next")
        failed, _ = wait_until_ended(backend)
        assert (failed.state, written(backend)) == ("failed", ["next"])


# --- how many at the same time ---------------------------------------------------------------------------------------


def test_no_more_than_the_setting_says(tmp_path: Path) -> None:
    """A worker runs so many actions at the same time; the others wait, and mutations do not wait for them."""
    slow = Slow()
    task = action(lambda ctx: slow())
    with opened(tmp_path, [task], worker_actions=2) as backend, working(backend):
        for _ in range(5):
            backend.ctx().scheduler.run_after(0, task)
        wait_until(lambda: slow.begun == 2)
        backend.ctx().scheduler.run_after(0, write_down, text="meanwhile")
        wait_until(lambda: written(backend) == ["meanwhile"])
        assert Counter(job.state for job in rows(backend)) == {"inProgress": 2, "pending": 3, "success": 1}
        slow.let_go()
        assert {job.state for job in wait_until_ended(backend)} == {"success"}
    assert (slow.begun, slow.most) == (5, 2)


def test_another_worker_takes_what_one_has_no_room_for(tmp_path: Path) -> None:
    """When one worker has no room left, another one is woken and takes the rest at once."""
    slow = Slow()
    task = action(lambda ctx: slow())
    with (
        opened(tmp_path, [task], worker_actions=1) as first,
        opened(tmp_path, [task], worker_actions=1) as second,
        working(first),
        working(second),
    ):
        time.sleep(0.3)  # so that both are asleep
        first.ctx().scheduler.run_after(0, task)
        wait_until(lambda: slow.begun == 1)
        time.sleep(0.3)
        first.ctx().scheduler.run_after(0, task)
        start = time.monotonic()
        wait_until(lambda: slow.begun == 2)
        assert time.monotonic() - start < 2
        slow.let_go()
        ended = wait_until_ended(first)
    assert len({job.worker for job in ended}) == 2


def test_two_workers_run_nothing_twice(tmp_path: Path) -> None:
    """Of many actions and mutations that several workers see at the same time each is run by one."""
    ran: list[str] = []
    mutex = threading.Lock()

    def body(ctx: ActionCtx) -> None:
        with mutex:
            ran.append(ctx.idempotency_token)

    task = action(body)
    with opened(tmp_path, [task]) as first, opened(tmp_path, [task]) as second:
        for number in range(60):
            first.ctx().scheduler.run_after(0, task)
            first.ctx().scheduler.run_after(0, write_down, text=str(number))
        with working(first), working(second), working(first):
            ended = wait_until_ended(first)
        assert sorted(ran) == sorted(job.id for job in ended if job.kind == "action")
        assert sorted(written(first)) == sorted(str(number) for number in range(60))


def test_a_system_without_threads(tmp_path: Path) -> None:
    """An action whose thread could not be started waits until there are threads again; it loses no attempt by that."""
    once, again = action(lambda ctx: None), internal_action(retry=AT_ONCE)(_do_nothing)
    with opened(tmp_path, [once, again]) as backend, working(backend):
        for function in (once, again):  # before, or this thread's write could be the one that wants another thread
            backend.ctx().scheduler.run_after(1, function)
        with no_more_threads():
            time.sleep(2.5)
            assert {job.completed_time for job in rows(backend)} == {None}
        jobs = wait_until_ended(backend)
    assert [(job.state, len(job.attempts)) for job in jobs] == [("success", 1), ("success", 1)]


def _do_nothing(ctx: ActionCtx) -> None:
    pass


# --- cancel ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_cancel_while_it_runs(fails: bool, tmp_path: Path) -> None:
    """An action that is canceled goes on, stays canceled whatever it ends with, and is not tried again; what it has
    scheduled before runs, what it schedules afterwards does not."""
    slow = Slow()

    def body(ctx: ActionCtx) -> None:
        ctx.scheduler.run_after(0, write_down, text="before")
        slow()
        ctx.scheduler.run_after(0, write_down, text="after")
        ctx.run_mutation(write_down, text="itself")
        if fails:
            raise Boom("after all")

    with opened(tmp_path, [task := action(body, AT_ONCE)]) as backend, working(backend):
        job_id = backend.ctx().scheduler.run_after(0, task)
        wait_until(lambda: slow.begun == 1 and written(backend) == ["before"])
        backend.ctx().scheduler.cancel(job_id)
        assert (row(backend, job_id).state, row(backend, job_id).completed_time) == ("canceled", None)
        slow.let_go()
        job, before, after = wait_until_ended(backend)
        assert [job.state, before.state, after.state] == ["canceled", "success", "canceled"]
        assert written(backend) == ["before", "itself"]
    [attempt] = job.attempts
    assert attempt.outcome == ("failed" if fails else "success")


def test_cancel_between_two_attempts(tmp_path: Path) -> None:
    """An action that waits for its next attempt is canceled like any other, and never makes it."""
    runs = []

    def body(ctx: ActionCtx) -> None:
        runs.append(ctx.attempt)
        raise Boom

    with opened(tmp_path, [task := action(body, Retry(max_attempts=5, backoff=0.4))]) as backend, working(backend):
        job_id = backend.ctx().scheduler.run_after(0, task)
        wait_until(lambda: [attempt.outcome for attempt in row(backend, job_id).attempts] == ["failed"])
        backend.ctx().scheduler.cancel(job_id)
        time.sleep(0.7)
        job = row(backend, job_id)
    assert (job.state, job.completed_time is None, runs) == ("canceled", False, [1])


# --- stopping a worker -----------------------------------------------------------------------------------------------


def test_a_worker_that_is_stopped_lets_actions_end(tmp_path: Path) -> None:
    """Actions get time to end. Meanwhile nothing new is begun, and no other worker takes them for lost, though that
    takes longer than a lease."""
    slow = Slow()
    task = action(lambda ctx: slow(), AT_ONCE)
    with (
        opened(tmp_path, [task], worker_lease=0.5) as backend,
        opened(tmp_path, [task], worker_lease=0.5) as other,
        working(backend) as worker,
    ):
        job_id = backend.ctx().scheduler.run_after(0, task)
        wait_until(lambda: slow.begun == 1)
        worker.stop()
        with working(other):
            time.sleep(2)
            assert row(other, job_id).state == "inProgress"
            slow.let_go()
            [job] = wait_until_ended(other)
    assert (job.state, len(job.attempts), slow.begun) == ("success", 1, 1)


@pytest.mark.parametrize("retry", [None, AT_ONCE], ids=["without a retry", "with a retry"])
def test_a_worker_that_is_stopped_hands_back(retry: Any, tmp_path: Path) -> None:
    """What has not ended in that time has failed; or another worker tries it again, and what the first one makes of it
    counts for nothing."""
    slow = Slow()

    def body(ctx: ActionCtx) -> None:
        if ctx.attempt == 1:
            slow()
            raise Boom

    task = action(body, retry)
    with opened(tmp_path, [task]) as backend, opened(tmp_path, [task]) as other:
        with working(backend, grace=0.1):
            backend.ctx().scheduler.run_after(0, task)
            wait_until(lambda: slow.begun == 1)
        job = run_all(other)[0]
        slow.let_go()
        wait_until(lambda: slow.ended == 1)
        wait_until(lambda: not any(thread.name.startswith("convex-action") for thread in threading.enumerate()))
        assert row(other, job.id) == job
    assert [attempt.outcome for attempt in job.attempts] == (["stopped", "success"] if retry else ["stopped"])
    assert job.state == ("success" if retry else "failed")
