"""`flask convex backup` and `restore`."""

import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from example_app.schema import Item
from flask_convex_http import ConvexHTTP, Crons, Schema
from tests.cli.conftest import Convex
from tests.cli.errands import errands, note
from tests.cli.shop import make_app
from tests.cli.test_database import older_app
from tests.databases import rows
from tests.lengths import LONG
from tests.processes.servers import Deployment, Server, serving
from tests.sqlite.crews import wait_until
from tests.worker.workers import running_worker


def add(convex: Convex, *names: str) -> None:
    """Store lamps."""
    for name in names:
        assert convex("run", "shop:add", json.dumps({"name": name})).status == 0


def lamps(convex: Convex) -> list[str]:
    """Return the names of the lamps, oldest first."""
    return [row["name"] for row in convex("data", "lamps", "--order", "asc", "--json").json]


@pytest.fixture(name="copy")
def _copy(convex: Convex, tmp_path: Path) -> Path:
    """A backup with the lamp Anna; the database has Bert, too."""
    add(convex, "Anna")
    path = tmp_path / "copies" / "copy.db"
    path.parent.mkdir()
    assert convex("backup", str(path)).status == 0
    add(convex, "Bert")
    return path


# --- backup ----------------------------------------------------------------------------------------------------------


def test_a_backup_is_a_database_of_its_own(convex: Convex, tmp_path: Path) -> None:
    """A backup opens as a database with the rows, and only its owner can read it."""
    convex("run", "shop:add", '{"name": "Anna"}')
    target = tmp_path / "backups" / "convex.db"
    target.parent.mkdir()
    done = convex("backup", str(target))
    assert done.status == 0
    assert "not included" in done.out
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert os.listdir(target.parent) == ["convex.db"]
    app = Flask("copy", instance_path=str(target.parent))
    ConvexHTTP(app, schema=Schema())
    rows = app.test_cli_runner().invoke(args=["convex", "data"]).stdout
    app.extensions["convex_http"].close()
    assert "_settings" in rows


def test_files_are_backed_up_with_their_bytes(convex: Convex, tmp_path: Path) -> None:
    """With --files the bytes of stored files are copied, too."""
    convex("run", "shop:store", '{"text": "a text to be found"}')
    done = convex("backup", str(tmp_path / "a"), "--files", str(tmp_path / "b"), "--json")
    assert done.json == {
        "database": {"path": str(tmp_path / "a"), "bytes": (tmp_path / "a").stat().st_size},
        "files": {"path": str(tmp_path / "b"), "bytes": (tmp_path / "b").stat().st_size},
    }
    assert b"a text to be found" in (tmp_path / "b").read_bytes()


def test_a_backup_overwrites_nothing(convex: Convex, tmp_path: Path) -> None:
    """A path that exists is refused, and nothing is written."""
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for arguments in ([str(taken)], [str(tmp_path / "new"), "--files", str(taken)]):
        refused = convex("backup", *arguments)
        assert refused.status == 1
        assert "exists already" in refused.err
    assert taken.read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_a_backup_into_no_folder_is_refused(convex: Convex, tmp_path: Path) -> None:
    """A backup to a folder that does not exist is refused."""
    refused = convex("backup", str(tmp_path / "none" / "copy"))
    assert refused.status == 1
    assert "There is no folder" in refused.err


def test_a_backup_needs_two_names_for_two_files(convex: Convex, tmp_path: Path) -> None:
    """One path for both the database and the files is wrong usage."""
    assert convex("backup", str(tmp_path / "x"), "--files", str(tmp_path / "x")).status == 2


