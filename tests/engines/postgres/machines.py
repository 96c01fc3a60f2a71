"""Machines that serve the bank, each at an address of its own, with one database."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from tests.engines.postgres.bank import SCHEMA, Tick, functions
from tests.processes import servers
from tests.processes.servers import Kind, Server

#: Two addresses of this machine, for two servers that act as two machines.
HOSTS = ("127.0.0.2", "127.0.0.3") if sys.platform == "linux" else ("127.0.0.1", "127.0.0.1")
_SECRET = "the same on every machine of the bank"
_GUNICORN = "--threads 8 --workers 2 --no-control-socket --keep-alive 60"


class Deployment(servers.Deployment):
    """The deployment of the bank.

    Args:
        folder: The folder for files and for the logs of servers.
        url: The database.
    """

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder)
        self.url = url
        self.settings["CONVEX_DATABASE_URL"] = url

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a server."""
        return super().environment | {"BANK_FOLDER": str(self.folder), "FLASK_CONVEX_SECRET": _SECRET}

    def machine(self, number: int) -> "Deployment":
        """Return a deployment with the same database and a folder of its own."""
        return Deployment(self.folder / f"machine-{number}", self.url)

    def ticks(self) -> int:
        """Return how often the cron has run."""
        return len(self.rows(Tick))

    @contextmanager
    def backend(self) -> Iterator[Backend]:
        """Yield a backend on the same database in this process, without a worker."""
        settings = Settings.from_mapping(self.settings | {"CONVEX_SECRET": _SECRET})
        with closing(Backend(settings, SCHEMA, functions, folder=self.folder)) as backend:
            yield backend


@contextmanager
def serving(deployment: Deployment, *hosts: str, app: str = "bank", options: str = "") -> Iterator[list[Server]]:
    """Serve the bank with gunicorn at each address, and stop the servers that are still in the list at the end.

    Args:
        deployment: The bank.
        hosts: The addresses. Each gets two workers.
        app: The module of the app.
        options: More options of gunicorn.
    """
    machines: list[Server] = []
    with ExitStack() as stack:
        for number, host in enumerate(hosts):
            command = f"gunicorn tests.engines.postgres.{app}:create_app() {_GUNICORN} --bind {host}:0 {options}"
            machines.append(Server(deployment.machine(number), Kind(tuple(command.split()), (0,))))
            stack.callback(machines[-1].kill)
        for machine in machines:
            machine.start()
            machine.wait(lambda: len(machine.workers) == 2, "start two workers")  # noqa: B023  # it waits here
        yield machines
        for machine in machines:
            machine.terminate()
