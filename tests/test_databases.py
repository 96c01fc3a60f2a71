"""The helpers that give tests their databases."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flask_convex_http import Document, Schema
from flask_convex_http.engines.postgres.engine import PostgresEngine
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from tests.child_processes import ROOT
from tests.databases import EACH_ENGINE, SQLITE_ONLY, database_digest, folder_config, memory_backend, rows, write_marker
from tests.deployment import deployed
from tests.lengths import LONG

pytestmark = EACH_ENGINE

#: Seconds to wait for a process to end.
TIMEOUT = 60.0


class Lamp(Document, table="lamps", history=False):
    name: str


def test_the_current_engine_is_used(each_engine: str, tmp_path: Path) -> None:
    """A temporary database and the database of a folder are on the engine of the test."""
    expected = {"sqlite": SQLiteEngine, "postgres": PostgresEngine}[each_engine]
    with memory_backend(Schema()) as backend, deployed(folder=tmp_path) as app:
        assert type(backend.engine) is type(app.backend.engine) is expected


@SQLITE_ONLY
def test_a_test_can_run_on_one_engine(each_engine: str) -> None:
    """A test of a module that runs on each engine can be limited to one."""
    assert each_engine == "sqlite"


def test_temporary_databases_are_independent() -> None:
    """A temporary database has no documents and no secret of an earlier or a concurrent one."""
    secrets = []
    for _ in range(3):
        with deployed(Lamp) as one, deployed(Lamp) as other:
            for app in (one, other):
                assert app.read(lambda db: db.query(Lamp).collect()) == []
                app.add(Lamp(name="a"))
                secrets.append(app.backend.signing.sign("file", "text"))
    assert len(set(secrets)) == 6


def test_reused_databases_have_the_same_tables() -> None:
    """A database is reused only for a schema with the same tables."""
    with deployed(Lamp):
        pass
    with deployed() as app:
        assert app.backend.migrate() == []


def test_a_folder_has_one_database(tmp_path: Path) -> None:
    """Each folder has a database of its own, which another process finds by the folder."""
    for folder in (tmp_path / "a", tmp_path / "b"):
        with deployed(Lamp, folder=folder) as app:
            app.add(Lamp(name=folder.name))
    program = f"from tests.databases import *; print(rows(Path({str(tmp_path / 'b')!r}), 'SELECT name FROM lamps'))"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout == "[('b',)]\n"
    assert folder_config(tmp_path / "a") == folder_config(tmp_path / "a")


def test_writes_show_in_marker_and_digest(tmp_path: Path) -> None:
    """A write changes the marker and the digest, a read changes neither, and undoing a write restores the digest."""
    with deployed(Lamp, folder=tmp_path) as app:
        marker, digest = write_marker(tmp_path), database_digest(tmp_path)
        assert app.read(lambda db: db.query(Lamp).collect()) == []
        assert (write_marker(tmp_path), database_digest(tmp_path)) == (marker, digest)
        [lamp] = app.add(Lamp(name="a"))
        assert write_marker(tmp_path) != marker
        assert database_digest(tmp_path) != digest
        rows(tmp_path, "DELETE FROM lamps WHERE _id = ?", lamp)
        assert database_digest(tmp_path) == digest


@LONG
@pytest.mark.parametrize("each_engine", ["postgres"], indirect=True)
def test_a_server_ends_with_its_process() -> None:
    """The PostgreSQL server of a test process stops when the process is killed."""
    program = (
        "from tests.databases import PostgresServer\n"
        "server = PostgresServer()\n"
        "server.start()\n"
        "print(server.folder, flush=True)\n"
        "input()\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = process.stdout.readline().strip()
        lock = Path(folder, "data", "postmaster.pid")  # its main process removes it last
        pid = int(lock.read_text().split()[0])
        assert Path(f"/proc/{pid}").exists()
        process.send_signal(signal.SIGKILL)
    end = time.monotonic() + TIMEOUT
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end, "The server still runs"
        time.sleep(0.01)
    subprocess.run(["rm", "-r", folder], check=True)
