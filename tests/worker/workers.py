"""Run workers on threads of the test process, on a database that other backends may open too."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from flask_convex_http import Crons, Document, Id, MutationCtx, QueryCtx, Schema, internal_mutation, internal_query
from flask_convex_http.backend import Backend, Functions, system_clock
from flask_convex_http.database.query import Query
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.worker import Worker
from tests.databases import settings_in
from tests.sqlite.crews import PATIENCE, wait_until

ENDED = ("success", "failed", "canceled")


class Note(Document, table="notes"):
    text: str


SCHEMA = Schema(Note)


class Boom(Exception):
    """The exception that functions of these tests raise."""


@internal_mutation
def write_note(ctx: MutationCtx, *, text: str) -> None:
    """Insert a note."""
    ctx.db.insert(Note(text=text))


@internal_query
def notes(ctx: QueryCtx) -> list[str]:
    """Return the texts of all notes."""
    return [note.text for note in ctx.db.query(Note)]


@contextmanager
def open_backend(
    folder: Path,
    functions: Functions = (),
    crons: Crons | None = None,
    /,
    *,
    clock: Callable[[], float] = system_clock,
    **config: Any,
) -> Iterator[Backend]:
    """Open a migrated backend in a folder.

    A second backend on the same folder stands for a second process.
    """
    settings = settings_in(folder, **config)
    own = [write_note, notes, *functions]
    with closing(Backend(settings, SCHEMA, own, crons=crons, folder=folder, clock=clock)) as backend:
        backend.migrate()
        yield backend


@contextmanager
def running_worker(
    backend: Backend,
    *,
    grace: float = PATIENCE,
    app_context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[Worker]:
    """Run a worker until the block ends, and wait until it has ended."""
    worker = Worker(backend, app_context=app_context, grace=grace)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "The worker does not end"


def all_jobs(backend: Backend) -> list[ScheduledFunction]:
    """Return all jobs, oldest first."""
    table = backend.schema.table_for(ScheduledFunction)
    with backend.engine.snapshot() as snapshot:
        return Query(snapshot, table, table.indexes["by_creation_time"]).collect()


def get_job(backend: Backend, job_id: Id[ScheduledFunction]) -> ScheduledFunction:
    """Return the job with this id."""
    with backend.engine.snapshot() as snapshot:
        found = backend.jobs.get(snapshot, job_id)
    assert found is not None
    return found


def written_notes(backend: Backend) -> list[str]:
    """Return the texts of all notes, in the order in which they were inserted."""
    return backend.ctx().run_query(notes)


def wait_until_ended(backend: Backend) -> list[ScheduledFunction]:
    """Wait until no job is pending or in progress, and return all jobs."""
    wait_until(lambda: all(each.completed_time is not None for each in all_jobs(backend)))
    return all_jobs(backend)


def run_all(backend: Backend) -> list[ScheduledFunction]:
    """Let a worker run all jobs, and those that they schedule; return all jobs."""
    with running_worker(backend):
        return wait_until_ended(backend)
