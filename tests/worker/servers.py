"""Run the test app in processes of its own: servers, separate workers, and a view of their database."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.schema.system_tables import ScheduledFunction
from tests.databases import folder_config
from tests.lengths import LONG
from tests.processes import servers
from tests.processes.servers import KEEP_ALIVE, TIMEOUT, Kind, Server, running
from tests.sqlite.crews import wait_until
from tests.worker.app import functions
from tests.worker.workers import SCHEMA, all_jobs, written_notes

APP = "tests.worker.app:create_app()"
_GUNICORN = f"gunicorn {APP} --bind 127.0.0.1:0 --threads 4 --no-control-socket {KEEP_ALIVE}"
#: The kinds of servers. The last two use the settings that come with the package.
KINDS = {
    "flask": Kind(("flask", "--app", APP, "run", "--port", "0"), (-signal.SIGTERM,)),
    "gunicorn": Kind(tuple(f"{_GUNICORN} --workers 2".split()), (0,)),
    "gunicorn, sync": Kind(tuple(f"gunicorn {APP} --bind 127.0.0.1:0 --no-control-socket".split()), (0,)),
    "gunicorn, preloaded": Kind(tuple(f"{_GUNICORN} --workers 2 --preload".split()), (0,)),
    "gunicorn, our settings": Kind(tuple(f"{_GUNICORN} -c python:flask_convex_http.gunicorn".split()), (0,)),
    "granian": Kind(tuple(f"flask_convex_http.granian {APP} --port {{port}} --blocking-threads 4".split()), (0,)),
}

#: The kinds that have their turn in `make test-long`.
_LONG_KINDS = ("gunicorn", "gunicorn, sync", "gunicorn, preloaded", "granian")


def served_by(*kinds: str, long: tuple[str, ...] = ()) -> pytest.MarkDecorator:
    """Parametrize a test that takes `kind` by servers.

    On PostgreSQL only those run that fork like the package's own settings.

    Args:
        kinds: The servers.
        long: More of them that only `make test-long` runs.
    """
    left_out = (*_LONG_KINDS, *long)
    pairs: list[Any] = [pytest.param("sqlite", kind, marks=LONG if kind in left_out else ()) for kind in kinds]
    pairs += [("postgres", kind) for kind in kinds if kind in ("gunicorn, preloaded", "gunicorn, our settings")]
    return pytest.mark.parametrize(("each_engine", "kind"), pairs, indirect=["each_engine"])


class Deployment(servers.Deployment):
    """A folder with a database, and the settings of the processes that use it.

    Args:
        folder: An empty folder.
        settings: CONVEX_ settings, in lower case without CONVEX_.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder)
        self.settings |= folder_config(folder)
        self.settings |= {f"CONVEX_{name.upper()}": str(value) for name, value in settings.items()}

    @contextmanager
    def backend(self) -> Iterator[Backend]:
        """Open the same database in this process, without a worker."""
        urls = {name: url for name, url in self.settings.items() if name.endswith("_URL")}
        with closing(Backend(Settings.from_mapping(urls), SCHEMA, functions, folder=self.folder)) as backend:
            yield backend

    @property
    def jobs(self) -> list[ScheduledFunction]:
        """All jobs, oldest first."""
        with self.backend() as backend:
            return all_jobs(backend)

    @property
    def notes(self) -> list[str]:
        """All notes, each with the process that inserted it."""
        with self.backend() as backend:
            return written_notes(backend)

    def program(self, source: str) -> subprocess.CompletedProcess[str]:
        """Run a Python program to its end."""
        command = [sys.executable, "-W", "error", "-c", source]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=TIMEOUT
        )


def serving(kind: str, deployment: Deployment, *, sends_requests: bool = True) -> AbstractContextManager[Server]:
    """Run a server, and stop it in the ordinary way.

    Args:
        kind: The kind of server.
        deployment: The deployment that it serves.
        sends_requests: Whether to send requests until one succeeds. Without, only its workers are started.
    """
    server = Server(deployment, KINDS[kind])
    start = partial(server.wait, lambda: len(server.workers) == 2, "start its workers")
    return running(server, None if sends_requests else start)


@contextmanager
def worker_process(deployment: Deployment) -> Iterator[int]:
    """Run `flask convex worker` as a process, and return its id."""
    command = [sys.executable, "-m", "flask", "--app", APP, "convex", "worker"]
    log = deployment.folder / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=deployment.folder, env=deployment.environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: "The worker runs" in log.read_text() or process.poll() is not None)
        yield process.pid
        process.terminate()
        assert process.wait(TIMEOUT) == 0, log.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(TIMEOUT)
