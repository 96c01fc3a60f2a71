"""Failing disks: while system calls fail, clients get clean errors, and afterwards everything works.

strace attaches to gunicorn's workers, makes the calls fail that write or sync the ledger's files, and detaches. The
server is not restarted.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.crash.clients import PATIENCE, Answer, Clients, Connection, ask
from tests.crash.crews import Gunicorn, empty
from tests.crash.judge import faults, lost
from tests.crash.ledger import DATABASE, FILES, open_ledger
from tests.crash.power import Disk
from tests.crash.programs import compiled, is_traced, strace
from tests.lengths import LONG

#: The injected faults in strace's syntax: `when=1+` is always, `when=3+5` the third call and every fifth after it.
FAULTS = {
    "the disk is full": "pwrite64:error=ENOSPC:when=1+",
    "the disk is full now and then": "pwrite64:error=ENOSPC:when=5+9",
    "no sync succeeds": "fsync,fdatasync:error=EIO:when=1+",
    "a sync fails now and then": "fsync,fdatasync:error=EIO:when=2+3",
    "writes fail": "pwrite64:error=EIO:when=1+",
    "nothing is written": "pwrite64:retval=0:when=1+",
}
#: The faults of `make test`. The others have their turn in `make test-long`.
SHORT = ("no sync succeeds",)
#: Seconds that a fault lasts after its first effect.
LASTING = 0.5


@contextmanager
def serving(folder: Path, memory: Path, shim: Path, **settings: object) -> Iterator[tuple[Gunicorn, Disk]]:
    """Yield gunicorn on an empty ledger, on a disk with power cuts."""
    with closing(open_ledger(folder)) as backend:
        backend.migrate()
    disk = Disk(folder, empty(memory / "kept"), shim)
    server = Gunicorn(folder, memory, disk.environment | {f"FLASK_{name}": str(settings[name]) for name in settings})
    try:
        server.wait_until_it_serves()
        yield server, disk
    finally:
        server.kill()


@contextmanager
def working(server: Gunicorn, name: str, count: int = 6) -> Iterator[Clients]:
    """Run clients during the block."""
    clients = Clients(server.socket, name, count)
    try:
        yield clients
    finally:
        clients.stop()


@contextmanager
def faulty(program: str, fault: str, server: Gunicorn, files: list[Path], log: Path) -> Iterator[None]:
    """Inject a fault into every worker's calls on some files."""
    command = [program, "-f", "-qq", "-o", str(log), "-e", f"trace={fault.partition(':')[0]}", "-e", f"inject={fault}"]
    command += [option for path in files for option in ("-P", str(path))]
    command += [option for pid in server.workers for option in ("-p", str(pid))]
    with subprocess.Popen(command) as process:
        try:
            wait_until(lambda: all(map(is_traced, server.workers)), "attaching of strace")
            yield
        finally:
            process.send_signal(signal.SIGINT)  # upon which it detaches
            process.wait(PATIENCE)


def files_of(folder: Path) -> list[Path]:
    """Return the database and the file store, with their logs."""
    return [folder / f"{name}{ending}" for name in (DATABASE, FILES) for ending in ("", "-wal")]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"There was no {what}"
        time.sleep(0.01)


def is_clean(answer: Answer) -> bool:
    """Return whether a response is a JSON error with Retry-After."""
    return answer.status == 503 and set(answer.json) == {"error"} and int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("fault", [pytest.param(name, marks=[] if name in SHORT else [LONG]) for name in FAULTS])
def test_a_failing_disk_loses_nothing(fault: str, shim: Path, tmp_path: Path, memory: Path) -> None:
    """During disk faults each request is 201 or 503; afterwards the server works and nothing acknowledged is lost."""
    program, folder, log = strace(), empty(tmp_path / "disk"), tmp_path / "strace.log"
    with serving(folder, memory, shim) as (server, disk):
        with working(server, "before") as before:
            wait_until(lambda: len(before.acknowledged) > 20, "posting before the fault")
        with (
            working(server, "during") as during,
            faulty(program, FAULTS[fault], server, files_of(folder), log),
        ):
            wait_until(lambda: bool(during.refusals), "refusal")
            time.sleep(LASTING)
        with working(server, "after") as after:
            wait_until(lambda: len(after.acknowledged) > 20, "posting after the fault")
        assert len(server.workers) == 2, "A worker was started again"
    assert "(INJECTED)" in log.read_text(), "The fault never happened"
    assert [answer for answer in during.refusals if not is_clean(answer)] == []
    assert (before.refusals, after.refusals) == ([], [])
    for left in (disk.after_crash(memory / "crash"), disk.after_power_cut(memory / "cut")):
        assert lost(left, [*before.acknowledged, *during.acknowledged, *after.acknowledged]) == set()
        assert faults(left) == []


