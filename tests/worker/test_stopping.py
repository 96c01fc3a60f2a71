"""Workers that are stopped, break, or are started again: what they leave to the next one, and how long they take."""

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
from flask_convex_http.worker.worker import Worker
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, SQLITE_ONLY
from tests.sqlite.crews import PATIENCE, wait_until
from tests.web.apps import backend_of, deployed
from tests.worker.app import functions, http
from tests.worker.runs import SCHEMA, opened, rows, wait_until_ended, working, write_down, written
from tests.worker.servers import Deployment
from tests.worker.test_lost_workers import Endless, start_and_vanish

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

#: Seconds; being woken takes far less, looking by oneself about five.
SOON = 2.0

# --- stopped ---------------------------------------------------------------------------------------------------------


def test_stopped_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    """A worker that is stopped while it runs mutations begins no action after them."""
    begun, go_on = threading.Event(), threading.Event()

    @internal_mutation
    def hold(ctx: MutationCtx) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)

    @internal_action
    def act(ctx: ActionCtx) -> None: ...

    with opened(tmp_path, [hold, act]) as backend:
        for function in (hold, act):
            backend.ctx().scheduler.run_after(0, function)
        with working(backend) as worker:
            assert begun.wait(PATIENCE)
            worker.stop()
            go_on.set()
        assert [job.state for job in rows(backend)] == ["success", "pending"]


@pytest.mark.parametrize(("backoff", "seconds"), [(0, (1, 1)), (100, (75, 125))], ids=["at once", "after a while"])
def test_what_was_handed_back_waits(backoff: float, seconds: tuple[float, float], tmp_path: Path) -> None:
    """An attempt that did not end in time goes on until its process is gone; the next one follows after its author's
    wait, and after a second at the soonest."""
    clock, work = Clock(), Endless(Retry(max_attempts=3, backoff=backoff))
    with opened(tmp_path, [work.task], clock=clock) as backend:
        actions = start_and_vanish(backend, work)
        actions.interrupt()
        [job] = rows(backend)
        soonest, latest = (clock() + 1000 * each for each in seconds)
        assert soonest <= job.due <= latest
        with working(backend):
            clock.advance(timedelta(milliseconds=latest - clock()))
            backend.ctx().scheduler.run_after(0, write_down, text="wakes it")
            wait_until_ended(backend)
        work.let_go()
    assert [number for number, _ in work.attempts] == [1, 2]


def test_a_mutation_that_never_returns(tmp_path: Path) -> None:
    """A process ends though a mutation in its worker does not; with the process the mutation is undone, and is pending
    for others."""
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
        "assert begun.wait(20)\n"
    )
    done = deployment.program(program)
    assert (done.returncode, done.stderr) == (0, "")
    assert ([job.state for job in deployment.jobs], deployment.notes) == (["pending"], [])


# --- started again ---------------------------------------------------------------------------------------------------


def test_a_backend_that_is_closed_and_used_again(tmp_path: Path) -> None:
    """After its backend was closed the next request to an app starts a worker again, and what is scheduled runs."""
    config = {"TESTING": False, "CONVEX_WORKER": "on"}
    with deployed(tmp_path, http, schema=SCHEMA, functions=functions, is_kept=True, **config) as app:
        for count in (1, 2):
            assert app.test_client().post("/orders", json={"text": "a"}).status_code == 201
            wait_until(lambda count=count: len(written(backend_of(app))) == count)  # type: ignore[misc]  # bound now
            backend_of(app).close()


# --- broken ----------------------------------------------------------------------------------------------------------


def descriptors_below(folder: Path) -> list[int]:
    """What this process has open in a folder."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the folder we look at
            if link.readlink().parent == folder:
                found.append(int(link.name))
    return found


@SQLITE_ONLY
def test_its_pipe_is_taken_away(tmp_path: Path) -> None:
    """A worker whose open pipe becomes another file, as when a program closes all descriptors, goes on and listens
    anew."""
    folder = folder_of(tmp_path / "convex.db")
    with opened(tmp_path) as backend, opened(tmp_path) as other, working(backend):
        wait_until(lambda: descriptors_below(folder) != [])
        [taken] = descriptors_below(folder)
        with open(os.devnull, "wb") as another:
            os.dup2(another.fileno(), taken)
        try:
            other.ctx().scheduler.run_after(0, write_down, text="first")
            wait_until(lambda: written(other) == ["first"])
            wait_until(lambda: descriptors_below(folder) != [])
        finally:
            os.close(taken)


class TornOut:
    """An engine whose listener is interrupted when it waits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def listen(self) -> "TornOut":
        return self

    def wait(self, timeout: float) -> None:
        raise KeyboardInterrupt

    def wake(self) -> None: ...

    def close(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def test_what_a_broken_worker_leaves(tmp_path: Path) -> None:
    """When a worker has been interrupted, what its process schedules wakes the workers of others at once."""
    with opened(tmp_path) as backend, opened(tmp_path) as other, working(other):
        engine = backend.engine
        backend.engine = TornOut(engine)
        with pytest.raises(KeyboardInterrupt):
            Worker(backend).run()
        backend.engine = engine
        time.sleep(0.3)  # until the other one sleeps
        start = time.monotonic()
        backend.ctx().scheduler.run_after(0, write_down, text="a")
        wait_until(lambda: written(backend) == ["a"])
        assert time.monotonic() - start < SOON
