"""Servers of an app that are killed and restarted at once. Run as a program, it is the process they are forked from.

The servers are `flask run` and gunicorn themselves, in children of an interpreter that has imported everything. They
start within milliseconds, so many can be killed.
"""

import importlib
import os
import runpy
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random

from tests.crash import nursery
from tests.crash.clients import Connection
from tests.crash.workers import TASKS
from tests.example.deliveries import Delivery
from tests.processes.servers import Response, send_request

#: The module of the shop with webhooks.
_SHOP = "tests.inbox.processes.shop"
_GUNICORN = "-c python:flask_convex_http.gunicorn --threads 8 --keep-alive 60 --log-level warning"
_COMMANDS = {
    "flask": "flask --app {app}:create_app() run --host unix://{socket}",
    "gunicorn": f"gunicorn {{app}}:create_app() {_GUNICORN} --bind unix:{{socket}}",
}


def serve(*, command: str) -> None:
    """Run `python -m` with a command, until killed."""
    os.setsid()
    sys.argv = command.split()
    runpy.run_module(sys.argv[0], run_name="__main__")


class Nursery(nursery.Nursery):
    """Starts servers.

    Args:
        environment: Their environment.
        log: The file for their output.
        app: The module of the app, which has `create_app`.
    """

    def __init__(self, environment: dict[str, str], log: Path, app: str = _SHOP) -> None:
        self.app = app
        super().__init__(__name__, app, environment=environment, log=log)

    def begin(self, command: str) -> "Group":
        """Start a server."""
        return Group(self.fork("serve", command=command))


class Group(nursery.Worker):
    """A server and its workers.

    Args:
        pid: The process id of the server.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.pid = pid

    @property
    def children(self) -> list[int]:
        """Return the process ids of its workers."""
        with suppress(FileNotFoundError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def kill(self) -> None:
        """Kill the server and its workers at once."""
        with suppress(ProcessLookupError):  # it has not become the leader of its group yet
            os.killpg(self.pid, signal.SIGKILL)
        super().kill()


class Server:
    """One server on a Unix socket, restarted after each death.

    Args:
        nursery: Starts it.
        kind: "flask" or "gunicorn".
        socket: The socket, in a short path.
    """

    def __init__(self, nursery: Nursery, kind: str, socket: Path) -> None:
        self._nursery, self._socket = nursery, socket
        self._command = _COMMANDS[kind].format(app=nursery.app, socket=socket)
        self._group = self._start()

    def deliver(self, delivery: Delivery) -> Response:
        """Send a request over a connection of its own.

        Raises:
            OSError: The server does not listen.
            HTTPException: The server died during the request.
        """
        with closing(Connection(self._socket)) as connection:
            return send_request(connection, "POST", delivery.path, delivery.body, dict(delivery.headers))

    def kill_worker(self, random: Random) -> None:
        """Kill one of gunicorn's workers, which gunicorn replaces, or Flask's server itself."""
        children = self._group.children
        if not children:
            self.kill()
            self.restart()
            return
        with suppress(ProcessLookupError):
            os.kill(random.choice(children), signal.SIGKILL)

    def kill(self) -> None:
        """Kill the server and all its workers at once."""
        self._group.kill()
        self._group.wait()

    def restart(self) -> None:
        """Start it again."""
        self._group = self._start()

    def _start(self) -> Group:
        return self._nursery.begin(self._command)


@contextmanager
def at_work(nursery: Nursery, sockets: Path) -> Iterator[list[Server]]:
    """Run Flask's own server and gunicorn with two workers, and kill all at the end.

    Args:
        nursery: Starts them.
        sockets: A folder with a short path.
    """
    servers = [Server(nursery, kind, sockets / kind) for kind in _COMMANDS]
    try:
        yield servers
    finally:
        for server in servers:
            server.kill()


def kill_some(servers: list[Server], random: Random) -> None:
    """Kill a worker, a server or all at once. Others take their places."""
    chance = random.random()
    if chance < 0.6:
        random.choice(servers).kill_worker(random)
        return
    victims = servers if chance < 0.8 else [random.choice(servers)]
    for server in victims:
        server.kill()
    for server in victims:
        server.restart()


def main() -> None:
    """Fork a child for each line of standard input."""
    for module in ("gunicorn.app.wsgiapp", "gunicorn.workers.gthread", sys.argv[1]):
        importlib.import_module(module)
    TASKS["serve"] = serve
    nursery.main()


if __name__ == "__main__":
    main()