@LONG
def test_a_failing_checkpoint_fails_no_request(shim: Path, tmp_path: Path, memory: Path) -> None:
    """While only the log can be written, all requests succeed, and a later checkpoint catches up."""
    program, folder, log = strace(), empty(tmp_path / "disk"), tmp_path / "strace.log"
    with serving(folder, memory, shim) as (server, disk), working(server, "key") as clients:
        with faulty(program, FAULTS["writes fail"], server, [folder / DATABASE], log):
            wait_until(lambda: "(INJECTED)" in log.read_text(), "checkpoint")
        wait_until(lambda: (folder / DATABASE).stat().st_size > 2**20, "checkpoint after the fault")
    assert clients.refusals == []
    for left in (disk.after_crash(memory / "crash"), disk.after_power_cut(memory / "cut")):
        assert lost(left, clients.acknowledged) == set()
        assert faults(left) == []


@LONG
def test_a_single_request_is_answered_while_no_sync_succeeds(shim: Path, tmp_path: Path, memory: Path) -> None:
    """A lone write fails at once while no sync succeeds, reads work, and afterwards the same write succeeds."""
    program, folder = strace(), empty(tmp_path / "disk")
    posting = {"key": "alone", "account": "a", "amount": 1}
    with serving(folder, memory, shim) as (server, disk), closing(Connection(server.socket)) as connection:
        with faulty(program, FAULTS["no sync succeeds"], server, files_of(folder), tmp_path / "strace.log"):
            failed = ask(connection, "POST", "/entries", posting)
            read = ask(connection, "GET", "/accounts/a")
        succeeded = ask(connection, "POST", "/entries", posting)
    assert is_clean(failed)
    assert failed.seconds < 5
    assert (read.status, succeeded.status) == (200, 201)
    left = disk.after_power_cut(memory / "cut")
    assert lost(left, ["alone"]) == set()
    assert faults(left) == []


@pytest.mark.parametrize(
    "setting", [{"CONVEX_WRITE_TIMEOUT": 0.3}, pytest.param({"CONVEX_WRITE_QUEUE": 2}, marks=LONG)], ids=str
)
def test_a_slow_disk_makes_writers_come_back(
    setting: dict[str, object], shim: Path, tmp_path: Path, memory: Path
) -> None:
    """While syncs are slow, excess writes are 503 with Retry-After in time; afterwards all succeed."""
    program, folder = strace(), empty(tmp_path / "disk")
    slow = "fsync,fdatasync:delay_enter=1000000"
    with serving(folder, memory, shim, **setting) as (server, disk):
        with (
            working(server, "during", count=12) as during,  # so that all threads of a worker are busy
            faulty(program, slow, server, files_of(folder), tmp_path / "log"),
        ):
            wait_until(lambda: bool(during.refusals), "refusal")
        with working(server, "after", count=2) as after:
            wait_until(lambda: len(after.acknowledged) > 20, "posting after the fault")
    assert [answer for answer in during.refusals if not is_clean(answer)] == []
    assert min(answer.seconds for answer in during.refusals) < 3
    assert after.refusals == []
    left = disk.after_power_cut(memory / "cut")
    assert lost(left, [*during.acknowledged, *after.acknowledged]) == set()
    assert faults(left) == []


@LONG
def test_short_writes_are_written_to_their_end(tmp_path: Path, memory: Path) -> None:
    """A system that sometimes writes only half of the bytes makes no request fail and damages nothing."""
    folder = empty(tmp_path / "disk").resolve()
    with closing(open_ledger(folder)) as backend:
        backend.migrate()
    library = compiled("short_writes", tmp_path)
    server = Gunicorn(folder, memory, {"LD_PRELOAD": str(library), "SHORT_WRITES_IN": str(folder)})
    try:
        server.wait_until_it_serves()
        with working(server, "key") as clients:
            wait_until(lambda: len(clients.acknowledged) > 100, "posting")
    finally:
        server.kill()
    assert clients.refusals == []
    assert lost(folder, clients.acknowledged) == set()
    assert faults(folder) == []
