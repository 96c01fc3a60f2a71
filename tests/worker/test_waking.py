"""Who is woken where that is hard: after a fork, when the clock was set, without pipes, and when they were removed."""

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
from tests.worker.runs import opened, working, write_down, written
from tests.worker.servers import Deployment

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

#: Seconds. Being woken takes far less, looking by oneself five; and what is enough to fall asleep.
SOON = 2.0
ASLEEP = 0.3


def seconds_until_it_runs(scheduling: Backend, text: str) -> float:
    """How long it takes from scheduling to its end."""
    start = time.monotonic()
    scheduling.ctx().scheduler.run_after(0, write_down, text=text)
    wait_until(lambda: text in written(scheduling))
    return time.monotonic() - start


# --- clocks and forks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [1, -1], ids=["forward", "backward"])
def test_after_the_clock_was_set(hours: int, tmp_path: Path) -> None:
    """What is due at once wakes the worker of its process, though by the clock it went to sleep with it is later than
    its next look."""
    clock = Clock()
    with opened(tmp_path, clock=clock) as backend, working(backend):
        time.sleep(ASLEEP)
        clock.advance(timedelta(hours=hours))
        assert seconds_until_it_runs(backend, "a") < SOON


def test_in_a_child_without_a_worker(tmp_path: Path) -> None:
    """A process that was forked from one with a worker has none itself; what it schedules wakes that of the other one,
    whatever that meant to do next when the child was born."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    program = (
        "import os, time\n"
        "from tests.worker.app import create_app, notes, write, write_lateness\n"
        "app = create_app()\n"
        "app.test_client().get('/health')\n"
        "backend = app.extensions['convex_http']\n"
        "backend.ctx().scheduler.run_after(0.6, write, text='next')\n"
        f"time.sleep({ASLEEP})\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    time.sleep(0.8)\n"  # then the worker sleeps for longer than the child knows of
        "    backend.ctx().scheduler.run_after(0.2, write_lateness, due=(time.time() + 0.2) * 1000)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "end = time.monotonic() + 20\n"
        "while len(backend.ctx().run_query(notes)) < 2:\n"
        "    assert time.monotonic() < end\n"
        "    time.sleep(0.01)\n"
        "backend.close()\n"
    )
    done = deployment.program(program)
    assert (done.returncode, done.stderr) == (0, "")
    _, lateness = deployment.notes
    assert 0 <= float(lateness) < SOON * 1000


# --- pipes -----------------------------------------------------------------------------------------------------------


@SQLITE_ONLY
def test_where_there_can_be_no_pipes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a pipe a worker says so once, is woken by its own process, and looks by itself for what others
    schedule."""
    folder_of(tmp_path / "convex.db").write_text("in the way")
    with opened(tmp_path) as backend, opened(tmp_path) as other, working(backend):
        time.sleep(ASLEEP)
        assert seconds_until_it_runs(backend, "own") < SOON
        assert seconds_until_it_runs(backend, "again") < SOON
        monkeypatch.setattr("flask_convex_http.worker.worker.POLL_SECONDS", 0.5)
        assert seconds_until_it_runs(backend, "once more") < SOON
        assert seconds_until_it_runs(other, "of another process") < PATIENCE
    assert caplog.text.count("Other processes cannot wake this worker") == 1


@SQLITE_ONLY
def test_a_pipe_that_cannot_be_opened(tmp_path: Path) -> None:
    """A listener for which no descriptor is left leaves nothing behind."""
    path = tmp_path / "app.db"
    PipeListener(path).close()
    with one_more_file(), open(os.devnull, "rb"), pytest.raises(OSError, match="Too many open files"):
        PipeListener(path)
    assert list(folder_of(path).iterdir()) == []


@SQLITE_ONLY
def test_pipes_that_were_removed(tmp_path: Path) -> None:
    """Who has waited in vain makes its pipe again if somebody has removed it, and is woken from then on; closing
    removes that one."""
    path = tmp_path / "app.db"
    with closing(PipeListener(path)) as listener:
        shutil.rmtree(folder_of(path))
        listener.wait(0.05)
        threading.Timer(0.05, notify, [path]).start()
        start = time.monotonic()
        listener.wait(PATIENCE)
        assert time.monotonic() - start < SOON
    assert list(folder_of(path).iterdir()) == []