def test_a_backup_of_nothing_is_refused(unmigrated: Convex, tmp_path: Path) -> None:
    """A backup without a database is refused, and no database is created."""
    refused = unmigrated("backup", str(tmp_path / "copy.db"))
    assert refused.status == 1
    assert "There is no database" in refused.err
    assert not (tmp_path / "convex.db").exists()


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_servers_have_backups_of_their_own(tmp_path: Path, command: str) -> None:
    """PostgreSQL and S3 are not backed up to a file: the error names their tools and shows no password."""
    postgres = make_app(str(tmp_path), CONVEX_DATABASE_URL="postgresql://app:hush-hush@127.0.0.1:1/app")
    refused = postgres.test_cli_runner().invoke(args=["convex", command, str(tmp_path / "copy.db")])
    postgres.extensions["convex_http"].close()
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: postgresql://127.0.0.1:1/app is backed up and restored with PostgreSQL")
    s3 = make_app(str(tmp_path), CONVEX_STORAGE_URL="s3://files/app")
    run = s3.test_cli_runner().invoke
    assert run(args=["convex", "migrate"]).exit_code == 0
    assert run(args=["convex", "backup", str(tmp_path / "a.db")]).exit_code == 0
    path = str(tmp_path / ("a.db" if command == "restore" else "b.db"))
    refused = run(args=["convex", command, path, "--files", str(tmp_path / "files.db")])
    s3.extensions["convex_http"].close()
    assert refused.exit_code == 1
    assert "The bytes of files are in s3://files/app" in refused.stderr
    assert not (tmp_path / "b.db").exists()


# --- restore ---------------------------------------------------------------------------------------------------------


def test_a_restore_asks_for_confirmation(convex: Convex, copy: Path) -> None:
    """Without --yes the question names the rows that are replaced; after a no nothing is changed."""
    for stdin in ("", "n\n"):
        asked = convex("restore", str(copy), stdin=stdin)
        assert asked.status == 1
        assert f"The 7 rows of {copy.parents[1] / 'convex.db'} will be replaced by the 5 rows of {copy}" in asked.err
        assert asked.out == ""
    assert lamps(convex) == ["Anna", "Bert"]
    done = convex("restore", str(copy), stdin="y\n")
    assert done.status == 0
    assert "was restored (5 rows)" in done.out
    assert "migrate" not in done.out
    assert lamps(convex) == ["Anna"]


def test_json_of_a_restore(convex: Convex, copy: Path, tmp_path: Path) -> None:
    """With --yes and --json, nothing is asked and one document has the result."""
    done = convex("restore", str(copy), "--yes", "--json")
    assert done.json == {
        "database": str(tmp_path / "convex.db"),
        "rows": 5,
        "files": False,
        "put_aside": [],
        "migration": [],
    }
    assert done.err == ""
    assert lamps(convex) == ["Anna"]


def test_a_missing_database_is_restored_without_a_question(convex: Convex, copy: Path, tmp_path: Path) -> None:
    """Without a database nothing can be lost, so there is no question."""
    (tmp_path / "convex.db").rename(tmp_path / "lost.db")
    for end in ("-wal", "-shm"):
        (tmp_path / f"convex.db{end}").unlink(missing_ok=True)
    done = convex("restore", str(copy))
    assert (done.status, done.err) == (0, "")
    assert lamps(convex) == ["Anna"]


def missing(folder: Path) -> Path:
    return folder / "missing.db"


def a_folder(folder: Path) -> Path:
    return folder


def a_text(folder: Path) -> Path:
    (folder / "text").write_text("SQLite format 4")
    return folder / "text"


def nothing(folder: Path) -> Path:
    (folder / "empty").touch()
    return folder / "empty"


def a_header(folder: Path) -> Path:
    (folder / "header").write_bytes(b"SQLite format 3\0")
    return folder / "header"


def cut_off(folder: Path) -> Path:
    (folder / "short").write_bytes((folder / "copies" / "copy.db").read_bytes()[:50_000])
    return folder / "short"


def another_database(folder: Path) -> Path:
    rows(folder / "copies", "SELECT 1")  # makes convex.db there, with nothing of ours
    rows(folder / "copies", "CREATE TABLE notes (text)")
    return folder / "copies" / "convex.db"


def the_store_of_files(folder: Path) -> Path:
    return folder / "convex-files.db"


def itself(folder: Path) -> Path:
    return folder / "convex.db"


