"""Failures of a PostgreSQL server, after each of which it comes back."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from tests.databases import PostgresServer
from tests.processes.servers import TIMEOUT

#: Seconds for which a server is frozen.
_FROZEN = 0.5


@contextmanager
def durable_server() -> Iterator[PostgresServer]:
    """Yield a server whose commits survive its failures."""
    server = PostgresServer(fsync="on")
    try:
        server.start()
        yield server
    finally:
        server.remove()


def kill_all(server: PostgresServer) -> None:
    """Send SIGKILL to every process of the server, as if its machine lost power."""
    for pid in _processes(server):
        _send(pid, signal.SIGKILL)
    _wait_for_end(server)


def kill_postmaster(server: PostgresServer) -> None:
    """Send SIGKILL to the postmaster, after which the other processes end by themselves."""
    _send(_processes(server)[0], signal.SIGKILL)
    _wait_for_end(server)


def kill_backend(server: PostgresServer) -> None:
    """Send SIGKILL to the process of one client. The server ends all others and recovers by itself."""
    first, *others = _processes(server)
    clients = [pid for pid in others if b"postgres: postgres" in _command(pid)]
    if not clients:
        _send(first, signal.SIGKILL)
        _wait_for_end(server)
        return
    _send(clients[-1], signal.SIGKILL)
    _wait_until(lambda: not any(b"postgres: postgres" in _command(pid) for pid in clients))


def stop_immediately(server: PostgresServer) -> None:
    """Stop the server as `pg_ctl stop -m immediate` does."""
    server.crash()


def stop(server: PostgresServer) -> None:
    """Stop the server as `pg_ctl stop -m fast` does: it disconnects the clients and writes everything to disk."""
    _send(_processes(server)[0], signal.SIGINT)
    _wait_for_end(server)


def freeze(server: PostgresServer) -> None:
    """Suspend all processes of the server for a moment, as a migration of its machine does."""
    frozen = _processes(server)
    for pid in frozen:
        _send(pid, signal.SIGSTOP)
    time.sleep(_FROZEN)
    for pid in frozen:
        _send(pid, signal.SIGCONT)


FAILURES: list[Callable[[PostgresServer], None]] = [
    kill_all,
    kill_postmaster,
    kill_backend,
    stop_immediately,
    stop,
    freeze,
]


def start(server: PostgresServer) -> None:
    """Start the server again, or wait until it has recovered by itself."""
    if server._process is None:
        server.start()
    _wait_until(lambda: _accepts_connections(server.url()))


def _processes(server: PostgresServer) -> list[int]:
    """Return the ids of the server's processes, the postmaster first."""
    first = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    with suppress(FileNotFoundError):
        return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]
    return [first]


def _wait_for_end(server: PostgresServer) -> None:
    """Wait until all processes of the server have ended, because it does not start before."""
    _wait_until(lambda: not any(_is_of(server, int(pid)) for pid in filter(str.isdigit, os.listdir("/proc"))))
    server.crash()


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, "The server neither ends nor accepts connections"
        time.sleep(0.01)


def _accepts_connections(url: str) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False


def _is_of(server: PostgresServer, pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cwd").resolve() == server.folder / "data"
    return False


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
