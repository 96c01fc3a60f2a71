"""How the tests of the worker run one: in a thread of this process, on a database that others may open as well."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from flask_convex_http import Crons, Document, Id, MutationCtx, QueryCtx, Schema, internal_mutation, internal_query
from flask_convex_http.backend import Backend, Functions, system_clock
from flask_convex_http.database.query import Query
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.worker.worker import Worker
from tests.databases import settings_in
from tests.sqlite.crews import PATIENCE, wait_until

ENDED = ("success", "failed", "canceled")


class Note(Document, table="notes"):
    text: str


SCHEMA = Schema(Note)


class Boom(Exception):
    """What the functions here fail with."""


@internal_mutation
def write_down(ctx: MutationCtx, *, text: str) -> None:
    ctx.db.insert(Note(text=text))


@internal_query
def notes(ctx: QueryCtx) -> list[str]:
    return [note.text for note in ctx.db.query(Note)]


@contextmanager
def opened(
    folder: Path,
    functions: Functions = (),
    crons: Crons | None = None,
    /,
    *,
    clock: Callable[[], float] = system_clock,
    **config: Any,
) -> Iterator[Backend]:
    """A migrated backend in a folder; a second one on the same folder is what another process would have."""
    settings = settings_in(folder, **config)
    own = [write_down, notes, *functions]
    with closing(Backend(settings, SCHEMA, own, crons=crons, folder=folder, clock=clock)) as backend:
        backend.migrate()
        yield backend


@contextmanager
def working(
    backend: Backend,
    *,
    grace: float = PATIENCE,
    app_context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[Worker]:
    """A worker that works until the block ends; then it has ended, too."""
    worker = Worker(backend, app_context=app_context, grace=grace)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "The worker does not end"


def rows(backend: Backend) -> list[ScheduledFunction]:
    """All that was scheduled, oldest first."""
    table = backend.schema.table_for(ScheduledFunction)
    with backend.engine.snapshot() as snapshot:
        return Query(snapshot, table, table.indexes["by_creation_time"]).collect()


def row(backend: Backend, job_id: Id[ScheduledFunction]) -> ScheduledFunction:
    """What was scheduled under an id."""
    with backend.engine.snapshot() as snapshot:
        found = backend.jobs.get(snapshot, job_id)
    assert found is not None
    return found


def written(backend: Backend) -> list[str]:
    """The notes, in the order they were written."""
    return backend.ctx().run_query(notes)


def wait_until_ended(backend: Backend) -> list[ScheduledFunction]:
    """Wait until nothing is pending or in progress; answers all rows."""
    wait_until(lambda: all(each.completed_time is not None for each in rows(backend)))
    return rows(backend)


def run_all(backend: Backend) -> list[ScheduledFunction]:
    """Have a worker run everything, and what that schedules; answers all rows."""
    with working(backend):
        return wait_until_ended(backend)
