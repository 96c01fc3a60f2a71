"""Workers that are stopped, interrupted or started again: the state they leave, and the time they take."""

import contextlib
import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import ActionCtx, MutationCtx, Retry, internal_action, internal_mutation
from flask_convex_http.engines import Engine
from flask_convex_http.sqlite.wakeups import folder_of
from flask_convex_http.testing import Clock
from flask_convex_http.worker import Worker
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, SQLITE_ONLY
from tests.sqlite.crews import PATIENCE, wait_until
from tests.web.apps import backend_of, deployed
from tests.worker.app import functions, http
from tests.worker.servers import Deployment
from tests.worker.test_lost_actions import EndlessAction, start_and_abandon
from tests.worker.workers import (
    SCHEMA,
    all_jobs,
    open_backend,
    running_worker,
    wait_until_ended,
    write_note,
    written_notes,
)

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

# --- stopped ---------------------------------------------------------------------------------------------------------


def test_stopped_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    """A worker that is stopped during a batch of mutations starts no action afterwards."""
    begun, go_on = threading.Event(), threading.Event()

    @internal_mutation
    def hold(ctx: MutationCtx) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)

    @internal_action
    def act(ctx: ActionCtx) -> None: ...

    with open_backend(tmp_path, [hold, act]) as backend:
        for function in (hold, act):
            backend.ctx().scheduler.run_after(0, function)
        with running_worker(backend) as worker:
            assert begun.wait(PATIENCE)
            worker.stop()
            go_on.set()
        assert [job.state for job in all_jobs(backend)] == ["success", "pending"]


@pytest.mark.parametrize(("backoff", "seconds"), [(0, (1, 1)), (100, (75, 125))], ids=["at once", "after a while"])
def test_the_attempt_after_a_stopped_one_waits(backoff: float, seconds: tuple[float, float], tmp_path: Path) -> None:
    """The attempt after a stopped one starts after the backoff, and after one second at the earliest.

    The stopped attempt runs on until its process ends.
    """
    clock, work = Clock(), EndlessAction(Retry(max_attempts=3, backoff=backoff))
    with open_backend(tmp_path, [work.task], clock=clock) as backend:
        actions = start_and_abandon(backend, work)
        actions.interrupt()
        [job] = all_jobs(backend)
        soonest, latest = (clock() + 1000 * each for each in seconds)
        assert soonest <= job.due <= latest
        with running_worker(backend):
            clock.advance(timedelta(milliseconds=latest - clock()))
            backend.ctx().scheduler.run_after(0, write_note, text="wakes it")
            wait_until_ended(backend)
        work.release()
    assert [number for number, _ in work.attempts] == [1, 2]


def test_a_mutation_that_never_returns(tmp_path: Path) -> None:
    """A process ends during an endless mutation, which is rolled back and pending for other workers."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    program = (
        "import threading, time\n"
        "from flask_convex_http import MutationCtx, internal_mutation\n"
        "from flask_convex_http.worker import background\n"
        "from tests.worker.app import create_app, functions, write\n"
        "begun = threading.Event()\n"
        "@internal_mutation\n"
        "def stick(ctx: MutationCtx) -> None:\n"
        "    ctx.run_mutation(write, text='stuck')\n"
        "    begun.set()\n"
        "    time.sleep(3600)\n"
        "background._GRACE = background._RECORDING_TIME = 0.1\n"
        "functions.append(stick)\n"
        "app = create_app()\n"
        "app.test_client().get('/health')\n"
        "app.extensions['convex_http'].ctx().scheduler.run_after(0, stick)\n"
        "assert begun.wait(30)\n"
    )
    done = deployment.program(program)
    assert (done.returncode, " ERROR " in done.stderr, "Traceback" in done.stderr) == (0, False, False), done.stderr
    assert ([job.state for job in deployment.jobs], deployment.notes) == (["pending"], [])


# --- started again ---------------------------------------------------------------------------------------------------


def test_a_backend_that_is_closed_and_used_again(tmp_path: Path) -> None:
    """The next request after a close starts a worker again, and jobs run."""
    config = {"TESTING": False, "CONVEX_WORKER": "on"}
    with deployed(tmp_path, http, schema=SCHEMA, functions=functions, is_kept=True, **config) as app:
        for count in (1, 2):
            assert app.test_client().post("/jobs", json={"text": "a"}).status_code == 201
            wait_until(lambda count=count: len(written_notes(backend_of(app))) == count)  # type: ignore[misc]  # bound now
            backend_of(app).close()


# --- interrupted -----------------------------------------------------------------------------------------------------


def descriptors_below(folder: Path) -> list[int]:
    """Return the descriptors of this process that are open in a folder."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of /proc/self/fd itself
            if link.readlink().parent == folder:
                found.append(int(link.name))
    return found


@SQLITE_ONLY
def test_a_pipe_that_becomes_another_file(tmp_path: Path) -> None:
    """A worker whose pipe becomes another file, as after closing all descriptors, listens again."""
    folder = folder_of(tmp_path / "convex.db")
    with open_backend(tmp_path) as backend, open_backend(tmp_path) as other, running_worker(backend):
        wait_until(lambda: descriptors_below(folder) != [])
        [reused] = descriptors_below(folder)
        with open(os.devnull, "wb") as another:
            os.dup2(another.fileno(), reused)
        try:
            other.ctx().scheduler.run_after(0, write_note, text="first")
            wait_until(lambda: written_notes(other) == ["first"])
            wait_until(lambda: descriptors_below(folder) != [])
        finally:
            os.close(reused)


class InterruptedListener:
    """An engine whose listener is interrupted when it waits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def notifications(self) -> "InterruptedListener":
        return self

    def notify(self) -> None:
        self._engine.notifications.notify()

    def listen(self) -> "InterruptedListener":
        return self

    def wait(self, timeout: float) -> None:
        raise KeyboardInterrupt

    def wake(self) -> None: ...

    def close(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def test_jobs_after_an_interrupted_worker(tmp_path: Path, no_polling: None) -> None:
    """After a worker was interrupted, jobs of its process wake the workers of other processes at once."""
    with open_backend(tmp_path) as backend, open_backend(tmp_path) as other, running_worker(other):
        engine = backend.engine
        backend.engine = InterruptedListener(engine)
        with pytest.raises(KeyboardInterrupt):
            Worker(backend).run()
        backend.engine = engine
        time.sleep(0.3)  # until the other worker sleeps
        backend.ctx().scheduler.run_after(0, write_note, text="a")
        wait_until(lambda: written_notes(backend) == ["a"])
