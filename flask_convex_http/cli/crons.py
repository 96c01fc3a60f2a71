"""Crons from the command line: when each fires next, and what came of it the last time."""

from __future__ import annotations

from typing import Literal

import click
import msgspec
from flask.cli import with_appcontext

from flask_convex_http.backend import Backend
from flask_convex_http.cli.output import json_option, moment, note, print_json, print_table, shortened
from flask_convex_http.database.query import Query
from flask_convex_http.engines.base import Snapshot
from flask_convex_http.scheduling.crons import Cron
from flask_convex_http.scheduling.submission import Submission
from flask_convex_http.schema.system_tables import CronJob, CronRun
from flask_convex_http.web.state import current_backend

Status = Literal["active", "new", "changed", "removed"]

_NOTES: dict[Status, str] = {
    "active": "",
    "new": "no worker has seen it yet: send the app a request, or start one",
    "changed": "workers run it as it was before; restart them",
    "removed": "not in the code any more; it goes when a worker starts",
}


class _Run(msgspec.Struct):
    """The last firing of a cron.

    Attributes:
        tick: When it was due.
        skipped: How many ticks after it were too late to be run.
        job: The scheduled function that it made.
        state: That one's state; None if it was forgotten since.
        error: What that one failed with.
    """

    tick: float
    skipped: int
    job: str
    state: str | None
    error: str | None


class _Described(msgspec.Struct):
    """A cron, as the code and the database know it.

    Attributes:
        name: Its name.
        schedule: Its schedule, the database's if it has one.
        function: The name of what it runs.
        next_tick: When it fires next; None if no worker has seen it.
        last_run: Its last firing.
        status: Whether code and database agree.
    """

    name: str
    schedule: str
    function: str
    next_tick: float | None
    last_run: _Run | None
    status: Status


@click.command()
@json_option
@with_appcontext
def crons(as_json: bool) -> None:
    """List the crons: schedule, function, when each fires next, what came of its last run.

    A worker brings the database to the crons of the code when it starts; until then the note says what differs. All
    times are in UTC.

    \b
    Examples:
      flask convex crons
      flask convex crons --json
    """
    backend = current_backend()
    with backend.engine.read() as snapshot:
        found = _described(backend, snapshot)
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("There are no crons: pass ConvexHTTP(crons=...) a Crons().")
        return
    rows = [
        (
            cron.name,
            cron.schedule,
            cron.function,
            moment(cron.next_tick, ""),
            moment(cron.last_run.tick if cron.last_run else None),
            _result(cron.last_run),
            _note(cron),
        )
        for cron in found
    ]
    print_table(("NAME", "SCHEDULE", "FUNCTION", "NEXT", "LAST", "RESULT", "NOTE"), rows)
    if any(cron.status == "new" for cron in found) and backend.settings.worker == "off":
        note("CONVEX_WORKER is off here: `flask convex worker` runs the crons.")


def _note(cron: _Described) -> str:
    if cron.status == "active" and cron.last_run is not None and cron.last_run.state in ("pending", "inProgress"):
        return "its ticks are skipped until that run has ended"
    return _NOTES[cron.status]


def _described(backend: Backend, snapshot: Snapshot) -> list[_Described]:
    table = backend.schema.table_for(CronJob)
    rows = {row.name: row for row in Query(snapshot, table, table.indexes["by_creation_time"])}
    submissions = backend.ticks.check()
    known = [_known(backend, snapshot, cron, submissions[cron.name], rows.get(cron.name)) for cron in backend.crons]
    removed = [_stored(backend, snapshot, row, "removed") for name, row in rows.items() if name not in submissions]
    return known + removed


def _known(backend: Backend, snapshot: Snapshot, cron: Cron, submission: Submission, row: CronJob | None) -> _Described:
    """A cron of the code."""
    if row is None:
        last_run = _last_run(backend, snapshot, cron.name)
        return _Described(cron.name, str(cron.schedule), submission.name, None, last_run, "new")
    return _stored(backend, snapshot, row, "active" if backend.ticks.is_current(row) else "changed")


def _stored(backend: Backend, snapshot: Snapshot, row: CronJob, status: Status) -> _Described:
    """A cron of the database."""
    run = _last_run(backend, snapshot, row.name)
    return _Described(row.name, row.schedule, row.function, row.next_tick, run, status)


def _last_run(backend: Backend, snapshot: Snapshot, name: str) -> _Run | None:
    table = backend.schema.table_for(CronRun)
    runs = Query(snapshot, table, table.indexes["by_creation_time"]).with_index("by_tick", name=name)
    run = runs.order("desc").first()
    if run is None:
        return None
    job = backend.jobs.get(snapshot, run.job)
    state, error = (None, None) if job is None else (job.state, job.error)
    return _Run(run.tick, run.skipped, run.job, state, error)


def _result(run: _Run | None) -> str:
    if run is None:
        return ""
    state = run.state or "forgotten"
    return state if run.error is None else shortened(f"{state}: {run.error}", 40)
