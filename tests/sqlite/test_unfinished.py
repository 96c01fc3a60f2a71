"""Unfinished backups and restores: a killed one leaves nothing that the next one or a cleanup does not remove."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.sqlite.unfinished import new_file, remove_unfinished
from tests.engines.members import SCHEMA, insert, migrate
from tests.lengths import LONG
from tests.sqlite.test_backup_and_restore import end, start

_BACKUP = """
import sys, time
from pathlib import Path
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from tests.engines.members import SCHEMA

def stop(done, total):
    print("begun", flush=True)
    time.sleep(60)

SQLiteEngine(Path(sys.argv[1]), SCHEMA).backups.create(Path(sys.argv[2]), stop)
"""


@pytest.fixture(name="engine")
def _engine(tmp_path: Path) -> Iterator[SQLiteEngine]:
    with closing(SQLiteEngine(tmp_path / "data" / "convex.db", SCHEMA)) as engine:
        migrate(engine)
        engine.write(lambda transaction: insert(transaction, "a", 1))
        yield engine


@pytest.fixture(name="elsewhere")
def _elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder


def leave_unfinished(folder: Path, name: str) -> Path:
    """Leave what a killed process leaves, and return its folder."""
    left = folder / f".{name}.unfinished-0123456789ab"
    left.mkdir()
    (left / name).write_bytes(b"half")
    return left


def hidden(folder: Path) -> list[str]:
    """Return the hidden names in a folder."""
    return [name for name in os.listdir(folder) if name.startswith(".")]


@LONG
def test_a_killed_backup_is_removed(engine: SQLiteEngine, elsewhere: Path) -> None:
    """The database's cleanup finds and removes the part of a backup that was killed in another folder."""
    end(start(_BACKUP, engine.path, elsewhere / "backup.db"), signal.SIGKILL)
    assert len(hidden(elsewhere)) == len(hidden(engine.path.parent)) == 1
    engine.backups.remove_unfinished()
    assert hidden(elsewhere) == hidden(engine.path.parent) == []


def test_a_running_backup_stays(engine: SQLiteEngine, elsewhere: Path) -> None:
    """A cleanup during a backup does not disturb it, and nothing but the backup is left at the end."""
    engine.backups.create(elsewhere / "backup.db", lambda done, total: engine.backups.remove_unfinished())
    assert os.listdir(elsewhere) == ["backup.db"]
    assert hidden(engine.path.parent) == []


def test_the_next_backup_removes_the_killed_one(engine: SQLiteEngine, elsewhere: Path) -> None:
    """A new backup removes the parts of killed ones in its folder."""
    leave_unfinished(elsewhere, "other.db")
    engine.backups.create(elsewhere / "backup.db")
    assert os.listdir(elsewhere) == ["backup.db"]


def test_a_killed_restore_is_removed(engine: SQLiteEngine) -> None:
    """The part of a killed restore beside the database is removed."""
    leave_unfinished(engine.path.parent, "convex.db")
    engine.backups.remove_unfinished()
    assert hidden(engine.path.parent) == []


def test_only_unfinished_files_are_removed(tmp_path: Path) -> None:
    """Other files, and folders that a link names without being unfinished files, stay."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "important").write_text("x")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".convex.db.unfinished-0123456789ab").symlink_to(kept)
    (folder / ".convex.db.unfinished-notes").mkdir()
    remove_unfinished(folder)
    remove_unfinished(tmp_path / "missing")
    assert (kept / "important").read_text() == "x"
    assert ".convex.db.unfinished-notes" in os.listdir(folder)


def test_a_failure_leaves_nothing(engine: SQLiteEngine, elsewhere: Path) -> None:
    """A backup that fails leaves neither its part nor the link."""
    with pytest.raises(RuntimeError), new_file(elsewhere / "backup.db", engine.path) as path:
        path.write_bytes(b"half")
        raise RuntimeError
    assert hidden(elsewhere) == hidden(engine.path.parent) == []