def a_link_to_itself(folder: Path) -> Path:
    (folder / "link").symlink_to("convex.db")
    return folder / "link"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (missing, "does not exist"),
        (a_folder, "is not a file"),
        (a_text, "is not a SQLite database"),
        (nothing, "is not a SQLite database"),
        (a_header, "is damaged"),
        (cut_off, "is damaged"),
        (another_database, "not a backup of convex.db"),
        (the_store_of_files, "not a backup of convex.db"),
        (itself, "is the database in use itself"),
        (a_link_to_itself, "is the database in use itself"),
    ],
)
def test_other_files_are_refused(
    convex: Convex, copy: Path, tmp_path: Path, make: Callable[[Path], Path], why: str
) -> None:
    """Any file but a sound backup is an error in one line before the question, and nothing is changed."""
    convex("run", "shop:store", '{"text": "a file"}')
    refused = convex("restore", str(make(tmp_path)))
    assert refused.status == 1
    assert refused.err.startswith("Error: ")
    assert why in refused.err
    assert len(refused.err.splitlines()) == 1
    assert lamps(convex) == ["Anna", "Bert"]


def test_a_backup_with_an_older_schema_needs_a_migration(convex: Convex, tmp_path: Path) -> None:
    """A backup with an older schema is restored, and the output names the migration that must follow."""
    (tmp_path / "old").mkdir()
    older = older_app(tmp_path / "old")
    command = older.test_cli_runner().invoke
    assert command(args=["convex", "migrate"]).exit_code == 0
    assert command(args=["convex", "backup", str(tmp_path / "old.db")]).exit_code == 0
    older.extensions["convex_http"].close()
    restored = convex("restore", str(tmp_path / "old.db"), "--yes")
    assert restored.status == 0
    assert "flask convex migrate" in restored.out
    assert "drop column lamps.price" in restored.out
    assert "lamps.price" in convex("check").out
    assert convex("migrate", "--allow-destructive").status == 0
    assert convex("check").status == 0


def test_files_are_restored_from_their_backup(convex: Convex, tmp_path: Path) -> None:
    """With --files the bytes are restored; without it they stay as they are, and a check lists missing ones."""
    file = convex("run", "shop:store", '{"text": "hello"}').json
    copies = [str(tmp_path / "copy.db"), "--files", str(tmp_path / "files.db")]
    assert convex("backup", *copies).status == 0
    assert convex("files", "delete", file).status == 0
    assert "were left as they are" in convex("restore", copies[0], "--yes").out
    assert file in convex("check").out
    restored = convex("restore", *copies, stdin="y\n")
    assert restored.status == 0
    assert f"the bytes of stored files by those of {tmp_path / 'files.db'}" in restored.err
    assert convex("check", "--files").status == 0
    assert convex("files", "list", "--json").json[0]["_id"] == file


def test_a_wrong_backup_of_files_changes_nothing(convex: Convex, copy: Path) -> None:
    """Both backups are inspected before the first one is restored."""
    convex("run", "shop:store", '{"text": "hello"}')
    twin = copy.with_name("twin.db")
    shutil.copy(copy, twin)
    refused = convex("restore", str(copy), "--files", str(twin), "--yes")
    assert refused.status == 1
    assert "not a backup of convex-files.db" in refused.err
    assert lamps(convex) == ["Anna", "Bert"]
    assert convex("restore", str(copy), "--files", str(copy), "--yes").status == 2


def command(folder: Path, *arguments: str) -> Result:
    """Run `flask convex ...` with an app of its own, as a new process does."""
    app = make_app(str(folder))
    result = app.test_cli_runner().invoke(args=["convex", *arguments])
    app.extensions["convex_http"].close()
    return result


def test_a_damaged_database_is_put_aside(tmp_path: Path) -> None:
    """A damaged database is reported, and a restore moves it aside and prints where."""
    assert command(tmp_path, "migrate").exit_code == 0
    assert command(tmp_path, "backup", str(tmp_path / "copy.db")).exit_code == 0
    (tmp_path / "convex.db").write_bytes(b"nonsense" * 1000)
    checked = command(tmp_path, "check", "--json")
    assert checked.exit_code == 1
    assert "flask convex restore" in json.loads(checked.stdout)["problems"][0]
    asked = command(tmp_path, "restore", str(tmp_path / "copy.db"))
    assert asked.exit_code == 1
    assert "is damaged" in asked.stderr
    done = command(tmp_path, "restore", str(tmp_path / "copy.db"), "--yes")
    assert done.exit_code == 0
    (aside,) = tmp_path.glob("convex.db.damaged-*")
    assert str(aside) in done.stdout
    assert aside.read_bytes() == b"nonsense" * 1000
    assert command(tmp_path, "check").exit_code == 0


