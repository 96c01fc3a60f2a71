"""The databases that tests run on: whose they are, and what is left in them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flask_convex_http import Document, Schema
from flask_convex_http.engines.postgres.engine import PostgresEngine
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from tests.databases import EACH_ENGINE, SQLITE_ONLY, everything, in_folder, last_write, memory_backend, rows
from tests.deployment import deployed

pytestmark = EACH_ENGINE

ROOT = Path(__file__).parents[1]
#: Seconds anything here may take before it counts as stuck; far more than it needs.
PATIENCE = 60.0


class Lamp(Document, table="lamps"):
    name: str


def test_the_engine_is_the_one_whose_turn_it_is(each_engine: str, tmp_path: Path) -> None:
    """What is opened is on the engine of the test, for the moment or in a folder."""
    expected = {"sqlite": SQLiteEngine, "postgres": PostgresEngine}[each_engine]
    with memory_backend(Schema()) as backend, deployed(folder=tmp_path) as app:
        assert type(backend.engine) is type(app.backend.engine) is expected


@SQLITE_ONLY
def test_a_test_may_be_about_one_engine(each_engine: str) -> None:
    """A test of such a module may be for one of them only."""
    assert each_engine == "sqlite"


def test_nothing_is_left_of_a_temporary_database() -> None:
    """Neither documents nor the secret of one test come to the next, nor to another one at the same time."""
    secrets = []
    for _ in range(3):
        with deployed(Lamp) as one, deployed(Lamp) as other:
            for app in (one, other):
                assert app.read(lambda db: db.query(Lamp).collect()) == []
                app.add(Lamp(name="a"))
                secrets.append(app.backend.signing.sign("file", "text"))
    assert len(set(secrets)) == 6


def test_tables_are_not_those_of_others() -> None:
    """Who has other tables gets another database."""
    with deployed(Lamp):
        pass
    with deployed() as app:
        assert app.backend.migrate() == []


def test_a_folder_has_one_database(tmp_path: Path) -> None:
    """What is in the database of a folder is there for all who know the folder, and for nobody else."""
    for folder in (tmp_path / "a", tmp_path / "b"):
        with deployed(Lamp, folder=folder) as app:
            app.add(Lamp(name=folder.name))
    program = f"from tests.databases import *; print(rows(Path({str(tmp_path / 'b')!r}), 'SELECT name FROM lamps'))"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout == "[('b',)]\n"
    assert in_folder(tmp_path / "a") == in_folder(tmp_path / "a")


def test_what_was_written_shows(tmp_path: Path) -> None:
    """Reading changes nothing that is looked at; a write does, and one that is taken back leaves all as it was."""
    with deployed(Lamp, folder=tmp_path) as app:
        write, all_of_it = last_write(tmp_path), everything(tmp_path)
        assert app.read(lambda db: db.query(Lamp).collect()) == []
        assert (last_write(tmp_path), everything(tmp_path)) == (write, all_of_it)
        [lamp] = app.add(Lamp(name="a"))
        assert last_write(tmp_path) != write
        assert everything(tmp_path) != all_of_it
        rows(tmp_path, "DELETE FROM lamps WHERE _id = ?", lamp)
        assert everything(tmp_path) == all_of_it


@pytest.mark.parametrize("each_engine", ["postgres"], indirect=True)
def test_a_server_ends_with_its_process() -> None:
    """However a test process ends, its PostgreSQL ends too."""
    program = (
        "from tests.databases import PostgresServer\n"
        "server = PostgresServer()\n"
        "server.start()\n"
        "print(server.folder, server.run('SELECT pg_backend_pid()')[0][0], flush=True)\n"
        "input()\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder, pid = process.stdout.readline().split()
        assert Path(f"/proc/{pid}").exists()
        process.send_signal(signal.SIGKILL)
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end, "It goes on"
        time.sleep(0.01)
    subprocess.run(["rm", "-r", folder], check=True)
