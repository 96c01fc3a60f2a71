"""An application that schedules jobs: notes that are inserted now or later."""

from typing import Any

from flask_convex_http import (
    ActionCtx,
    Document,
    Id,
    MutationCtx,
    QueryCtx,
    ScheduledFunction,
    Schema,
    internal_action,
    internal_mutation,
    internal_query,
)
from flask_convex_http.backend import Backend
from flask_convex_http.functions.function import Function


class Note(Document, table="notes"):
    text: str


SCHEMA = Schema(Note)


class Boom(Exception):
    """An error of the functions in this module."""


@internal_mutation
def note(ctx: MutationCtx, text: str = "") -> Id[Note]:
    return ctx.db.insert(Note(text=text))


@internal_action
def call(ctx: ActionCtx, *, text: str) -> None:
    ctx.run_mutation(note, text=text)


@internal_mutation
def later(ctx: MutationCtx, *, text: str, fail: bool = False) -> Id[ScheduledFunction]:
    job = ctx.scheduler.run_after(0, note, text=text)
    if fail:
        raise Boom
    return job


@internal_query
def texts(ctx: QueryCtx) -> list[str]:
    return [note.text for note in ctx.db.query(Note)]


@internal_query
def rows(ctx: QueryCtx) -> Any:
    return ctx.db.system.query(ScheduledFunction).collect()


@internal_query
def row(ctx: QueryCtx, *, job: Id[ScheduledFunction]) -> Any:
    return ctx.db.system.get(job)


FUNCTIONS: list[Function[Any, Any]] = [note, call, later, texts, rows, row]


def scheduled_texts(backend: Backend) -> list[str]:
    """Return the texts of the scheduled jobs."""
    return [job.args["text"] for job in backend.ctx().run_query(rows)]


def noted_texts(backend: Backend) -> list[str]:
    return backend.ctx().run_query(texts)


def state(backend: Backend, job: Any) -> str:
    return str(backend.ctx().run_query(row, job=job).state)
