"""Workers of gunicorn that are replaced, with the settings of the package: no request is lost."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from tests.lengths import LONG
from tests.processes.servers import Server, send_request
from tests.processes.slow_clients import GET, answer, clients, seconds_for_health, serving

_SETTINGS = "tests.processes.lingering"
#: Options of the package's own settings, which are read again as they are.
_OWN = ("flask_convex_http.gunicorn", "--bind", "127.0.0.1:0", "--worker-class", "tests.processes.lingering.Lingering")

#: The settings of a worker that gets SIGQUIT at its first request, while it holds the lock of its threads.
_QUITTING = """
import os
import signal
import threading
from pathlib import Path

from tests.processes.lingering import *
from flask_convex_http.gunicorn.request_threads import Threads

wake_one = Threads._wake_one

def quit_and_wake_one(self):
    if threading.current_thread() is threading.main_thread() and Path("armed").exists():
        Path("armed").unlink()
        signal.raise_signal(signal.SIGQUIT)
    wake_one(self)

Threads._wake_one = quit_and_wake_one
"""


@contextmanager
def requests(server: Server) -> Iterator[list[int]]:
    """Let clients send requests on new connections and on kept ones, and yield the statuses of the responses."""
    statuses: list[int] = []
    is_over = threading.Event()

    def connect_each_time() -> None:
        while not is_over.is_set():
            statuses.append(server.request("GET", "/health").status)

    def keep_connections() -> None:
        with closing(server.connect()) as connection:  # it connects again after `Connection: close`
            while not is_over.is_set():
                statuses.append(send_request(connection, "GET", "/health").status)

    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(client) for client in [connect_each_time, keep_connections] * 3]
        try:
            yield statuses
        finally:
            is_over.set()
        for client in running:
            client.result()


def has_ended(worker: int) -> bool:
    """Return whether a worker has ended, and gunicorn has noticed it."""
    try:
        os.kill(worker, 0)
    except ProcessLookupError:
        return True
    return False


def sockets_of(process: int) -> int:
    """Return the number of sockets of a process."""
    found = 0
    for link in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has been closed since the listing
            found += str(link.readlink()).startswith("socket:")
    return found


def reload(server: Server, number: int, statuses: list[int]) -> None:
    """Replace the workers of a server that has started this number of workers, while it responds."""
    server.wait(lambda: len(server.workers) == number, "start two workers")
    old, count = server.workers, len(statuses)
    server.wait(lambda: len(statuses) > count + 20, "respond")
    server.signal(signal.SIGHUP)
    server.wait(lambda: all(map(has_ended, old)), "end the old workers")


def test_a_reload_loses_no_request(tmp_path: Path) -> None:
    """SIGHUP reads the settings again and replaces the workers, while each request gets its response."""
    with serving(tmp_path, *_OWN) as server, requests(server) as statuses:
        for number in (2, 4):
            reload(server, number, statuses)
        assert len(server.workers) == 6
    assert set(statuses) == {200}


@LONG
def test_workers_with_a_limit_of_requests_lose_none(tmp_path: Path) -> None:
    """Workers end after a number of requests, and each request gets its response."""
    limit = ("--max-requests", "60", "--max-requests-jitter", "40")
    with serving(tmp_path, *_OWN, *limit) as server, requests(server) as statuses:
        server.wait(lambda: len(server.workers) >= 5 and any(map(has_ended, server.workers)), "replace three workers")
    assert set(statuses) == {200}


def test_a_worker_that_stops_awaits_requests_on_their_way(tmp_path: Path) -> None:
    """A client whose connection was accepted just before the worker stops can still send its request."""
    with serving(tmp_path, _SETTINGS) as server:
        whole = GET + b"\r\n"
        with clients(server, b"", GET, b"") as (silent, half, kept):
            [worker] = server.workers
            seconds_for_health(server)  # the worker has accepted all of them
            server.signal(signal.SIGHUP)
            response = b""
            while b"Connection: close" not in response:  # the worker stops
                kept.sendall(whole)
                response = answer(kept)
                assert response.startswith(b"HTTP/1.1 200")
            time.sleep(1)  # five looks for connections to close
            for client, rest in ((silent, whole), (half, b"\r\n")):
                client.sendall(rest)
                assert answer(client).startswith(b"HTTP/1.1 200")
        server.wait(lambda: has_ended(worker), "end the old worker")


def test_connections_that_clients_leave_open_are_counted(tmp_path: Path) -> None:
    """A connection that the client leaves open after its last response is one of `worker_connections`."""
    with serving(tmp_path, _SETTINGS) as server:
        [worker] = server.workers
        idle = sockets_of(worker)
        with clients(server, *[GET + b"Connection: close\r\n\r\n"] * 20) as opened:
            most = 0
            for client in opened:
                assert answer(client).startswith(b"HTTP/1.1 200")
                most = max(most, sockets_of(worker))
        assert most <= idle + 8


def test_sigquit_during_a_request_ends_the_worker_at_once(tmp_path: Path) -> None:
    """A worker that gets SIGQUIT while its event loop hands a request to a thread does not wait for a timeout."""
    (tmp_path / "quitting.py").write_text(_QUITTING, encoding="utf-8")
    (tmp_path / "armed").touch()
    with serving(tmp_path, "quitting") as server:
        assert len(server.workers) == 2  # the first one got the first request
        assert has_ended(server.workers[0])
        assert "WORKER TIMEOUT" not in server.output
