"""Responses that fail in the middle, under gunicorn with the settings of the package."""

import contextlib
import http.client
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.child_processes import child_environment
from tests.processes.servers import TIMEOUT

_APP = """
import os

def app(environ, start_response):
    if environ["PATH_INFO"] == "/file":
        start_response("200 OK", [("Content-Length", str(2**26))])
        return environ["wsgi.file_wrapper"](open("large", "rb"))
    return respond(environ["PATH_INFO"], start_response)

def respond(path, start_response):
    body = str(os.getpid()).encode()
    if path == "/exit":
        raise SystemExit(3)
    if path == "/interrupt":
        raise KeyboardInterrupt
    start_response("200 OK", [("Content-Length", str(2 * len(body) if path == "/broken" else len(body)))])
    yield body
    if path == "/broken":
        raise RuntimeError("in the middle")
"""
_CONFIG = "python:tests.processes.impatient"


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Yield the port and the process of gunicorn with one worker, which serves the app."""
    (tmp_path / "failing.py").write_text(_APP, encoding="utf-8")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**26)
    command = [sys.executable, "-m", "gunicorn", "-c", _CONFIG, "--threads", "1", "failing:app"]
    environment = child_environment()
    environment["PYTHONPATH"] = f"{tmp_path}:{Path.cwd()}"
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=output, text=True)
    try:
        yield _port(log), process
    finally:
        process.terminate()
        process.wait(TIMEOUT)


def _port(log: Path) -> int:
    end = time.monotonic() + TIMEOUT
    while (found := re.search(r"Listening at: http://127.0.0.1:(\d+)", log.read_text())) is None:
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    return int(found[1])


def _worker(port: int) -> int:
    """Return the id of the process that serves a request on a connection of its own."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as client:
        client.request("GET", "/")
        return int(client.getresponse().read())


def test_a_response_that_fails_does_not_end_the_worker(server: tuple[int, subprocess.Popen[str]]) -> None:
    """After an error behind the head of a connection's second response, the same worker serves others."""
    port, _ = server
    worker = _worker(port)
    for _ in range(3):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as client:
            client.request("GET", "/")
            client.getresponse().read()
            client.request("GET", "/broken")
            with pytest.raises(http.client.IncompleteRead):
                client.getresponse().read()
    assert _worker(port) == worker


def test_an_app_that_exits_gets_500(server: tuple[int, subprocess.Popen[str]]) -> None:
    """SystemExit and KeyboardInterrupt of the app are errors of one request, and end neither worker nor server."""
    port, _ = server
    worker = _worker(port)
    for path in ("/exit", "/interrupt"):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as client:
            client.request("GET", path)
            assert client.getresponse().status == 500
    assert _worker(port) == worker


def test_a_client_that_does_not_take_a_file_holds_no_thread(server: tuple[int, subprocess.Popen[str]]) -> None:
    """The only thread of a worker serves others soon after a client has stopped to read a file."""
    port, _ = server
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as client:
        client.request("GET", "/file")
        began = time.monotonic()
        assert _worker(port)
        assert time.monotonic() - began < 20  # about a second


def test_a_worker_that_is_aborted_ends_at_once(server: tuple[int, subprocess.Popen[str]]) -> None:
    """A worker that ends by SIGABRT is replaced long before the timeout of 30 seconds."""
    port, process = server
    worker = _worker(port)
    [killed] = [int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert killed == worker
    subprocess.run(["kill", f"-{signal.SIGABRT.value}", str(worker)], check=True)
    began = time.monotonic()
    assert _worker(port) != worker
    assert time.monotonic() - began < 20
