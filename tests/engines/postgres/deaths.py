"""Ways in which a PostgreSQL server ends, or does nothing any more, and comes back."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from tests.databases import PostgresServer
from tests.processes.servers import PATIENCE

#: Seconds that a frozen server does nothing.
_FROZEN = 0.5


@contextmanager
def mortal() -> Iterator[PostgresServer]:
    """A server that is there to be killed: what it has committed is on its disk."""
    server = PostgresServer(fsync="on")
    try:
        server.start()
        yield server
    finally:
        server.remove()


def kill_all(server: PostgresServer) -> None:
    """Kill -9 of every process of the server, as if its machine were gone."""
    for pid in processes(server):
        _send(pid, signal.SIGKILL)
    _wait_for_end(server)


def kill_the_first(server: PostgresServer) -> None:
    """Kill -9 of the process that starts the others, which then end by themselves."""
    _send(processes(server)[0], signal.SIGKILL)
    _wait_for_end(server)


def kill_a_backend(server: PostgresServer) -> None:
    """Kill -9 of a process that works for a client: the server ends all others, and comes back by itself."""
    first, *others = processes(server)
    clients = [pid for pid in others if b"postgres: postgres" in _command(pid)]
    if not clients:
        _send(first, signal.SIGKILL)
        _wait_for_end(server)
        return
    _send(clients[-1], signal.SIGKILL)
    _wait_until(lambda: not any(b"postgres: postgres" in _command(pid) for pid in clients))


def stop_at_once(server: PostgresServer) -> None:
    """What `pg_ctl stop -m immediate` does."""
    server.crash()


def stop(server: PostgresServer) -> None:
    """What `pg_ctl stop -m fast` does: clients are thrown out, and all is written."""
    _send(processes(server)[0], signal.SIGINT)
    _wait_for_end(server)


def freeze(server: PostgresServer) -> None:
    """Let it do nothing at all for a moment, as if its machine were moved: whoever asked for something waits."""
    frozen = processes(server)
    for pid in frozen:
        _send(pid, signal.SIGSTOP)
    time.sleep(_FROZEN)
    for pid in frozen:
        _send(pid, signal.SIGCONT)


DEATHS: list[Callable[[PostgresServer], None]] = [kill_all, kill_the_first, kill_a_backend, stop_at_once, stop, freeze]


def start(server: PostgresServer) -> None:
    """Start it again, or wait until it has come back by itself."""
    if server._process is None:
        server.start()
    _wait_until(lambda: _answers(server.url()))


def processes(server: PostgresServer) -> list[int]:
    """The ids of its processes, the one that has started the others first."""
    first = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    with suppress(FileNotFoundError):
        return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]
    return [first]


def _wait_for_end(server: PostgresServer) -> None:
    """Wait until none of its processes is left: it would not start beside them."""
    _wait_until(lambda: not any(_is_of(server, int(pid)) for pid in filter(str.isdigit, os.listdir("/proc"))))
    server.crash()


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "The server neither ends nor answers"
        time.sleep(0.01)


def _answers(url: str) -> bool:
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
