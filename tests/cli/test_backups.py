"""`flask convex backup`, alone and under load."""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from example_app.schema import Item
from flask_convex_http import ConvexHTTP, Schema
from tests.cli.conftest import Convex
from tests.cli.shop import make_app
from tests.lengths import LONG
from tests.processes.servers import Deployment, Server, serving


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
