"""Databases that are unavailable for a while: the worker recovers, and no mutation blocks the others."""

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from flask_convex_http import MutationCtx, internal_mutation
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.sqlite.connections import sqlite3
from tests.lengths import LONG
from tests.sqlite.crews import wait_until
from tests.sqlite.limits import no_longer_files
from tests.worker.workers import (
    SCHEMA,
    Note,
    all_jobs,
    notes,
    open_backend,
    run_all,
    running_worker,
    wait_until_ended,
    write_note,
    written_notes,
)

KIB, MIB = 2**10, 2**20


@internal_mutation
def fill(ctx: MutationCtx, *, size: int) -> None:
    """Write more than the disk of the test has space for."""
    for number in range(size // (100 * KIB)):
        ctx.db.insert(Note(text=f"fill {number} " + "x" * 100 * KIB))


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Limit the size of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@LONG
@pytest.mark.parametrize("size", [MIB, pytest.param(12 * MIB, marks=LONG)], ids=["at the commit", "before the commit"])
def test_a_mutation_that_fills_the_disk_does_not_block_the_others(size: int, tmp_path: Path) -> None:
    """A mutation that needs more space than the disk has stays pending, and the other due mutations run.

    It runs when there is space.
    """
    with open_backend(tmp_path, [fill]) as backend:
        for number in range(3):
            backend.ctx().scheduler.run_after(0, write_note, text=str(number))
        backend.ctx().scheduler.run_after(0, fill, size=size)
        for number in range(3, 30):
            backend.ctx().scheduler.run_after(0, write_note, text=str(number))
        log = tmp_path / "convex.db-wal"
        with files_up_to(log.stat().st_size + 800 * KIB), running_worker(backend):
            wait_until(lambda: len(written_notes(backend)) == 30)
            assert [job.state for job in all_jobs(backend) if job.name.endswith("fill")] == ["pending"]
            assert {job.state for job in all_jobs(backend) if not job.name.endswith("fill")} == {"success"}
        run_all(backend)
        assert {job.state for job in all_jobs(backend)} == {"success"}
        assert len(written_notes(backend)) == 30 + size // (100 * KIB)


def test_jobs_after_a_rejected_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_polling: None) -> None:
    """While a mutation waits for disk space, later ones run on time."""
    monkeypatch.setattr("flask_convex_http.worker.rejected_jobs._FIRST_PAUSE", 3600)
    with open_backend(tmp_path, [fill]) as backend:
        backend.ctx().scheduler.run_after(0, fill, size=12 * MIB)
        log = tmp_path / "convex.db-wal"
        with files_up_to(log.stat().st_size + 800 * KIB), running_worker(backend):
            time.sleep(1.5)  # until it was rejected
            for number in range(3):
                backend.ctx().scheduler.run_after(0.3, write_note, text=str(number))
                wait_until(lambda count=number + 1: len(written_notes(backend)) == count)  # type: ignore[misc]  # bound now


def test_a_full_disk(tmp_path: Path) -> None:
    """While the disk is full no job runs or is lost. Afterwards each runs once."""
    with open_backend(tmp_path) as backend:
        for number in range(10):
            backend.ctx().scheduler.run_after(0, write_note, text=str(number))
        with ExitStack() as full_disk:
            full_disk.enter_context(no_longer_files(tmp_path / "convex.db-wal"))  # before the worker starts
            with running_worker(backend):
                time.sleep(1)
                assert written_notes(backend) == []
                full_disk.close()
                wait_until_ended(backend)
        assert sorted(written_notes(backend)) == [str(number) for number in range(10)]


def test_a_database_that_is_migrated_later(tmp_path: Path) -> None:
    """A worker that starts before the first migration creates no file, and runs jobs after it."""
    folder = tmp_path / "instance"
    with closing(Backend(Settings(), SCHEMA, [write_note, notes], folder=folder)) as backend, running_worker(backend):
        time.sleep(0.5)
        assert not folder.exists()
        backend.migrate()
        backend.ctx().scheduler.run_after(0, write_note, text="at last")
        wait_until(lambda: written_notes(backend) == ["at last"])


def test_a_database_that_is_locked(tmp_path: Path) -> None:
    """While another program locks the database no job runs. Jobs run when the lock is released."""
    with (
        open_backend(tmp_path, write_timeout=0.5) as backend,
        closing(sqlite3.connect(tmp_path / "convex.db", isolation_level=None)) as connection,
    ):
        backend.ctx().scheduler.run_after(0.2, write_note, text="a")
        connection.execute("BEGIN IMMEDIATE")
        with running_worker(backend):
            time.sleep(2)
            assert written_notes(backend) == []
            connection.execute("ROLLBACK")
            [job] = wait_until_ended(backend)
    assert job.state == "success"
