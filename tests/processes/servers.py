"""The example application in its own processes: a server on a free port, the CLI and curl."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from example_app.schema import schema
from flask_convex_http import Document
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from tests.child_processes import child_environment
from tests.databases import folder_config
from tests.example.application import rows
from tests.example.deliveries import SECRETS, Delivery
from tests.lengths import LONG

D = TypeVar("D", bound=Document)

#: The timeout of every wait in these tests, in seconds.
TIMEOUT = 60.0
_ADDRESS = re.compile(r"(?:Listening at:|Running on) http://([\d.]+):(\d+)")
_WORKER = re.compile(r"(?:Booting worker with pid|Spawning worker-\d+ with PID): (\d+)")
_SERVED = re.compile(r"Served by <?(\d+)")


@dataclass(frozen=True)
class Kind:
    """A way to serve the application; port 0 lets the system choose a free one, and `{port}` is one that is free."""

    command: tuple[str, ...]
    #: The exit statuses after SIGTERM: gunicorn exits by itself, and Flask's server dies of the signal.
    exit_codes: tuple[int, ...]


#: gunicorn closes a connection that is silent for this time, also a new one, and a busy machine is slow.
KEEP_ALIVE = "--keep-alive 60"
_GUNICORN = (
    "gunicorn -c python:flask_convex_http.gunicorn example_app:create_app() --bind 127.0.0.1:0 --threads 4 "
    f"{KEEP_ALIVE}"
)
_GRANIAN = "flask_convex_http.granian example_app:create_app() --port {port} --blocking-threads 4"
KINDS = {
    "flask": Kind(("flask", "--app", "example_app", "run", "--port", "0"), (-signal.SIGTERM,)),
    "gunicorn": Kind((*_GUNICORN.split(), "--access-logfile", "-", "--access-logformat", "Served by %(p)s"), (0,)),
    "granian": Kind(tuple(_GRANIAN.split()), (0,)),
}
#: For tests that start a server of each kind. All but gunicorn, the default, have their turn in `make test-long`.
each_kind = pytest.mark.parametrize(
    "kind", [pytest.param("flask", marks=LONG), "gunicorn", pytest.param("granian", marks=LONG)]
)
each_production_kind = pytest.mark.parametrize("kind", ["gunicorn", pytest.param("granian", marks=LONG)])


class Deployment:
    """A folder with files and a database of the engine under test, and the processes that work on them.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = {
            "CONVEX_DATABASE_URL": f"sqlite:///{folder / 'convex.db'}",
            "CONVEX_STORAGE_URL": f"sqlite:///{folder / 'files.db'}",
            **folder_config(folder),
        }

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every process of the deployment."""
        settings = {f"FLASK_{name}": value for name, value in self.settings.items()}
        return child_environment() | settings | SECRETS

    @contextmanager
    def backend(self) -> Iterator[Backend]:
        """Yield a backend on the same database, in this process."""
        with closing(Backend(Settings.from_mapping(self.settings), schema, folder=self.folder)) as backend:
            yield backend

    def migrate(self) -> None:
        """Create the tables."""
        with self.backend() as backend:
            backend.migrate()

    def rows(self, document: type[D]) -> list[D]:
        """Return all documents of a table, oldest first."""
        with self.backend() as backend:
            return rows(backend, document)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `flask convex ...` to its end."""
        command = [sys.executable, "-m", "flask", "--app", "example_app", "convex", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=TIMEOUT
        )

    def command_json(self, *arguments: str) -> Any:
        """Run `flask convex ... --json` and return the decoded output."""
        result = self.command(*arguments, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)


