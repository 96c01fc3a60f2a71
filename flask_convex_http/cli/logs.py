"""`flask convex logs`: print the last log records, and follow new ones."""

from __future__ import annotations

import contextlib
import datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec
from flask.cli import with_appcontext

from flask_convex_http.cli.options import WholeNumber
from flask_convex_http.cli.output import json_option, note, print_json, printable
from flask_convex_http.web.state import current_backend

if TYPE_CHECKING:
    from flask_convex_http.logs import LogRecord, Logs

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: Seconds after which a follower looks whether it was interrupted.
_WAIT = 5.0


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Print further records as they come, until Ctrl-C.")
@click.option("--request", "request_id", metavar="ID", help="Only the records of this request, with tracebacks.")
@click.option("--function", metavar="NAME", help="Only the records of this function, such as items:create.")
@click.option(
    "--level",
    type=click.Choice(_LEVELS, case_sensitive=False),
    default="INFO",
    show_default=True,
    help="Only records of this level or a higher one.",
)
@click.option("--text", metavar="TEXT", help="Only records whose message has this text.")
@click.option("--limit", type=WholeNumber(0, 100_000), default=50, show_default=True, help="How many to print first.")
@json_option
@with_appcontext
def logs(follow: bool, as_json: bool, limit: int, request_id: str | None, level: str, **selected: Any) -> None:
    """Print the last log records of all processes, the newest last. Times are in UTC.

    A record is a request, a call of a function, a job, a webhook delivery, or what a function has logged. They are kept
    if CONVEX_LOG_ROWS is set, or if the app has the dashboard or the function API. With --follow and --json each record
    is one line.

    \b
    Examples:
      flask convex logs
      flask convex logs --follow --level warning
      flask convex logs --request 8f14e45fceea167a
      flask convex logs --function items:create --limit 10 --json
    """
    found = current_backend().logs
    if not found.is_on:
        raise click.ClickException("This app keeps no log records; set CONVEX_LOG_ROWS=10000, for example")
    wanted = {**selected, "request_id": request_id, "level": level.upper()}
    last = found.newest()
    records = found.read(before=last + 1, limit=limit, **wanted) if limit else []
    if as_json and not follow:
        print_json(records)
        return
    for record in records:
        _print(record, as_json=as_json, in_full=request_id is not None)
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            _follow(found, last, wanted, as_json=as_json, in_full=request_id is not None)
    elif not records:
        note("No records match.")


def _follow(logs: Logs, last: int, wanted: dict[str, Any], *, as_json: bool, in_full: bool) -> None:
    while True:
        logs.wait(last, _WAIT)
        newest = logs.newest()
        if newest < last:  # the store was lost
            last = 0
        for record in logs.read(after=last, before=newest + 1, limit=100_000, **wanted):
            _print(record, as_json=as_json, in_full=in_full)
        last = newest


def _print(record: LogRecord, *, as_json: bool, in_full: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(record))
        return
    where = " ".join(filter(None, [record.request_id and f"[{record.request_id}]", _source(record)]))
    click.echo(printable(" ".join(filter(None, [_time(record.time), f"{record.level:8}", where, record.message]))))
    traceback = record.data.get("traceback")
    if in_full and isinstance(traceback, str):
        click.echo(printable("\n".join(f"    {line}" for line in traceback.split("\n"))))


def _source(record: LogRecord) -> str | None:
    """Return the logger and the function of a line, or None for other records, whose message names their source."""
    if record.kind != "line":
        return None
    return f"{record.logger} ({record.function}):" if record.function else f"{record.logger}:"


def _time(milliseconds: float) -> str:
    time = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03}Z"