def test_a_temporary_database_cannot_be_restored(copy: Path, tmp_path: Path) -> None:
    """A restore to a temporary database is refused, and the message names the setting."""
    app = Flask("memory", instance_path=str(tmp_path / "memory"))
    app.config["CONVEX_DATABASE_URL"] = "sqlite:///:memory:"
    ConvexHTTP(app, schema=Schema())
    refused = app.test_cli_runner().invoke(args=["convex", "restore", str(copy), "--yes"])
    app.extensions["convex_http"].close()
    assert refused.exit_code == 1
    assert "CONVEX_DATABASE_URL" in refused.stderr


@pytest.fixture(name="sweeping")
def _sweeping() -> Crons:
    """A cron that ticks when it is registered, and not again in these tests."""
    crons = Crons()
    crons.interval("sweep", 3600, note, text="swept")
    return crons


def test_running_workers_keep_their_crons_after_a_restore(tmp_path: Path, sweeping: Crons) -> None:
    """After a restore of a backup without a cron, running workers still run that cron."""
    with errands(tmp_path) as older:
        assert older.convex("backup", str(tmp_path / "copy.db")).status == 0
    with errands(tmp_path, crons=sweeping, CONVEX_WORKER_LEASE=0.5) as shop, running_worker(shop.backend):
        wait_until(lambda: shop.notes() == ["swept"])
        shop.schedule("note", text="lost")
        wait_until(lambda: shop.notes() == ["swept", "lost"])
        assert shop.convex("restore", str(tmp_path / "copy.db"), "--yes").status == 0
        wait_until(lambda: shop.notes() == ["swept"])


def test_running_workers_keep_their_crons_after_a_migration(tmp_path: Path, sweeping: Crons) -> None:
    """After a restore of a backup with an older schema, running workers run their crons once it is migrated."""
    app = Flask("older", instance_path=str(tmp_path))
    ConvexHTTP(app, schema=Schema())
    older = app.test_cli_runner().invoke
    assert older(args=["convex", "migrate"]).exit_code == 0
    assert older(args=["convex", "backup", str(tmp_path / "copy.db")]).exit_code == 0
    app.extensions["convex_http"].close()
    with errands(tmp_path, crons=sweeping, CONVEX_WORKER_LEASE=0.5) as shop, running_worker(shop.backend):
        wait_until(lambda: shop.notes() == ["swept"])
        assert shop.convex("restore", str(tmp_path / "copy.db"), "--yes").status == 0
        assert shop.convex("migrate").status == 0
        wait_until(lambda: shop.notes() == ["swept"])


# --- while the app runs ----------------------------------------------------------------------------------------------


@contextmanager
def under_load(server: Server) -> Iterator[list[Any]]:
    """Clients that store items all the time; every response that is not 201 is in the list."""
    wrong: list[Any] = []
    stop = threading.Event()

    def store() -> None:
        while not stop.wait(0.005):  # leaves a processor for the commands
            response = server.request("POST", "/api/items", {"name": "later"})
            if response.status != 201:
                wrong.append(response)

    clients = [threading.Thread(target=store) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        yield wrong
    finally:
        stop.set()
        for client in clients:
            client.join()


@LONG
def test_backup_and_restore_work_under_load(tmp_path: Path) -> None:
    """During a backup, a check and a restore no request fails, and then both workers see the restored items."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving("gunicorn", deployment) as server:
        server.request("POST", "/api/items", {"name": "first"})
        with under_load(server) as wrong:
            deployment.command_json("backup", str(tmp_path / "copy.db"))
            server.request("POST", "/api/items", {"name": "second"})
            assert deployment.command_json("check")["problems"] == []
            restored = deployment.command_json("restore", str(tmp_path / "copy.db"), "--yes")
        assert wrong == []
        assert (restored["put_aside"], restored["migration"]) == ([], [])
        for _ in range(20):
            names = {item["name"] for item in server.request("GET", "/api/items?limit=100").json}
            assert names <= {"first", "later"}
        assert len(server.busy_workers) == 2
        assert deployment.command_json("check")["problems"] == []
    assert {item.name for item in deployment.rows(Item)} == {"first", "later"}
