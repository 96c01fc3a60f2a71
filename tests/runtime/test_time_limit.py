"""The time limit of mutations."""

import logging
import subprocess
import sys
import threading
import time
from bdb import Bdb
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import MutationCtx, internal_mutation
from flask_convex_http.backend import Backend
from flask_convex_http.engines.sqlite.transactions import SQLiteTransaction
from flask_convex_http.errors import MutationTimeoutError
from flask_convex_http.functions.function import MutationFunction
from flask_convex_http.runtime import calls_of, time_limit
from tests.databases import EACH_ENGINE, SQLITE_ONLY
from tests.lengths import SAMPLED, repetitions
from tests.sqlite.crews import wait_until
from tests.worker.workers import Note, open_backend, run_all, write_note, written_notes

#: An interrupt may be raised inside a callback of the garbage collector, such as hypothesis's, where Python reports and
#: drops it. A second later it is raised again.
pytestmark = [EACH_ENGINE, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

LIMIT = 0.4
#: Mutations that end at about their limit.
RACES = repetitions("TIME_LIMIT_RACES", sample=4, whole=60)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the running mutations more often than once a second."""
    monkeypatch.setattr(time_limit, "_INTERVAL", 0.05)


@internal_mutation
def loop(ctx: MutationCtx, *, seconds: float) -> None:
    """Insert a note, and loop for this long."""
    ctx.db.insert(Note(text="looped"))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@internal_mutation
def loop_and_catch(ctx: MutationCtx, *, seconds: float) -> None:
    """Loop for this long, and catch every `Exception`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            ctx.db.insert(Note(text="caught"))
        except Exception:
            continue


@internal_mutation
def run_long_statement(ctx: MutationCtx) -> None:
    """Run one statement that takes a minute."""
    ctx.db.insert(Note(text="before"))
    transaction: Any = calls_of(ctx).transaction
    try:
        if isinstance(transaction, SQLiteTransaction):
            transaction._write(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n", ()
            )
        else:
            transaction._rows("SELECT pg_sleep(60)", ())
    except Exception:
        return


#: Held while `wait_in_c` waits for it.
_lock = threading.Lock()


class _Release(logging.Handler):
    """Releases the lock when a mutation that cannot be interrupted is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        if "cannot be interrupted" in record.getMessage() and _lock.locked():
            _lock.release()


@internal_mutation
def wait_in_c(ctx: MutationCtx) -> None:
    """Block in one call into C."""
    _lock.acquire(timeout=30)


@contextmanager
def limited(folder: Path) -> Iterator[Backend]:
    """Open a backend whose mutations may run for `LIMIT` seconds."""
    with open_backend(folder, [loop, loop_and_catch, run_long_statement, wait_in_c], mutation_timeout=LIMIT) as backend:
        yield backend


@pytest.mark.parametrize("function", [loop, loop_and_catch])
def test_an_endless_mutation_is_rolled_back(
    function: MutationFunction[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A mutation over its time limit is rolled back, and the log has its name and its stack."""
    with limited(tmp_path) as backend:
        began = time.monotonic()
        with pytest.raises(MutationTimeoutError, match=r"0\.4 s \(CONVEX_MUTATION_TIMEOUT\)"):
            backend.ctx().run_mutation(function, seconds=30)
        assert time.monotonic() - began < 10
        backend.ctx().run_mutation(write_note, text="next")
        assert written_notes(backend) == ["next"]
    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert function.name in record.getMessage()
    assert "in loop" in record.getMessage()


def test_an_endless_job_has_one_stack_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A scheduled mutation over its time limit has its stack in the log once, and a line with the id of the job."""
    with limited(tmp_path) as backend:
        job_id = backend.ctx().scheduler.run_after(0, loop, seconds=30)
        run_all(backend)
    stack, line = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "in loop" in stack.getMessage()
    assert f"({job_id}) failed: The write ran longer than 0.4 s" in line.getMessage()
    assert line.exc_info is None


def test_a_long_statement_is_stopped(tmp_path: Path) -> None:
    """A mutation whose SQL statement runs for too long is rolled back, and the next one gets a working connection."""
    with limited(tmp_path) as backend:
        began = time.monotonic()
        with pytest.raises(MutationTimeoutError):
            backend.ctx().run_mutation(run_long_statement)
        assert time.monotonic() - began < 10
        backend.ctx().run_mutation(write_note, text="next")
        assert written_notes(backend) == ["next"]


def test_concurrent_mutations_commit(tmp_path: Path) -> None:
    """Mutations that wait while one runs for too long commit after it."""
    with limited(tmp_path) as backend, ThreadPoolExecutor(4) as pool:
        slow = pool.submit(backend.ctx().run_mutation, loop, seconds=30)
        time.sleep(LIMIT / 2)
        others = [pool.submit(backend.ctx().run_mutation, write_note, text=str(number)) for number in range(3)]
        with pytest.raises(MutationTimeoutError):
            slow.result()
        for other in others:
            other.result()
        assert sorted(written_notes(backend)) == ["0", "1", "2"]


def test_a_mutation_at_a_breakpoint_is_not_interrupted(tmp_path: Path) -> None:
    """A mutation in a debugger is not interrupted, and has its whole limit after the breakpoint."""

    def stand() -> None:
        [limit] = time_limit._running
        limit.deadline = over = time.monotonic() - 1
        wait_until(lambda: limit.deadline > over)
        assert limit.deadline > time.monotonic()

    @internal_mutation
    def debug(ctx: MutationCtx) -> None:
        Bdb().runcall(stand)
        ctx.db.insert(Note(text="debugged"))

    with open_backend(tmp_path, [debug]) as backend:
        backend.ctx().run_mutation(debug)
        assert written_notes(backend) == ["debugged"]


#: Interrupts a loop, and then runs a function in a debugger.
DEBUGGED = """
import bdb
from flask_convex_http.errors import MutationTimeoutError
from flask_convex_http.runtime import time_limit

time_limit._INTERVAL = 0.01
try:
    with time_limit.TimeLimit(0.05, "loop", lambda: None):
        while True:
            pass
except MutationTimeoutError:
    print("interrupted")
bdb.Bdb().runcall(lambda: print("debugged"))
"""


@SQLITE_ONLY
def test_a_debugger_works_after_an_interrupt() -> None:
    """After a mutation was interrupted, a debugger works in its process, which CPython 3.11 may not do."""
    done = subprocess.run([sys.executable, "-c", DEBUGGED], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["interrupted", "debugged"], done.stderr


@SAMPLED
def test_a_thread_is_interrupted_inside_of_its_mutation_only(tmp_path: Path) -> None:
    """A mutation that ends at its limit succeeds or times out, and its thread goes on undisturbed."""
    with limited(tmp_path) as backend:
        ended = []
        for number in range(RACES):
            try:
                backend.ctx().run_mutation(loop, seconds=LIMIT + (number % 4 - 1) * 0.02)
                ended.append("looped")
            except MutationTimeoutError:
                pass
            end = time.monotonic() + 0.06
            while time.monotonic() < end:
                pass
        assert written_notes(backend) == ended


def test_a_mutation_in_a_call_into_c_is_logged_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mutation that cannot be interrupted is logged again, and interrupted when its call into C returns."""
    monkeypatch.setattr(time_limit, "_GRACE", 0.1)
    handler = _Release()
    time_limit.logger.addHandler(handler)
    _lock.acquire()
    try:
        with limited(tmp_path) as backend, pytest.raises(MutationTimeoutError):
            backend.ctx().run_mutation(wait_in_c)
    finally:
        time_limit.logger.removeHandler(handler)
        if _lock.locked():
            _lock.release()
    wait_until(lambda: "cannot be interrupted" in caplog.text)  # its handler may come after the one that releases
