"""Wake-ups in hard cases: after a fork, after a clock jump, without pipes, and with removed pipes."""

import os
import shutil
import threading
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http.backend import Backend
from flask_convex_http.sqlite.wakeups import PipeListener, folder_of, notify
from flask_convex_http.testing import Clock
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, SQLITE_ONLY
from tests.sqlite.crews import PATIENCE, wait_until
from tests.sqlite.limits import one_more_file
from tests.worker.servers import Deployment
from tests.worker.workers import open_backend, running_worker, write_note, written_notes

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

#: Enough to fall asleep.
ASLEEP_SECONDS = 0.3


def run_and_wait(backend: Backend, text: str) -> None:
    """Schedule a job, and wait until it has run."""
    backend.ctx().scheduler.run_after(0, write_note, text=text)
    wait_until(lambda: text in written_notes(backend))


# --- clocks and forks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [1, -1], ids=["forward", "backward"])
def test_after_the_clock_was_set(hours: int, tmp_path: Path, no_polling: None) -> None:
    """A due job wakes the worker of its process after the clock was set forward or back."""
    clock = Clock()
    with open_backend(tmp_path, clock=clock) as backend, running_worker(backend):
        time.sleep(ASLEEP_SECONDS)
        clock.advance(timedelta(hours=hours))
        run_and_wait(backend, "a")


def test_in_a_child_without_a_worker(tmp_path: Path) -> None:
    """A forked process without a worker wakes the workers of other processes."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    program = (
        "import os, time\n"
        "from flask_convex_http.worker import worker\n"
        "from tests.worker.app import create_app, notes, write, write_lateness\n"
        "worker.POLL_SECONDS = worker._CLEANUP_INTERVAL = 36_000\n"  # no round unless it is woken
        "worker.heartbeat_interval = lambda backend: 36_000\n"
        "app = create_app()\n"
        "app.test_client().get('/health')\n"
        "backend = app.extensions['convex_http']\n"
        "backend.ctx().scheduler.run_after(0.6, write, text='next')\n"
        f"time.sleep({ASLEEP_SECONDS})\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    time.sleep(0.8)\n"  # by then the worker sleeps longer than the child knows
        "    backend.ctx().scheduler.run_after(0.2, write_lateness, due=(time.time() + 0.2) * 1000)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "end = time.monotonic() + 30\n"
        "while len(backend.ctx().run_query(notes)) < 2:\n"
        "    assert time.monotonic() < end\n"
        "    time.sleep(0.01)\n"
        "backend.close()\n"
    )
    done = deployment.program(program)
    assert (done.returncode, " ERROR " in done.stderr, "Traceback" in done.stderr) == (0, False, False), done.stderr
    _, lateness = deployment.notes
    assert float(lateness) >= 0


# --- pipes -----------------------------------------------------------------------------------------------------------


@SQLITE_ONLY
def test_where_there_can_be_no_pipes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, no_polling: None
) -> None:
    """Without a pipe a worker warns once, and jobs of its own process wake it.

    It polls for jobs of other processes.
    """
    folder_of(tmp_path / "convex.db").write_text("in the way")
    with open_backend(tmp_path) as backend, open_backend(tmp_path) as other, running_worker(backend):
        time.sleep(ASLEEP_SECONDS)
        run_and_wait(backend, "own")
        run_and_wait(backend, "again")
        monkeypatch.setattr("flask_convex_http.worker.worker.POLL_SECONDS", 0.5)
        run_and_wait(backend, "once more")
        run_and_wait(other, "of another process")
    assert caplog.text.count("Other processes cannot wake this worker") == 1


@SQLITE_ONLY
def test_a_pipe_that_cannot_be_opened(tmp_path: Path) -> None:
    """A listener for which no descriptor is left leaves no file."""
    path = tmp_path / "app.db"
    PipeListener(path).close()
    with one_more_file(), open(os.devnull, "rb"), pytest.raises(OSError, match="Too many open files"):
        PipeListener(path)
    assert list(folder_of(path).iterdir()) == []


@SQLITE_ONLY
def test_pipes_that_were_removed(tmp_path: Path) -> None:
    """A listener whose pipe was removed makes it again after a wait, and removes it when it closes."""
    path = tmp_path / "app.db"
    with closing(PipeListener(path)) as listener:
        shutil.rmtree(folder_of(path))
        listener.wait(0.05)
        threading.Timer(0.05, notify, [path]).start()
        start = time.monotonic()
        listener.wait(PATIENCE)
        assert time.monotonic() - start < PATIENCE
    assert list(folder_of(path).iterdir()) == []
