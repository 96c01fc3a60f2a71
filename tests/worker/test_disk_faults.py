"""Databases that cannot be used for a while: the worker goes on by itself, and no mutation blocks the others."""

import resource
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flask_convex_http import MutationCtx, internal_mutation
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.sqlite.connections import sqlite3
from tests.sqlite.crews import wait_until
from tests.sqlite.limits import no_longer_files
from tests.worker.runs import SCHEMA, Note, notes, opened, rows, run_all, wait_until_ended, working, write_down, written

KIB, MIB = 2**10, 2**20


@internal_mutation
def fill(ctx: MutationCtx, *, size: int) -> None:
    """Write more than the test's disk has room for."""
    for number in range(size // (100 * KIB)):
        ctx.db.insert(Note(text=f"fill {number} " + "x" * 100 * KIB))


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file can be made longer than that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [MIB, 12 * MIB], ids=["at the commit", "before the commit"])
def test_a_mutation_that_fills_the_disk_does_not_block_the_others(size: int, tmp_path: Path) -> None:
    """When there is no room for what one mutation writes, the others that are due run nevertheless, whichever place it
    has among them; it stays pending, and runs when there is room."""
    with opened(tmp_path, [fill]) as backend:
        for number in range(3):
            backend.ctx().scheduler.run_after(0, write_down, text=str(number))
        backend.ctx().scheduler.run_after(0, fill, size=size)
        for number in range(3, 30):
            backend.ctx().scheduler.run_after(0, write_down, text=str(number))
        log = tmp_path / "convex.db-wal"
        with files_up_to(log.stat().st_size + 800 * KIB), working(backend):
            wait_until(lambda: len(written(backend)) == 30)
            assert [job.state for job in rows(backend) if job.name.endswith("fill")] == ["pending"]
            assert {job.state for job in rows(backend) if not job.name.endswith("fill")} == {"success"}
        run_all(backend)
        assert {job.state for job in rows(backend)} == {"success"}
        assert len(written(backend)) == 30 + size // (100 * KIB)


def test_what_comes_while_one_has_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a mutation waits for room on the disk, others that are due later run at their time, or soon after it."""
    monkeypatch.setattr("flask_convex_http.worker.rejected_jobs._FIRST_PAUSE", 3600)
    with opened(tmp_path, [fill]) as backend:
        backend.ctx().scheduler.run_after(0, fill, size=12 * MIB)
        log = tmp_path / "convex.db-wal"
        with files_up_to(log.stat().st_size + 800 * KIB), working(backend):
            time.sleep(1.5)  # until it has been tried
            for number in range(3):
                start = time.monotonic()
                backend.ctx().scheduler.run_after(0.3, write_down, text=str(number))
                wait_until(lambda count=number + 1: len(written(backend)) == count)  # type: ignore[misc]  # bound now
                assert time.monotonic() - start < 3


def test_a_full_disk_stops_nobody_for_good(tmp_path: Path) -> None:
    """While nothing can be written nothing runs, and nothing is lost; afterwards all of it runs, once."""
    with opened(tmp_path) as backend:
        for number in range(10):
            backend.ctx().scheduler.run_after(0.2, write_down, text=str(number))
        with working(backend):
            with no_longer_files(tmp_path / "convex.db-wal"):
                time.sleep(1)
                assert written(backend) == []
            wait_until_ended(backend)
        assert sorted(written(backend)) == [str(number) for number in range(10)]


def test_a_database_that_is_migrated_later(tmp_path: Path) -> None:
    """A worker that is started before the first migration waits for it, makes no files meanwhile, and goes on by
    itself."""
    folder = tmp_path / "instance"
    with closing(Backend(Settings(), SCHEMA, [write_down, notes], folder=folder)) as backend, working(backend):
        time.sleep(0.5)
        assert not folder.exists()
        backend.migrate()
        backend.ctx().scheduler.run_after(0, write_down, text="at last")
        wait_until(lambda: written(backend) == ["at last"])


def test_another_program_that_writes_for_long(tmp_path: Path) -> None:
    """While another program holds the database nothing runs; when it lets go, all of it does."""
    with (
        opened(tmp_path, write_timeout=0.5) as backend,
        closing(sqlite3.connect(tmp_path / "convex.db", isolation_level=None)) as connection,
    ):
        backend.ctx().scheduler.run_after(0.2, write_down, text="a")
        connection.execute("BEGIN IMMEDIATE")
        with working(backend):
            time.sleep(2)
            assert written(backend) == []
            connection.execute("ROLLBACK")
            [job] = wait_until_ended(backend)
    assert job.state == "success"
