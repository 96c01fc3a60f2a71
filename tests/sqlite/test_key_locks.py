"""The locks of keys among processes: exclusive, free when their process dies, and never in the way."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http.sqlite import key_locks
from flask_convex_http.sqlite.key_locks import KeyLocks
from flask_convex_http.sqlite.process_lock import ProcessLock
from tests.engines.members import in_child
from tests.lengths import examples
from tests.sqlite.crews import wait_until
from tests.sqlite.holders import hold_key, in_the_way, leave
from tests.sqlite.limits import no_longer_files

fork = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

KEY = 7
#: The key whose slot is that of `KEY`.
OTHER = KEY + key_locks._SLOTS


@pytest.fixture(name="new_locks")
def _new_locks(tmp_path: Path) -> Iterator[Callable[[], KeyLocks]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(KeyLocks(tmp_path / "some.db")))


@pytest.mark.parametrize("key", [0, KEY, -1, -(2**63), 2**63 - 1])
def test_one_holder(key: int, new_locks: Callable[[], KeyLocks]) -> None:
    """A key has one holder, also of two in one process, and is free when that one releases it."""
    one, other = new_locks(), new_locks()
    assert one.acquire(key)
    assert not other.acquire(key)
    assert other.acquire(key + 1 if key < 0 else key - 1)
    one.release(key)
    assert other.acquire(key)
    assert not one.acquire(key)


def test_a_closed_holder(new_locks: Callable[[], KeyLocks]) -> None:
    """A holder that closes its locks releases them, and may acquire them again."""
    one, other = new_locks(), new_locks()
    assert one.acquire(KEY)
    one.close()
    assert other.acquire(KEY)
    assert not one.acquire(KEY)


def test_a_key_that_was_not_released(new_locks: Callable[[], KeyLocks]) -> None:
    """A process may acquire a key that it holds, since its threads exclude each other before."""
    one = new_locks()
    assert one.acquire(KEY)
    assert one.acquire(KEY)


def test_another_process(tmp_path: Path, new_locks: Callable[[], KeyLocks]) -> None:
    """A key that another process holds is free once it has released it, while that process still runs."""
    locks = new_locks()
    with in_the_way(hold_key, tmp_path / "some.db"):
        assert not locks.acquire(KEY)
        leave(tmp_path / "some.db")
        wait_until((tmp_path / "released").exists)
        assert locks.acquire(KEY)


def test_a_process_that_dies(tmp_path: Path, new_locks: Callable[[], KeyLocks]) -> None:
    """A key of a process that was killed is free, although its slot still names that process."""
    locks = new_locks()
    with in_the_way(hold_key, tmp_path / "some.db") as process:
        assert not locks.acquire(KEY)
        process.kill()
        process.join()
        assert locks.acquire(KEY)


@fork
def test_a_child_is_another_owner(new_locks: Callable[[], KeyLocks]) -> None:
    """After fork() the child does not hold the keys of its parent, and its end does not release them."""
    parent, other = new_locks(), new_locks()
    assert parent.acquire(KEY)
    assert in_child(lambda: [parent.acquire(KEY), parent.acquire(KEY + 1)]) == [False, True]
    assert not other.acquire(KEY)
    assert other.acquire(KEY + 1)


def test_two_keys_of_one_slot(new_locks: Callable[[], KeyLocks]) -> None:
    """A key takes the slot of another one, and the release of that one leaves it alone."""
    one, other = new_locks(), new_locks()
    assert one.acquire(KEY)
    assert other.acquire(OTHER)
    one.release(KEY)
    assert not one.acquire(OTHER)


def test_beside_the_lock_of_writers(tmp_path: Path, new_locks: Callable[[], KeyLocks]) -> None:
    """The locks of keys and the lock of writers, which share a file, do not exclude each other."""
    locks = new_locks()
    with closing(ProcessLock(tmp_path / "some.db")) as lock:
        assert lock.try_acquire()
        assert locks.acquire(KEY)
        lock.release()
        assert lock.try_acquire()


@given(
    content=st.binary(max_size=3 * 16), at=st.integers(0, key_locks._SLOTS - 3), key=st.integers(-(2**63), 2**63 - 1)
)
@settings(max_examples=examples(100), deadline=None)
def test_any_content(tmp_path_factory: pytest.TempPathFactory, content: bytes, at: int, key: int) -> None:
    """Any content of the file leaves each key free, since no living process holds it."""
    path = tmp_path_factory.mktemp("locks") / "some.db"
    file = path.with_name("some.db.lock")
    file.write_bytes(bytes(16 * at) + content)
    with closing(KeyLocks(path)) as locks:
        assert locks.acquire(key)
        assert locks.acquire(at)
        locks.release(key)


def test_a_file_without_room(tmp_path: Path, new_locks: Callable[[], KeyLocks]) -> None:
    """Where the file has no room, each key is free, and no write to its memory ends the process."""
    one, other = new_locks(), new_locks()
    file = tmp_path / "some.db.lock"
    file.touch()
    with no_longer_files(file):
        assert one.acquire(KEY)
        assert other.acquire(KEY)
        one.release(KEY)
    assert one.acquire(KEY)
    assert not other.acquire(KEY)


def test_threads_that_open_the_file_together(new_locks: Callable[[], KeyLocks]) -> None:
    """Threads that acquire their first keys at one moment are one owner."""
    one, other = new_locks(), new_locks()
    threads = [threading.Thread(target=one.acquire, args=(key,)) for key in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(other.acquire(key) for key in range(8))
    for key in range(8):
        one.release(key)
    assert all(other.acquire(key) for key in range(8))
