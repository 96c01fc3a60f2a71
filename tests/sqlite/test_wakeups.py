"""Wake-ups between processes through named pipes: no listener is missed, and pipes of dead processes go."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from flask_convex_http.sqlite.wakeups import PipeListener, folder_of, notify
from tests.lengths import LONG
from tests.sqlite.crews import PATIENCE, wait_until

#: Seconds of a wait that a wake-up should end. Far more than one takes, and less than the timeout of a test.
TIMEOUT = 10.0


def seconds_waited(listener: PipeListener, timeout: float = TIMEOUT) -> float:
    """Return the seconds of a wait."""
    start = time.monotonic()
    listener.wait(timeout)
    return time.monotonic() - start


def pipes(path: Path) -> list[Path]:
    """Return the pipes of a database."""
    return sorted(folder_of(path).iterdir())


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture(name="listener")
def _listener(path: Path) -> Iterator[PipeListener]:
    with closing(PipeListener(path)) as listener:
        yield listener


def test_one_notification_wakes_all(path: Path) -> None:
    """One notification wakes all listeners."""
    listeners = [PipeListener(path) for _ in range(8)]
    for listener in listeners:
        listener.wait(0)  # each new listener has notified the earlier ones
    with ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(seconds_waited, listener) for listener in listeners]
        time.sleep(0.1)
        assert not any(wait.done() for wait in waits)
        notify(path)
        assert all(wait.result(PATIENCE) < TIMEOUT for wait in waits)
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("times", [1, 3, 100_000], ids=["once", "often", "more often than a pipe holds"])
def test_a_notification_before_the_wait(times: int, path: Path, listener: PipeListener) -> None:
    """A notification before the wait ends it at once, and later waits are not spurious."""
    for _ in range(times):
        listener.wake()
    notify(path)
    assert seconds_waited(listener) < TIMEOUT
    wait_until(lambda: seconds_waited(listener, 0.05) >= 0.05)


def test_timeout(listener: PipeListener) -> None:
    """A wait without a notification ends after its timeout."""
    assert 0.2 <= seconds_waited(listener, 0.2) < TIMEOUT
    assert seconds_waited(listener, 0) < TIMEOUT
    assert seconds_waited(listener, -1) < TIMEOUT


def test_wake_in_the_same_process(listener: PipeListener) -> None:
    """A thread of the same process wakes a listener without the folder."""
    threading.Timer(0.05, listener.wake).start()
    assert seconds_waited(listener) < TIMEOUT


def test_notification_without_listeners(path: Path) -> None:
    """A notification without listeners does nothing and creates no file."""
    notify(path)
    assert list(path.parent.iterdir()) == []


def test_notification_from_another_process(path: Path, listener: PipeListener) -> None:
    """Another process wakes a listener."""
    program = (
        "import sys, pathlib; from flask_convex_http.sqlite.wakeups import notify\nnotify(pathlib.Path(sys.argv[1]))"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)]):
        assert seconds_waited(listener, PATIENCE) < PATIENCE


def test_a_listener_leaves_nothing(path: Path) -> None:
    """Closing removes the pipe and its descriptor. Waking a closed listener does nothing."""
    before = set(os.listdir("/proc/self/fd"))
    listener = PipeListener(path)
    assert len(pipes(path)) == 1
    listener.close()
    assert pipes(path) == []
    listener.wake()
    assert set(os.listdir("/proc/self/fd")) == before


def test_pipes_of_dead_processes(path: Path, listener: PipeListener) -> None:
    """A pipe without a reader is removed by the next notification or listener. Others stay."""
    [own] = pipes(path)
    wakes: list[Callable[[], None]] = [lambda: notify(path), lambda: PipeListener(path).close()]
    for wake in wakes:
        dead = own.with_name("1-dead")
        os.mkfifo(dead)
        wake()
        assert pipes(path) == [own]
        listener.wait(0)


@LONG
def test_a_process_that_was_killed(path: Path) -> None:
    """The pipe of a killed process is removed by the next notification, which does not block."""
    program = (
        "import sys, pathlib, time; from flask_convex_http.sqlite.wakeups import PipeListener\n"
        "PipeListener(pathlib.Path(sys.argv[1])); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    assert len(pipes(path)) == 1
    notify(path)
    assert pipes(path) == []


def test_other_files_in_the_folder(path: Path, listener: PipeListener) -> None:
    """Other files and folders beside the pipes do no harm."""
    folder = folder_of(path)
    (folder / "folder").mkdir()
    (folder / "file").write_bytes(b"")
    notify(path)
    assert seconds_waited(listener) < TIMEOUT


def test_a_pipe_that_was_removed(path: Path, listener: PipeListener) -> None:
    """A listener whose pipe was removed waits no longer than its timeout, and closes."""
    for pipe in pipes(path):
        pipe.unlink()
    notify(path)
    assert seconds_waited(listener, 0.1) < TIMEOUT


def test_while_listeners_come_and_go(path: Path, listener: PipeListener) -> None:
    """No notification after a wait is lost while other listeners come and go."""
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            PipeListener(path).close()

    with ThreadPoolExecutor(2) as pool:
        crowd = [pool.submit(come_and_go) for _ in range(2)]
        try:
            for _ in range(200):
                notify(path)
                assert seconds_waited(listener) < TIMEOUT
        finally:
            over.set()
        for each in crowd:
            each.result(PATIENCE)
    assert len(pipes(path)) == 1
