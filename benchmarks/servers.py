"""Servers as sides of a comparison: apps under gunicorn, and `POST /api/items` under Fastify."""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import items
from benchmarks.bursts import Burst, items_in
from benchmarks.load import load, post

CONNECTIONS = 64
WORKERS = 2
#: Seconds within which a server must start.
_START = 20.0
_ROOT = Path(__file__).parents[1]
_FASTIFY = Path(__file__).with_name("peers") / "fastify"
BODY = json.dumps({"name": items.NAME, "description": items.DESCRIPTION}).encode()


class PeerMissingError(Exception):
    """A peer cannot be installed here."""


class Server:
    """A server process and its workers.

    Args:
        name: Its name in the table.
        command: The command, in which `{port}` stands for the port.
        folder: The folder of its log.
        environment: Its environment.

    Attributes:
        port: The port it listens on.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.port = _free_port()
        self._log = folder / "server.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [part.replace("{port}", str(self.port)) for part in command],
                cwd=_ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def processor_time(self) -> float:
        """Return the seconds of processor time that the process and those below it have taken."""
        return sum(map(_processor_time, _family(self._process.pid)))

    def __enter__(self) -> Self:
        end = time.monotonic() + _START
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > end:
                self._process.kill()
                raise RuntimeError(f"{self.name} did not start:\n{self._log.read_text()}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ItemsServer(Server):
    """A server of `POST /api/items` under load.

    Args:
        name: Its name in the table.
        command: The command, in which `{port}` stands for the port.
        database: The SQLite file it writes.
        environment: Its environment.
    """

    def __init__(self, name: str, command: Sequence[str], database: Path, environment: Mapping[str, str]) -> None:
        super().__init__(name, command, database.parent, environment)
        self._database = database

    def run(self, seconds: float) -> Burst:
        """Serve requests for some seconds."""
        return load(self.port, itertools.repeat(post(self.port, "/api/items", BODY)), CONNECTIONS, seconds)

    def stored(self) -> int:
        """Return the number of items."""
        return items_in(self._database)


def gunicorn(app: str, threads: int, workers: int = WORKERS, python: str = sys.executable) -> list[str]:
    """Return the command that serves an app with gunicorn, as `make serve` does.

    Args:
        app: The factory, such as `module:create_app('argument')`.
        threads: The threads of each worker.
        workers: The number of workers.
        python: The interpreter, of an environment that has the package.
    """
    return [
        *(python, "-m", "gunicorn", "-c", "python:flask_convex_http.gunicorn"),
        *("--bind", "127.0.0.1:{port}", "--workers", str(workers), "--threads", str(threads), "--log-level", "warning"),
        app,
    ]


def granian(app: str, threads: int) -> list[str]:
    """Return the command that serves an app with granian, as `make serve SERVER=granian` does.

    Args:
        app: The factory, such as `module:create_app('argument')`.
        threads: The threads of each worker.
    """
    return [
        *(sys.executable, "-m", "flask_convex_http.granian", "--port", "{port}", "--log-level", "warning"),
        *("--workers", str(WORKERS), "--blocking-threads", str(threads), app),
    ]


def fastify(database: Path, durability: str, processes: int) -> list[str]:
    """Return the command that serves the endpoint with Fastify and better-sqlite3, once they are installed."""
    return ["node", str(_FASTIFY / "server.js"), "{port}", str(database), durability, str(processes)]


@functools.cache
def install_fastify() -> None:
    """Install Fastify and better-sqlite3 if needed.

    Raises:
        PeerMissingError: Node or npm is missing, or npm cannot install or build the packages.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise PeerMissingError("there is no node or no npm")
    if _fastify_works():
        return
    print("  (installing Fastify and better-sqlite3 with npm, which takes a minute)", flush=True)
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock"]
    installed = subprocess.run(command, cwd=_FASTIFY, capture_output=True, text=True, check=False)
    if installed.returncode != 0 or not _fastify_works():
        raise PeerMissingError(f"npm could not install it:\n{installed.stderr[-500:]}")


def _fastify_works() -> bool:
    command = ["node", "-e", "require('fastify'); new (require('better-sqlite3'))(':memory:')"]
    return subprocess.run(command, cwd=_FASTIFY, capture_output=True, check=False).returncode == 0


def _family(pid: int) -> Iterator[int]:
    """Yield a process and all that it has started, and they."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _family(int(child))


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime (proc_pid_stat(5))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
