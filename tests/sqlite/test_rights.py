"""Access rights: each new file is private, and the files beside a shared database are shared like it."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.sqlite.process_lock import ProcessLock
from flask_convex_http.storage.blobs import SQLiteBlobs
from tests.engines.members import SCHEMA, insert, migrate


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Set the umask of the process."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """Return the mode of each file and folder below a folder. All pipes are named "pipe"."""
    found = [(path, path.lstat().st_mode) for path in folder.rglob("*")]
    return {"pipe" if stat.S_ISFIFO(mode) else path.name: stat.S_IMODE(mode) for path, mode in found}


def use_all(folder: Path) -> dict[str, int]:
    """Create every kind of file in a folder, and return the modes."""
    with (
        closing(SQLiteEngine(folder / "a" / "convex.db", SCHEMA)) as engine,
        closing(SQLiteBlobs(folder / "b" / "convex-files.db")) as blobs,
    ):
        migrate(engine)
        engine.write(lambda transaction: insert(transaction, "a", 1))
        blobs.write("a", [b"x"])
        engine.backups.create(folder / "backup.db")
        engine.backups.prepare_restore(folder / "backup.db").run()
        with closing(engine.notifications.listen()):
            return modes(folder)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_each_new_file_is_private(tmp_path: Path, mask: int) -> None:
    """Every new file has the mode 0600 and every new folder 0700, regardless of the umask."""
    with umask(mask):
        found = use_all(tmp_path / "new")
    folders = {"a", "b", "convex.db.workers"}
    beside = {"", "-wal", "-shm", ".lock", ".queue"}
    files = {name + ending for name in ("convex.db", "convex-files.db") for ending in beside} | {"backup.db", "pipe"}
    assert found == dict.fromkeys(files, 0o600) | dict.fromkeys(folders, 0o700)


def test_a_shared_database_stays_shared(tmp_path: Path) -> None:
    """An existing database keeps its mode, and the files beside it have the same, regardless of the umask."""
    path = tmp_path / "convex.db"
    path.touch()
    path.chmod(0o660)
    with umask(0o077), closing(SQLiteEngine(path, SCHEMA)) as engine:
        migrate(engine)
        with closing(engine.notifications.listen()):
            found = modes(tmp_path)
    beside = {"", "-wal", "-shm", ".lock", ".queue"}
    files = {f"convex.db{ending}" for ending in beside} | {"pipe"}
    assert found == dict.fromkeys(files, 0o660) | {"convex.db.workers": 0o770}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_root_does_not_lock_out_the_owner(tmp_path: Path) -> None:
    """A command that root runs creates files that belong to the owner of the database."""
    path = tmp_path / "convex.db"
    path.touch()
    os.chown(path, 65534, 65534)
    with closing(SQLiteEngine(path, SCHEMA)) as engine, closing(engine.notifications.listen()):
        migrate(engine)
        owners = {found.name: found.stat().st_uid for found in tmp_path.rglob("*")}
    assert set(owners.values()) == {65534}, owners


def test_a_restored_file_is_private(tmp_path: Path) -> None:
    """A restore of a missing database creates a private file."""
    with umask(0), closing(SQLiteEngine(tmp_path / "convex.db", SCHEMA)) as engine:
        migrate(engine)
        engine.backups.create(tmp_path / "backup.db")
        there = SQLiteEngine(tmp_path / "there" / "convex.db", SCHEMA)
        there.backups.prepare_restore(tmp_path / "backup.db").run()
    assert modes(tmp_path / "there")["convex.db"] == 0o600
    assert stat.S_IMODE((tmp_path / "there").stat().st_mode) == 0o700


def test_a_lock_without_its_database_is_private(tmp_path: Path) -> None:
    """The files of a lock are private where there is no database yet."""
    with umask(0), closing(ProcessLock(tmp_path / "convex.db")) as lock:
        assert lock.try_acquire()
    assert set(modes(tmp_path).values()) == {0o600}
