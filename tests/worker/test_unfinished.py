"""Cleanup after kills: a worker removes the parts of killed backups and uploads."""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http.backend import Backend
from flask_convex_http.sqlite import wakeups
from flask_convex_http.testing import Clock
from flask_convex_http.worker.cleanup import Cleaner
from tests.engines.members import in_child
from tests.sqlite.test_unfinished import hidden, leave_unfinished
from tests.worker.workers import open_backend


def killed_pieces() -> Iterator[bytes]:
    """Yield more than one chunk, and end the process."""
    yield b"x" * 600_000
    os._exit(1)


def keys(backend: Backend) -> list[str]:
    """Return the keys of all blobs."""
    found = backend.blobs.keys()
    return [key for key, _ in found]


def test_killed_uploads_and_backups_are_removed(tmp_path: Path) -> None:
    """The parts of a killed backup are removed at once, those of a killed upload after a day. Finished files stay."""
    clock = Clock()
    with open_backend(tmp_path, clock=clock) as backend:
        file = backend.ctx().storage.store(b"kept")
        with suppress(Exception):  # the child ends without a result
            in_child(lambda: backend.blobs.write("killed", killed_pieces()))
        leave_unfinished(tmp_path, "convex.db")
        assert len(keys(backend)) == 2
        clock.advance(timedelta(hours=23))
        Cleaner(backend).remove_unfinished()
        assert hidden(tmp_path) == []
        assert len(keys(backend)) == 2
        clock.advance(timedelta(hours=2))
        cleaner = Cleaner(backend)
        cleaner.remove_unfinished()
        assert keys(backend) == [file]
        leave_unfinished(tmp_path, "convex.db")
        cleaner.remove_unfinished()  # it has searched a moment ago
        assert len(hidden(tmp_path)) == 1


def test_a_deployment_without_files_gets_no_file_store(tmp_path: Path) -> None:
    """The cleanup does not create the file store."""
    with open_backend(tmp_path) as backend:
        Cleaner(backend).remove_unfinished()
        assert not backend.blobs.is_created


def test_a_pipe_whose_creation_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new worker deletes a pipe whose creation was killed a while ago."""
    database = tmp_path / "convex.db"
    folder = wakeups.folder_of(database)
    folder.mkdir()
    os.mkfifo(folder / "1-ab.new")
    wakeups.PipeListener(database).close()
    assert os.listdir(folder) == ["1-ab.new"]
    monkeypatch.setattr(wakeups, "_CREATION_SECONDS", -1.0)
    wakeups.PipeListener(database).close()
    assert os.listdir(folder) == []
