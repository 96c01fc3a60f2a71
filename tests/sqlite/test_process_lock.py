"""The lock beside the file: exclusive, fair, and released by the kernel when its holder dies."""

import fcntl
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Thread

import pytest

from flask_convex_http import UnavailableError
from flask_convex_http.sqlite.process_lock import ProcessLock
from tests.engines.members import in_child
from tests.sqlite.crews import PATIENCE, wait_until
from tests.sqlite.holders import count_turns, hold_lock, in_the_way, leave, process
from tests.timing import is_below

fork = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture(name="new_lock")
def _new_lock(path: Path) -> Iterator[Callable[[], ProcessLock]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(ProcessLock(path)))


def is_free(lock: ProcessLock) -> bool:
    """Return whether another process could acquire the lock."""
    if not lock.try_acquire():
        return False
    lock.release()
    return True


def somebody_waits(lock: ProcessLock) -> bool:
    """Return whether a process is at the head of the queue."""
    if lock._head.take(fcntl.LOCK_NB):
        lock._head.release()
        return False
    return True


def test_two_locks_of_one_process(new_lock: Callable[[], ProcessLock]) -> None:
    """Two locks of one file exclude each other in one process as well, and a waiter acquires it when it is free."""
    one, other = new_lock(), new_lock()
    assert one.try_acquire()
    assert not is_free(other)
    thread = Thread(target=other.acquire)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    one.release()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not is_free(one)
    other.release()
    assert is_free(one)


def test_who_waits_comes_before_who_asks(new_lock: Callable[[], ProcessLock]) -> None:
    """While a process waits for the lock, no other acquires it, even at the moment of its release."""
    holder, waiter, other = new_lock(), new_lock(), new_lock()
    holder.acquire()
    thread = Thread(target=waiter.acquire)
    thread.start()
    wait_until(lambda: somebody_waits(other))
    assert not other.try_acquire()
    holder.release()
    thread.join(PATIENCE)
    assert not is_free(other)
    waiter.release()
    assert is_free(other)


def test_another_process(path: Path, new_lock: Callable[[], ProcessLock]) -> None:
    """A lock of another process is held until that process releases it, and then the wait ends."""
    lock = new_lock()
    with in_the_way(hold_lock, path) as holder:
        assert not is_free(lock)
        leave(path)
        lock.acquire()
        lock.release()
        holder.join(PATIENCE)
        assert holder.exitcode == 0


def test_a_holder_that_is_killed(path: Path, new_lock: Callable[[], ProcessLock]) -> None:
    """The lock of a killed process is free."""
    lock = new_lock()
    with in_the_way(hold_lock, path) as holder:
        assert not is_free(lock)
        holder.kill()
        holder.join(PATIENCE)
        assert is_free(lock)


@fork
def test_a_child_holds_nothing(path: Path, new_lock: Callable[[], ProcessLock]) -> None:
    """A child of fork() does not hold its parent's lock, cannot acquire it, and does not keep it."""
    lock = new_lock()
    lock.acquire()
    assert in_child(lambda: is_free(lock)) is False
    assert in_child(lambda: is_free(ProcessLock(path))) is False
    assert not is_free(new_lock())
    lock.release()
    assert in_child(lambda: is_free(lock)) is True
    assert is_free(lock)


@fork
def test_a_child_that_outlives_the_holder(path: Path, new_lock: Callable[[], ProcessLock]) -> None:
    """When the holder has died its lock is free, although a child of it lives on."""
    reading, writing = os.pipe()
    holder = os.fork()
    if holder == 0:
        lock = ProcessLock(path)
        lock.acquire()
        if os.fork() == 0:
            os.write(writing, str(os.getpid()).encode())
        time.sleep(PATIENCE)
        os._exit(0)
    child = int(os.read(reading, 20))
    try:
        lock = new_lock()
        assert not is_free(lock)
        os.kill(holder, 9)
        os.waitpid(holder, 0)
        os.kill(child, 0)
        assert is_free(lock)
    finally:
        os.kill(child, 9)
        os.close(reading)
        os.close(writing)


def test_the_greedy_wait_too(path: Path, tmp_path: Path) -> None:
    """Of three processes that acquire the lock again at once after releasing it, each gets its turns."""

    def longest_wait() -> float:
        """Return the seconds, or infinity if the turns are not shared."""
        turns, longest = compete(path, Path(tempfile.mkdtemp(dir=tmp_path)))
        return max(longest) if min(turns) * 3 >= max(turns) else math.inf

    assert is_below(0.5, longest_wait)


def compete(path: Path, folder: Path) -> tuple[list[int], list[float]]:
    """Return the turns of three processes, and the longest wait of each in seconds."""
    gate, answers = folder / "gate", [folder / f"answer{number}" for number in range(3)]
    with ExitStack() as stack:
        started = [stack.enter_context(process(count_turns, path, gate, answer, 0.7)) for answer in answers]
        wait_until(lambda: all(answer.exists() for answer in answers))
        gate.touch()
        for each in started:
            each.join(PATIENCE)
    found = [answer.read_text().split() for answer in answers]
    return [int(count) for count, _ in found], [float(longest) for _, longest in found]


def test_a_place_where_no_lock_can_be(tmp_path: Path) -> None:
    """A missing folder is an UnavailableError whose detail names the file."""
    with closing(ProcessLock(tmp_path / "missing" / "some.db")) as lock:
        for use in (lock.try_acquire, lock.acquire):
            with pytest.raises(UnavailableError) as caught:
                use()
            assert str(tmp_path / "missing" / "some.db.queue") in caught.value.detail


def test_closing_lets_go(new_lock: Callable[[], ProcessLock]) -> None:
    """A closed lock is released, and can be used again."""
    lock = new_lock()
    lock.acquire()
    lock.close()
    assert is_free(new_lock())
    assert is_free(lock)
