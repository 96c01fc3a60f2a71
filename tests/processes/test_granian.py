"""granian with the settings of the package."""

import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from flask_convex_http.granian import choose, main
from tests.lengths import LONG
from tests.processes.servers import Deployment, each_production_kind, serving
from tests.processes.slow_clients import PARTS, answer, clients, seconds_for_health


def test_a_missing_granian_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without granian the command ends with the line that installs it."""
    monkeypatch.setitem(sys.modules, "granian.cli", None)
    with pytest.raises(SystemExit, match=r"^granian cannot be imported .*; run pip install 'granian>="):
        main()


@pytest.mark.parametrize(
    ("older", "processor"),
    [
        ([], 0),
        ([{0}], 1),
        ([{0, 1}], 1),
        ([{0}, {1}], 0),
        ([{1}, {0}], 1),
        ([{1}], 0),
        ([{0}, {0, 1}, {0}], 1),
    ],
)
def test_the_processor_of_a_new_worker(older: Sequence[set[int]], processor: int) -> None:
    """A worker takes the processor with the fewest workers, and of several that of the oldest worker."""
    assert choose([0, 1], older) == processor


@LONG
def test_workers_are_replaced_and_keep_to_their_processors(tmp_path: Path) -> None:
    """A killed worker and, at SIGHUP, all workers are replaced, and two workers are on two processors."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving("granian", deployment) as server:
        server.wait(lambda: server.output.count("Started worker") == 2, "start two workers")
        os.kill(server.workers[0], signal.SIGKILL)
        server.wait(lambda: server.output.count("Stopped old worker") == 1, "replace a worker")
        server.signal(signal.SIGHUP)
        server.wait(lambda: server.output.count("Stopped old worker") == 3, "replace both workers")
        server.wait(lambda: server.output.count("Started worker") == 5, "start the new workers")
        assert server.request("GET", "/health").status == 200
        processors = [os.sched_getaffinity(worker) for worker in server.workers[-2:]]
        if len(os.sched_getaffinity(os.getpid())) > 1:
            assert [len(own) for own in processors] == [1, 1]
            assert processors[0] != processors[1]


@LONG
@each_production_kind
def test_a_server_that_is_stopped_ends_running_requests(kind: str, tmp_path: Path) -> None:
    """A request whose body is still arriving when the server is told to stop gets its response."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    head = b"POST /api/upload HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n"
    with (
        serving(kind, deployment) as server,
        closing(socket.create_connection((server.host, server.port), timeout=30)) as client,
    ):
        client.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert answer(client).startswith(b"HTTP/1.1 100")  # a thread reads the body
        client.sendall(bytes(60_000))
        server.signal(signal.SIGTERM)
        server.wait(lambda: "Shutting down granian" in server.output or "Handling signal" in server.output, "stop")
        client.sendall(bytes(40_000))
        assert answer(client).startswith(b"HTTP/1.1 200")


@LONG
def test_requests_that_do_not_arrive_hold_no_thread(tmp_path: Path) -> None:
    """Half-sent heads hold no thread of granian, and are closed when the time for heads is over."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving("granian", deployment) as server, clients(server, *PARTS[:4] * 16) as slow:
        assert seconds_for_health(server) < 5
        slow[-2].sendall(b"\r\n")
        assert answer(slow[-2]).startswith(b"HTTP/1.1 200")
        assert all(answer(client)[:12] in (b"", b"HTTP/1.1 408") for client in slow if client is not slow[-2])
