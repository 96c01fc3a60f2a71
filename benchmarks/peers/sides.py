"""The servers of the comparison: each has a database of its own with the same number of items.

Each server runs with two processes, apart from PocketBase, which is one process that uses both processors. Flask by
hand runs under the gunicorn settings of this package, so that the difference is the package.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import items, servers, slow_sync
from benchmarks.bursts import Burst, items_in
from benchmarks.http_writes import THREADS
from benchmarks.load import load
from benchmarks.peers import installed
from benchmarks.peers.sqlite_items import Items
from benchmarks.peers.work import POCKETBASE, Api, Checker, Work
from benchmarks.servers import Server

#: The number of items in each database at the start.
ITEMS = 10_000
_MUTATION = 1000
_MIGRATIONS = Path(__file__).with_name("pocketbase")


@dataclass(frozen=True, slots=True)
class Ready:
    """A server that can be started.

    Attributes:
        command: Its command, in which `{port}` stands for the port.
        database: Its SQLite file, None for a server that stores nothing.
        ids: The ids of the items in it.
        environment: Its environment variables.
        api: Its API.
    """

    command: Sequence[str]
    database: Path | None
    ids: Sequence[str]
    environment: Mapping[str, str]
    api: Api = Api()  # noqa: RUF009 - immutable


class Contender:
    """A started server with its work, as a side of a comparison.

    Args:
        name: Its name in the table.
        ready: The server.
        server: The started server.
        work: The work.
    """

    def __init__(self, name: str, ready: Ready, server: Server, work: Work) -> None:
        self.name = name
        self._ready = ready
        self._server = server
        self._requests = work.requests(ready.api, server.port, ready.ids)
        self._acknowledged = 0
        self._before = 0 if ready.database is None else items_in(ready.database)

    def run(self, seconds: float) -> Burst:
        """Send requests for some seconds."""
        checker = Checker(self._ready.api)
        before = self._server.processor_time()
        burst = load(self._server.port, self._requests, servers.CONNECTIONS, seconds, check=checker)
        burst.processor = self._server.processor_time() - before
        burst.acknowledged = checker.writes
        self._acknowledged += checker.writes
        return burst

    def stored(self) -> int:
        """Return the number of items that were stored since the start, where the server stores any."""
        if self._ready.database is None:
            return self._acknowledged
        return items_in(self._ready.database) - self._before


@dataclass(frozen=True, slots=True)
class Side:
    """One of the servers.

    Attributes:
        name: Its name in the table.
        durability: SQLite's `synchronous` setting of its database.
    """

    name: str
    durability: str

    def prepare(self, folder: Path, delay: float) -> Ready:
        """Create its database.

        Args:
            folder: An empty folder.
            delay: Seconds by which each sync is delayed.

        Raises:
            PeerMissingError: The server cannot be installed here.
            NoCompilerError: Its syncs cannot be delayed.
        """
        raise NotImplementedError


class Ours(Side):
    """This package."""

    __slots__ = ()

    def prepare(self, folder: Path, delay: float) -> Ready:
        """Create its database."""
        with contextlib.closing(items.open_backend(folder, self.durability)) as backend:
            backend.migrate()
            rounds = [backend.ctx().run_mutation(items.fill, count=_MUTATION) for _ in range(ITEMS // _MUTATION)]
        app = f"benchmarks.items:create_app({str(folder)!r}, {self.durability!r})"
        ids = [item_id for some in rounds for item_id in some]
        return Ready(self.command(app), folder / "convex.db", ids, slow_sync.environment(delay))

    def command(self, app: str) -> list[str]:
        """Return the command that serves an app."""
        return servers.gunicorn(app, THREADS)


class OursWithGranian(Ours):
    """This package, served by granian."""

    __slots__ = ()

    def command(self, app: str) -> list[str]:
        """Return the command that serves an app."""
        return servers.granian(app, THREADS)


@dataclass(frozen=True, slots=True)
class OursWithPython(Ours):
    """This package with another Python.

    Attributes:
        python: The interpreter.
    """

    python: str

    @classmethod
    def of(cls, python: str) -> OursWithPython:
        """Return the server with an interpreter, whose version is its name."""
        asked = subprocess.run([python, "-V"], check=True, capture_output=True, text=True)
        return cls(f"with {asked.stdout.strip()}", "full", python)

    def command(self, app: str) -> list[str]:
        """Return the command that serves an app."""
        return servers.gunicorn(app, THREADS, python=self.python)


class ByHand(Side):
    """Frameworks with `sqlite3` or better-sqlite3 by hand, on the same table."""

    __slots__ = ()

    def prepare(self, folder: Path, delay: float) -> Ready:
        """Create its database."""
        command = self.command(folder)
        database = folder / "items.db"
        table = Items(database, self.durability)
        table.make_table()
        ids = table.fill(ITEMS, items.NAME, items.DESCRIPTION)
        environment = {**slow_sync.environment(delay), "PEER_DATABASE": str(database)}
        return Ready(command, database, ids, environment)

    def command(self, folder: Path) -> list[str]:
        """Return the command that serves the app of a folder."""
        return servers.gunicorn(f"benchmarks.peers.by_hand:create_app({str(folder)!r}, {self.durability!r})", THREADS)


class WithoutDatabase(Side):
    """Flask views that parse the request, return an item and store nothing. They show the least cost of a request."""

    __slots__ = ()

    def prepare(self, folder: Path, delay: float) -> Ready:
        """Return the server, whose items are made for each request."""
        command = servers.gunicorn("benchmarks.peers.without_database:create_app()", THREADS)
        ids = [f"{number:015}" for number in range(ITEMS)]
        return Ready(command, None, ids, slow_sync.environment(delay))


class Asgi(ByHand):
    """An app under uvicorn."""

    __slots__ = ()

    def command(self, folder: Path) -> list[str]:
        """Return the command that serves the app of a folder."""
        module = f"benchmarks.peers.{self.name.lower()}_app:app"
        return [
            *(str(installed.commands() / "python"), "-m", "uvicorn", "--port", "{port}"),
            *("--workers", str(servers.WORKERS), "--log-level", "warning", "--no-access-log", module),
        ]


class Fastify(ByHand):
    """Fastify with better-sqlite3."""

    __slots__ = ()

    def command(self, folder: Path) -> list[str]:
        """Return the command that serves the app of a folder."""
        servers.install_fastify()
        return servers.fastify(folder / "items.db", self.durability, servers.WORKERS)


class PocketBase(Side):
    """PocketBase as it ships, without its log of requests."""

    __slots__ = ()

    def prepare(self, folder: Path, delay: float) -> Ready:
        """Create its database."""
        program = str(installed.commands() / "pocketbase")
        options = ["--dir", str(folder), "--migrationsDir", str(_MIGRATIONS)]
        subprocess.run([program, "migrate", "up", *options], check=True, capture_output=True)
        database = folder / "data.db"
        ids = _fill_pocketbase(database)
        command = [program, "serve", "--http", "127.0.0.1:{port}", "--hooksWatch=false", *options]
        return Ready(slow_sync.traced(command, delay), database, ids, dict(os.environ), POCKETBASE)


def _fill_pocketbase(database: Path) -> list[str]:
    ids = [f"{number:015}" for number in range(ITEMS)]
    rows = [(item_id, items.NAME, items.DESCRIPTION, "2026-12-01 00:00:00.000Z") for item_id in ids]
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany("INSERT INTO items (id, name, description, created) VALUES (?, ?, ?, ?)", rows)
    return ids


OURS = Ours("flask_convex_http", "full")
SIDES: tuple[Side, ...] = (
    OURS,
    OursWithGranian("flask_convex_http, granian", "full"),
    Ours("flask_convex_http at NORMAL", "normal"),
    PocketBase("PocketBase", "normal"),
    ByHand("Flask", "full"),
    WithoutDatabase("Flask without a database", "none"),
    Asgi("FastAPI", "full"),
    Asgi("Starlette", "full"),
    Fastify("Fastify", "full"),
)
