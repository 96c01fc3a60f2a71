"""Compare the crons of the code with those in the database, and find their last runs."""

from __future__ import annotations

from typing import Literal

import msgspec

from flask_convex_http.database.query import Query
from flask_convex_http.engines import Snapshot
from flask_convex_http.scheduling.cron_expressions import Interval
from flask_convex_http.scheduling.cron_registration import CronRegistration
from flask_convex_http.scheduling.crons import Crons
from flask_convex_http.scheduling.jobs import Jobs
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.system_tables import CronJob, CronRun

CronState = Literal["active", "new", "changed", "removed"]


class LastRun(msgspec.Struct):
    """The last run of a cron.

    Attributes:
        tick: When it was due.
        skipped: How many later ticks were skipped because they were too late.
        job: The id of its job.
        state: The job's state; None if the job has been purged.
        error: The job's error.
    """

    tick: float
    skipped: int
    job: str
    state: str | None
    error: str | None


class CronStatus(msgspec.Struct):
    """A cron in the code and in the database.

    Attributes:
        name: The cron's name.
        schedule: Its schedule; the one in the database if it is there.
        function: The name of its function.
        next_tick: When it runs next; None if it is not in the database.
        last_run: Its last run.
        interval_ms: The milliseconds between two ticks of an interval; None for an expression.
        status: "active" if code and database agree; "new" if it is only in the code, "removed" if it is only in the
            database, "changed" if they differ.
    """

    name: str
    schedule: str
    interval_ms: int | None
    function: str
    next_tick: float | None
    last_run: LastRun | None
    status: CronState


def cron_statuses(
    snapshot: Snapshot, schema: Schema, crons: Crons, registration: CronRegistration, jobs: Jobs
) -> list[CronStatus]:
    """Return the crons of the code in their order, then those that are only in the database."""
    table = schema.table_for(CronJob)
    rows = {row.name: row for row in Query(snapshot, table, table.indexes["by_creation_time"])}
    submissions = registration.submissions()
    found = []
    for cron in crons:
        row = rows.pop(cron.name, None)
        run = _last_run(snapshot, schema, jobs, cron.name)
        if row is None:
            schedule, function = str(cron.schedule), submissions[cron.name].name
            found.append(CronStatus(cron.name, schedule, _interval_ms(schedule), function, None, run, "new"))
        else:
            found.append(_stored(row, run, "active" if registration.matches(row) else "changed"))
    found.extend(_stored(row, _last_run(snapshot, schema, jobs, row.name), "removed") for row in rows.values())
    return found


def _stored(row: CronJob, run: LastRun | None, status: CronState) -> CronStatus:
    interval_ms = _interval_ms(row.schedule)
    return CronStatus(row.name, row.schedule, interval_ms, row.function, row.next_tick, run, status)


def _interval_ms(schedule: str) -> int | None:
    interval = Interval.stored(schedule)
    return None if interval is None else interval.milliseconds


def _last_run(snapshot: Snapshot, schema: Schema, jobs: Jobs, name: str) -> LastRun | None:
    table = schema.table_for(CronRun)
    runs = Query(snapshot, table, table.indexes["by_creation_time"]).with_index("by_tick", name=name)
    run = runs.order("desc").first()
    if run is None:
        return None
    job = jobs.get(snapshot, run.job)
    state, error = (None, None) if job is None else (job.state, job.error)
    return LastRun(run.tick, run.skipped, run.job, state, error)