class Server:
    """A process that serves the application."""

    def __init__(self, deployment: Deployment, kind: Kind) -> None:
        self._log = deployment.folder / "server.log"
        self._reserved = socket.socket()  # not listening: it only keeps the port for the server
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        port = str(self._reserved.getsockname()[1])
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *(part.replace("{port}", port) for part in kind.command)],
                cwd=deployment.folder,
                env=deployment.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that kill() reaches its workers too
            )
        self._kind = kind
        self._is_told = False
        self.host, self.port = "", 0

    @property
    def url(self) -> str:
        """The start of its URLs."""
        return f"http://{self.host}:{self.port}"

    @property
    def output(self) -> str:
        """The output so far."""
        return self._log.read_text(errors="replace")

    @property
    def workers(self) -> list[int]:
        """The process ids of gunicorn's workers so far."""
        return [int(pid) for pid in _WORKER.findall(self.output)]

    @property
    def busy_workers(self) -> set[int]:
        """The process ids of gunicorn's workers that have served a request."""
        return {int(pid) for pid in _SERVED.findall(self.output)}

    def start(self) -> None:
        """Wait until the server responds."""
        self.wait(lambda: _ADDRESS.search(self.output), "log its address")
        found = _ADDRESS.search(self.output)
        assert found is not None
        self.host, self.port = found[1], int(found[2])
        self.wait(self._is_healthy, "respond to /health")

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until a condition holds; `what` completes the error message "The server did not ..."."""
        end = time.monotonic() + TIMEOUT
        while not condition():
            assert self._process.poll() is None, f"The server ended before it could {what}:\n{self.output}"
            assert time.monotonic() < end, f"The server did not {what}:\n{self.output}"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server, and check its exit status and that it logged no traceback."""
        self.terminate()
        assert "Traceback" not in self.output, self.output

    def signal(self, number: int) -> None:
        """Send a signal to the server, and to none of its workers."""
        self._is_told = number == signal.SIGTERM
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Stop the server, and check its exit status only."""
        assert self._process.poll() is None or self._is_told, f"The server has ended by itself:\n{self.output}"
        if not self._is_told:  # a second SIGTERM may arrive after the server has restored the default handler
            self._process.terminate()
        code = self._process.wait(TIMEOUT)
        self._reserved.close()
        assert code in self._kind.exit_codes, f"The server ended with {code}:\n{self.output}"

    def kill(self) -> None:
        """Kill the server and its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(TIMEOUT)
        self._reserved.close()

    # --- requests ----------------------------------------------------------------------------------------------------

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection, which the caller closes."""
        return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> "Response":
        """Send a request on a new connection; a body that is not bytes is sent as JSON."""
        with closing(self.connect()) as connection:
            return send_request(connection, method, path, body, headers)

    def deliver(self, delivery: Delivery) -> "Response":
        """Send a webhook."""
        return self.request("POST", delivery.path, delivery.body, dict(delivery.headers))

    def curl(self, path: str, *options: str) -> "Response":
        """Send a request with curl, which follows HTTP more closely than a Python client."""
        head, body = self._log.parent / "curl-head", self._log.parent / "curl-body"
        fixed = ("curl", "-sS", "--max-time", str(TIMEOUT), "--noproxy", "*", "-D", str(head), "-o", str(body))
        body.write_bytes(b"")
        done = subprocess.run([*fixed, "-w", "%{http_code}", *options, self.url + path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        last = head.read_text().strip().split("\n\n")[-1]
        return Response(int(done.stdout), body.read_bytes(), _headers(last))

    def _is_healthy(self) -> bool:
        try:
            return self.request("GET", "/health").status == 200
        except (OSError, http.client.HTTPException):
            return False


@dataclass(frozen=True)
class Response:
    """A response that was read to its end; header names are in lower case."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)


@contextmanager
def running(server: Server, start: Callable[[], object] | None = None) -> Iterator[Server]:
    """Yield a server that responds, and stop it at the end. It is killed after an error.

    Args:
        server: The server.
        start: Waits until it has started, by default until it responds.
    """
    try:
        (start or server.start)()
        yield server
        server.stop()
    except BaseException:
        server.kill()
        raise


def serving(kind: str, deployment: Deployment) -> AbstractContextManager[Server]:
    """Run a server of the example application."""
    return running(Server(deployment, KINDS[kind]))


def send_request(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Send a request over a connection and return the response; a body that is not bytes is sent as JSON.

    Raises:
        OSError: The connection broke. Where http.client says otherwise, as of a response that was cut off, this is a
            ConnectionError too.
    """
    headers = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Response(
            response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
        )
    except http.client.HTTPException as error:
        raise ConnectionError(f"{method} {path}: {error!r}") from error


def _headers(head: str) -> dict[str, str]:
    lines = [line.partition(":") for line in head.splitlines()[1:] if line.strip()]
    return {name.strip().lower(): value.strip() for name, _, value in lines}
