"""Servers of the chat in their own processes, on a port that stays the same over restarts."""

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from flask_convex_http import Schema
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from tests.child_processes import child_environment
from tests.databases import folder_config
from tests.ports import free_port
from tests.sync.chat import FUNCTIONS, Message

_TIMEOUT = 60.0
_COMMANDS = {
    "flask": "flask --app tests.sync.chat run --port {port}",
    "gunicorn": "gunicorn -c python:flask_convex_http.gunicorn tests.sync.chat:create_app() --bind 127.0.0.1:{port} "
    "--workers 2 --threads 4 --graceful-timeout 10",
}


class ChatServer:
    """A server of the chat.

    Args:
        kind: "flask" or "gunicorn".
        folder: The folder of the database and of the log.
        environment: More variables of the environment.
    """

    def __init__(self, kind: str, folder: Path, environment: dict[str, str]) -> None:
        self._kind = kind
        self._folder = folder
        self.settings = {
            "CONVEX_DATABASE_URL": f"sqlite:///{folder / 'convex.db'}",
            "CONVEX_STORAGE_URL": f"sqlite:///{folder / 'files.db'}",
            **folder_config(folder),
        }
        settings = {f"FLASK_{name}": value for name, value in self.settings.items()}
        self._environment = child_environment() | settings | environment
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """The output of the server."""
        return (self._folder / "server.log").read_text()

    def migrate(self) -> None:
        """Create the tables."""
        backend = Backend(Settings.from_mapping(self.settings), Schema(Message), FUNCTIONS, folder=self._folder)
        backend.migrate()
        backend.close()

    def start(self) -> None:
        """Start the server, and wait until it serves."""
        command = _COMMANDS[self._kind].format(port=self.port).split()
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + _TIMEOUT
        while not self._is_up():
            assert time.monotonic() < end, self.output
            assert self._process.poll() is None, self.output
            time.sleep(0.05)

    def workers(self) -> list[int]:
        """Return the processes of the workers that serve."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def stop(self) -> None:
        """Stop the server as a deployment does, and wait for its end."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(_TIMEOUT)
            self._process = None

    def _is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/version", timeout=5):
                return True
        except (OSError, HTTPException):
            return False


@contextmanager
def chat_server(kind: str, folder: Path, **environment: str) -> Iterator[ChatServer]:
    """Yield a running server of a kind with an empty database, and stop it at the end."""
    server = ChatServer(kind, folder, environment)
    server.migrate()
    server.start()
    try:
        yield server
    finally:
        server.stop()
