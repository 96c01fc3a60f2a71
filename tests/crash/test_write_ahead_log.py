"""The write-ahead log under load: it stays small, shrinks after a long reader, and no call waits for it."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flask_convex_http.backend import Backend
from tests.crash.ledger import DATABASE, Account, Entry, is_torn, open_ledger, post

MIB = 2**20
#: The largest size of the log's file without a long reader.
SMALL = 16 * MIB
#: The bytes written during a test, more than twice that size.
MUCH = 40 * MIB
NOTE = "x" * 60_000
#: The longest duration of a call in seconds: far more than it needs, far less than SQLite waits for a lock.
AT_ONCE = 3.0


@pytest.fixture(name="backend")
def _backend(tmp_path: Path) -> Iterator[Backend]:
    with closing(open_ledger(tmp_path)) as backend:
        backend.migrate()
        backend.ctx().run_mutation(post, key="first", account="a", amount=1)
        yield backend


def log_size(folder: Path) -> int:
    """Return the size of the log's file."""
    return (folder / f"{DATABASE}-wal").stat().st_size


def write(backend: Backend, name: str, amount: int, watch: Callable[[], object] = lambda: None) -> None:
    """Write a number of bytes, and check that no posting is slow."""
    for number in range(amount // len(NOTE)):
        start = time.monotonic()
        backend.ctx().run_mutation(post, key=f"{name}-{number}", account="a", amount=1, note=NOTE)
        assert time.monotonic() - start < AT_ONCE
        watch()


@contextmanager
def reading(backend: Backend, threads: int = 2) -> Iterator[list[Future[float]]]:
    """Run reading threads; each returns the duration of its slowest query."""
    over = threading.Event()

    def read() -> float:
        slowest = 0.0
        while not over.is_set():
            start = time.monotonic()
            assert not backend.ctx().run_query(is_torn, account="a")
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(0.001)
        return slowest

    with ThreadPoolExecutor(threads) as pool:
        try:
            yield [pool.submit(read) for _ in range(threads)]
        finally:
            over.set()


def test_the_log_stays_small_under_steady_load(backend: Backend, tmp_path: Path) -> None:
    """While several threads write and others read, the log's file stays small."""
    sizes: list[int] = []
    with reading(backend) as readers, ThreadPoolExecutor(4) as pool:
        names = [f"writer-{number}" for number in range(4)]
        writers = [
            pool.submit(write, backend, name, MUCH // 4, lambda: sizes.append(log_size(tmp_path))) for name in names
        ]
        for writer in writers:
            writer.result()
    assert max(reader.result() for reader in readers) < AT_ONCE
    assert max(sizes) <= SMALL


def test_the_log_shrinks_after_a_long_reader(backend: Backend, tmp_path: Path) -> None:
    """A snapshot during many writes makes the log grow and stays constant; after it, the log shrinks."""
    entries, accounts = backend.schema.table_for(Entry), backend.schema.table_for(Account)
    with backend.engine.snapshot() as snapshot:
        before = (snapshot.count(entries), snapshot.count(accounts))
        write(backend, "during", MUCH)
        assert log_size(tmp_path) > MUCH
        assert (snapshot.count(entries), snapshot.count(accounts)) == before
    write(backend, "after", 5 * MIB)
    assert log_size(tmp_path) <= SMALL


def test_nobody_waits_for_a_checkpoint(backend: Backend) -> None:
    """While a snapshot prevents checkpoints and much is written, neither the writer nor other readers wait."""
    entries = backend.schema.table_for(Entry)
    with reading(backend) as readers, backend.engine.snapshot() as snapshot:
        snapshot.count(entries)
        write(backend, "during", MUCH)
    assert max(reader.result() for reader in readers) < AT_ONCE
