"""`flask convex restore`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from flask_convex_http import ConvexHTTP, Crons, Schema
from tests.cli.conftest import Convex
from tests.cli.errands import errands, note
from tests.cli.lamps import add, lamps
from tests.cli.shop import make_app
from tests.cli.test_database import older_app
from tests.databases import rows
from tests.sqlite.crews import wait_until
from tests.worker.workers import running_worker


@pytest.fixture(name="copy")
def _copy(convex: Convex, tmp_path: Path) -> Path:
    """A backup with the lamp Anna; the database has Bert, too."""
    add(convex, "Anna")
    path = tmp_path / "copies" / "copy.db"
    path.parent.mkdir()
    assert convex("backup", str(path)).status == 0
    add(convex, "Bert")
    return path


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
