"""The shop in processes of its own on one database, and the effects in it."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from flask_convex_http import Document
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.schema.system_tables import WebhookDelivery
from tests.inbox.processes.shop import SCHEMA, Effect, functions
from tests.processes import servers
from tests.processes.servers import Kind, Server

D = TypeVar("D", bound=Document)

_APP = "tests.inbox.processes.shop:create_app()"
_GUNICORN = (
    f"gunicorn -c python:flask_convex_http.gunicorn {_APP} --bind 127.0.0.1:0 {servers.KEEP_ALIVE} --access-logfile -"
)
KINDS = {
    "flask": Kind(("flask", "--app", _APP, "run", "--port", "0"), servers.KINDS["flask"].exit_codes),
    "gunicorn": Kind((*_GUNICORN.split(), "--access-logformat", "Served by %(p)s"), (0,)),
}


class Deployment(servers.Deployment):
    """The shop's database in a folder, and the settings of one server on it.

    Args:
        data: The folder of the database.
        name: The folder in it for the server's log, by default the folder itself.
    """

    def __init__(self, data: Path, name: str = "") -> None:
        super().__init__(data)
        self.data = data
        self.folder = data / name
        self.folder.mkdir(exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"SHOP_FOLDER": str(self.data)}

    @contextmanager
    def backend(self) -> Iterator[Backend]:
        """Return a backend of the same database in this process, without a worker."""
        with closing(Backend(Settings.from_mapping(self.settings), SCHEMA, functions, folder=self.data)) as backend:
            yield backend

    def effects(self, event_id: str) -> list[Effect]:
        """Return the effects of an event."""
        return [effect for effect in self.rows(Effect) if effect.event == event_id]

    def delivery(self, event_id: str) -> WebhookDelivery | None:
        """Return the delivery of an event."""
        found = [row for row in self.rows(WebhookDelivery) if row.event_id == event_id]
        assert len(found) <= 1, found
        return found[0] if found else None

    def runs(self, event_id: str) -> list[int]:
        """Return the processes that ran an event's handler, failed runs included."""
        file = self.data / "runs"  # which the first run creates
        runs = file.read_text().splitlines() if file.exists() else []
        return [int(process) for event, process in map(str.split, runs) if event == event_id]


@dataclass(frozen=True)
class Servers:
    """Two servers with three processes on one database."""

    deployment: Deployment
    flask: Server
    gunicorn: Server

    def of(self, number: int) -> Server:
        """Return the servers in turn."""
        return (self.flask, self.gunicorn)[number % 2]


@contextmanager
def serving(folder: Path) -> Iterator[Servers]:
    """Run Flask's own server and gunicorn with two workers, and shut them down at the end."""
    deployment = Deployment(folder)
    deployment.migrate()
    with ExitStack() as stack:
        started = {name: Server(Deployment(folder, name), kind) for name, kind in KINDS.items()}
        for server in started.values():
            stack.callback(server.kill)
            server.start()
        started["gunicorn"].wait(lambda: len(started["gunicorn"].workers) == 2, "start two workers")
        yield Servers(deployment, **started)
        for server in started.values():
            server.stop()
