"""`flask convex crons`: list the crons with their next tick and last run."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from flask_convex_http.cli.output import json_option, moment, note, print_json, print_table, shortened
from flask_convex_http.scheduling import CronStatus, LastRun
from flask_convex_http.web.state import current_backend

_NOTES = {
    "active": "",
    "new": "not in the database yet: send the app a request, or start a worker",
    "changed": "workers still run the old version: restart them",
    "removed": "not in the code any more: the next start of a worker removes it",
}


@click.command()
@json_option
@with_appcontext
def crons(as_json: bool) -> None:
    """List the crons: schedule, function, next tick and last run.

    A worker writes the crons of the code to the database when it starts. Until then, a note says how the two differ.
    Times are in UTC.

    \b
    Examples:
      flask convex crons
      flask convex crons --json
    """
    backend = current_backend()
    found = backend.crons.statuses()
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("There are no crons. Pass a Crons() to ConvexHTTP(crons=...) to have some.")
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
        note("CONVEX_WORKER is off: only `flask convex worker` runs crons.")


def _note(cron: CronStatus) -> str:
    if cron.status == "active" and cron.last_run is not None and cron.last_run.state in ("pending", "inProgress"):
        return "its ticks are skipped until that run has ended"
    return _NOTES[cron.status]


def _result(run: LastRun | None) -> str:
    if run is None:
        return ""
    state = run.state or "purged"
    return state if run.error is None else shortened(f"{state}: {run.error}", 40)
