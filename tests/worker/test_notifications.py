"""Waking workers of other processes through named pipes: nobody is forgotten, and what the dead leave is removed."""

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
from tests.sqlite.crews import PATIENCE, wait_until

#: Seconds that nobody waits in vain; far more than being woken takes, and less than the tests' patience.
LONG = 10.0


def seconds_of_waiting(listener: PipeListener, timeout: float = LONG) -> float:
    start = time.monotonic()
    listener.wait(timeout)
    return time.monotonic() - start


def pipes(path: Path) -> list[Path]:
    return sorted(folder_of(path).iterdir())


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture(name="listener")
def _listener(path: Path) -> Iterator[PipeListener]:
    with closing(PipeListener(path)) as listener:
        yield listener


def test_everybody_is_woken(path: Path) -> None:
    """One call wakes all who sleep."""
    listeners = [PipeListener(path) for _ in range(8)]
    for listener in listeners:
        listener.wait(0)  # each new one has called those before it
    with ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(seconds_of_waiting, listener) for listener in listeners]
        time.sleep(0.1)
        assert not any(wait.done() for wait in waits)
        notify(path)
        assert all(wait.result(PATIENCE) < LONG for wait in waits)
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("times", [1, 3, 100_000], ids=["once", "often", "more often than a pipe holds"])
def test_a_call_before_the_wait_counts(times: int, path: Path, listener: PipeListener) -> None:
    """Whoever was called before they went to sleep does not sleep; however often that was, soon they sleep again."""
    for _ in range(times):
        listener.wake()
    notify(path)
    assert seconds_of_waiting(listener) < LONG
    wait_until(lambda: seconds_of_waiting(listener, 0.05) >= 0.05)


def test_sleeping_ends_by_itself(listener: PipeListener) -> None:
    """Who is not called sleeps as long as it was told to, and no longer."""
    assert 0.2 <= seconds_of_waiting(listener, 0.2) < LONG
    assert seconds_of_waiting(listener, 0) < LONG
    assert seconds_of_waiting(listener, -1) < LONG


def test_waking_oneself(listener: PipeListener) -> None:
    """A thread of the same process wakes a listener without a look at the folder."""
    threading.Timer(0.05, listener.wake).start()
    assert seconds_of_waiting(listener) < LONG


def test_calling_where_nobody_listens(path: Path) -> None:
    """Where there never was a worker a call does nothing, and leaves nothing behind."""
    notify(path)
    assert list(path.parent.iterdir()) == []


def test_calling_from_another_process(path: Path, listener: PipeListener) -> None:
    """A process that has nothing to do with the listener wakes it."""
    program = (
        "import sys, pathlib; from flask_convex_http.sqlite.wakeups import notify\nnotify(pathlib.Path(sys.argv[1]))"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)]):
        assert seconds_of_waiting(listener, PATIENCE) < PATIENCE


def test_a_listener_leaves_nothing(path: Path) -> None:
    """Closing removes the pipe and closes the file; waking what is closed does nothing."""
    before = set(os.listdir("/proc/self/fd"))
    listener = PipeListener(path)
    assert len(pipes(path)) == 1
    listener.close()
    assert pipes(path) == []
    listener.wake()
    assert set(os.listdir("/proc/self/fd")) == before


def test_what_the_dead_have_left_is_removed(path: Path, listener: PipeListener) -> None:
    """A pipe that nobody reads any more is removed by the next call, and by the next listener; others stay."""
    [own] = pipes(path)
    wakes: list[Callable[[], None]] = [lambda: notify(path), lambda: PipeListener(path).close()]
    for wake in wakes:
        dead = own.with_name("1-dead")
        os.mkfifo(dead)
        wake()
        assert pipes(path) == [own]
        listener.wait(0)


def test_a_process_that_was_killed(path: Path) -> None:
    """Killed, a process leaves its pipe; the next call removes it and blocks nobody."""
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


def test_strange_things_in_the_folder(path: Path, listener: PipeListener) -> None:
    """A file or folder that somebody has put there disturbs nobody."""
    folder = folder_of(path)
    (folder / "folder").mkdir()
    (folder / "file").write_bytes(b"")
    notify(path)
    assert seconds_of_waiting(listener) < LONG


def test_a_pipe_that_was_removed(path: Path, listener: PipeListener) -> None:
    """A listener whose pipe somebody has removed sleeps no longer than it was told to, and closes."""
    for pipe in pipes(path):
        pipe.unlink()
    notify(path)
    assert seconds_of_waiting(listener, 0.1) < LONG


def test_while_listeners_come_and_go(path: Path, listener: PipeListener) -> None:
    """However many come and go meanwhile, no call that is made after the last wait is lost."""
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            PipeListener(path).close()

    with ThreadPoolExecutor(2) as pool:
        crowd = [pool.submit(come_and_go) for _ in range(2)]
        try:
            for _ in range(200):
                notify(path)
                assert seconds_of_waiting(listener) < LONG
        finally:
            over.set()
        for each in crowd:
            each.result(PATIENCE)
    assert len(pipes(path)) == 1
