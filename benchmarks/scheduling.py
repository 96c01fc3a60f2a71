"""The cost of scheduling a function against inserting a row: `python -m benchmarks.scheduling`.

The row has the function's arguments as values, and one index, as a job has. No worker runs.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from benchmarks import items
from benchmarks.harness import Ratio, Row, alternate, print_table, row
from benchmarks.writes import new_folders
from flask_convex_http import Document, Id, MutationCtx, QueryCtx, Schema, internal_mutation, query
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.schema.system_tables import ScheduledFunction

#: The highest acceptable ratio to inserting a row.
TARGET = 1.5
_HOUR = 3600.0
#: The number of each in one mutation, and the rounds. One mutation may schedule a thousand functions.
_MANY, _MANY_ROUNDS = 100, 9


class Note(Document, table="notes", indexes={"by_name": ["name"]}):
    name: str
    description: str | None


class Start(Document, table="starts"):
    """The start of a scheduled function, in seconds of the monotonic clock of all processes."""

    time: float


@internal_mutation
def insert(ctx: MutationCtx, *, name: str, description: str | None) -> Id[Note]:
    return ctx.db.insert(Note(name=name, description=description))


@internal_mutation
def schedule(ctx: MutationCtx, *, name: str, description: str | None) -> Id[ScheduledFunction]:
    return ctx.scheduler.run_after(_HOUR, items.create, name=name, description=description)


@internal_mutation
def schedule_now(ctx: MutationCtx, *, count: int, name: str, description: str | None) -> None:
    for _ in range(count):
        ctx.scheduler.run_after(0, items.create, name=name, description=description)


@internal_mutation
def schedule_start(ctx: MutationCtx) -> None:
    ctx.scheduler.run_after(0, start)


@internal_mutation
def start(ctx: MutationCtx) -> None:
    ctx.db.insert(Start(time=time.monotonic()))


@query
def starts(ctx: QueryCtx) -> list[float]:
    return [start.time for start in ctx.db.query(Start)]


def open_backend(folder: Path) -> Backend:
    """Return the durable backend whose database is in a folder."""
    return Backend(
        Settings(),
        Schema(items.Item, Note, Start),
        [items.create, insert, schedule, schedule_now, schedule_start, start, starts],
        folder=folder,
    )


def measure(rounds: int = 9) -> list[Row]:
    """Measure one function in its own mutation, and many in one.

    Args:
        rounds: The number of rounds of the first. The second fills one mutation.
    """
    with new_folders("ours") as (folder,), contextlib.closing(open_backend(folder)) as backend:
        backend.migrate()
        return [
            row("a durable mutation that schedules a function (by hand: inserts a row)", _one(backend, rounds), TARGET),
            row(f"{_MANY} in one mutation, without its commit", _many(backend), TARGET),
        ]


def _one(backend: Backend, rounds: int) -> Ratio:
    ctx = backend.ctx()
    return alternate(
        lambda: ctx.run_mutation(schedule, name=items.NAME, description=items.DESCRIPTION),
        lambda: ctx.run_mutation(insert, name=items.NAME, description=items.DESCRIPTION),
        rounds,
    )


def _many(backend: Backend) -> Ratio:
    def body(ctx: MutationCtx) -> Ratio:
        return alternate(lambda: _schedule_many(ctx), lambda: _insert_many(ctx), _MANY_ROUNDS, number=1)

    return backend.runtime.transact(body, backend.caller())


def _schedule_many(ctx: MutationCtx) -> None:
    for _ in range(_MANY):
        ctx.scheduler.run_after(_HOUR, items.create, name=items.NAME, description=items.DESCRIPTION)


def _insert_many(ctx: MutationCtx) -> None:
    for _ in range(_MANY):
        ctx.db.insert(Note(name=items.NAME, description=items.DESCRIPTION))


if __name__ == "__main__":
    print_table("Scheduling", measure())
