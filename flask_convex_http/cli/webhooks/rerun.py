"""`flask convex webhooks replay`, `retry` and `purge`: run deliveries again, or delete them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import replace as with_changes
from itertools import chain

import click
import msgspec
from flask.cli import with_appcontext

from flask_convex_http.backend import Backend
from flask_convex_http.cli.options import LISTED, duration
from flask_convex_http.cli.output import json_option, moment, note, print_json, printable, shortened
from flask_convex_http.cli.webhooks.filters import (
    Selection,
    Time,
    counted_deliveries,
    in_milliseconds,
    since_option,
    source_option,
    status_option,
    type_option,
)
from flask_convex_http.inbox.deliveries import State
from flask_convex_http.inbox.purges import Purges
from flask_convex_http.inbox.reader import InboxReader
from flask_convex_http.inbox.replay import Replays
from flask_convex_http.inbox.rerun_results import Preview, RerunResult
from flask_convex_http.runtime.row_changes import FieldChange, RowChange, SystemChange
from flask_convex_http.web.state import current_backend

#: The states that are replayed, purged and retried without `--status`.
_RUN: tuple[State, ...] = ("failed", "dead", "done")
_PURGED: tuple[State, ...] = (*_RUN, "unhandled")
_FAILED: tuple[State, ...] = ("failed", "dead")
#: Deliveries that one transaction purges. Longer transactions would keep other writers waiting.
_BATCH = 500
#: Characters of a value in a preview.
_WIDTH = 200

_ids_argument = click.argument("names", metavar="[ID]...", nargs=-1)
_limit_option = click.option("--limit", type=LISTED, help="With filters: at most so many, oldest first.")


# --- replay ----------------------------------------------------------------------------------------------------------


@click.command("replay")
@_ids_argument
@source_option
@since_option
@status_option(*_RUN, "unhandled")
@type_option
@_limit_option
@click.option("--dry-run", is_flag=True, help="Show what would change, and commit nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@with_appcontext
def replay(
    names: Sequence[str],
    source: str | None,
    since: Time | None,
    status: State | None,
    event_type: str | None,
    limit: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Run handlers AGAIN: their effects happen again.

    An ID is the sender's id of the event, or the delivery's own id. With filters all matching deliveries run in the
    order of arrival, also those that are done. Each is verified as of the time it was received and is a transaction of
    its own: a failed one has no effects. --dry-run runs each one and rolls it back. The preview may contain personal
    data, and effects outside of the database are not rolled back. A delivery that waits for a worker is refused; use
    retry. Filters select unhandled deliveries only with --status unhandled.

    \b
    Examples:
      flask convex webhooks replay evt_1Qx2Yz --dry-run
      flask convex webhooks replay --source stripe --since 2026-01-31 --type 'invoice.*'
    """
    selection = Selection(names=names, source=source, since=since, status=status, type=event_type)
    selection.check()
    backend = current_backend()
    replays = Replays(backend.inbox)
    ids, problems = selection.ids(backend, _RUN, limit)
    if dry_run:
        _preview(replays, ids, problems, as_json)
        return
    if ids and not yes:
        note(f"The handlers of {counted_deliveries(len(ids))} will run, and their effects will happen again.")
        click.confirm("Continue?", abort=True, err=True)
    _report(map(replays.replay, ids), problems, as_json)


def _preview(replays: Replays, ids: Iterable[str], problems: list[RerunResult], as_json: bool) -> None:
    found: list[Preview | RerunResult] = [*map(replays.preview, ids), *problems]
    if as_json:
        print_json(found)
    for item in found:
        if not as_json and isinstance(item, Preview):
            _print_preview(item)
    results = [item for item in found if isinstance(item, RerunResult)]
    _fail(results, any(isinstance(item, Preview) and item.error is not None for item in found))
    if not found and not as_json:
        click.echo("No deliveries match.")


def _print_preview(preview: Preview) -> None:
    _print_line(f"{preview.source} {preview.event_id} {preview.type} ({preview.id})")
    if preview.error is not None:
        _print_line(f"  would fail and change nothing: {preview.error}")
        return
    _print_line(f"  would respond {preview.status}{'' if preview.rows or preview.system else ' and change nothing'}")
    for row in preview.rows:
        _print_line(f"  {row.verb} {row.id if row.id.startswith(row.table) else f'{row.table} {row.id}'}")
        for name, field in row.fields.items():
            _print_line(f"    {name}: {_difference(row, field)}")
    for change in preview.system:
        _print_line(f"  {_system_change(change)}")


def _difference(row: RowChange, field: FieldChange) -> str:
    if row.verb == "inserted":
        return _value(field.after)
    if row.verb == "deleted":
        return _value(field.before)
    return f"{_value(field.before)} -> {_value(field.after)}"


def _value(value: object) -> str:
    return shortened(msgspec.json.encode(value).decode(), _WIDTH)


def _system_change(change: SystemChange) -> str:
    arguments = f" {_value(change.args)}" if change.args else ""
    when = "" if change.time is None else f" for {moment(change.time)}"
    return f"{change.what}: {change.name}{arguments}{when}"


# --- retry -----------------------------------------------------------------------------------------------------------


@click.command("retry")
@_ids_argument
@source_option
@since_option
@status_option("pending", *_FAILED, "unhandled")
@type_option
@_limit_option
@json_option
@with_appcontext
def retry(
    names: Sequence[str],
    source: str | None,
    since: Time | None,
    status: State | None,
    event_type: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Run deliveries that failed, are dead or are stuck.

    An ID is the sender's id of the event, or the delivery's own id. A handler that a worker runs becomes due at once,
    in the order of its lane. Any other handler runs in this command. A delivery that is done is refused, so no effect
    happens twice. Filters without --status select failed and dead deliveries.

    \b
    Examples:
      flask convex webhooks retry evt_1Qx2Yz
      flask convex webhooks retry --source stripe --status dead --since 2d
    """
    selection = Selection(names=names, source=source, since=since, status=status, type=event_type)
    selection.check()
    backend = current_backend()
    ids, problems = selection.ids(backend, _FAILED, limit)
    _report(map(Replays(backend.inbox).retry, ids), problems, as_json)


# --- purge -----------------------------------------------------------------------------------------------------------


@click.command("purge")
@_ids_argument
@source_option
@click.option("--older-than", type=duration, metavar="DURATION", help="Only those received longer ago, such as 30d.")
@click.option("--bodies-only", is_flag=True, help="Delete only headers and bodies. Duplicates are still recognised.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@with_appcontext
def purge(
    names: Sequence[str],
    source: str | None,
    older_than: datetime.timedelta | None,
    bodies_only: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete deliveries, or only their headers and bodies.

    If a purged delivery is sent again, its handler runs again, because the id is no longer known. A delivery that waits
    for a worker is only purged if it is given by its ID. --bodies-only deletes most of the personal data and keeps ids,
    errors and responses; the delivery can no longer be replayed. Bodies and ids also expire by themselves: see
    keep_bodies= and keep_ids= of a webhook.

    \b
    Examples:
      flask convex webhooks purge --older-than 30d --bodies-only
      flask convex webhooks purge evt_1Qx2Yz --yes
    """
    if names and older_than is not None:
        raise click.UsageError("Give ids (and --source, if several webhooks received one), or filters.")
    if not names and source is None and older_than is None:
        raise click.UsageError("Give the ids of deliveries, or filters such as --source and --older-than.")
    backend = current_backend()
    ids, problems = _selected(backend, Selection(names=names, source=source), older_than)
    if ids and not yes:
        what = "The headers and bodies of " if bodies_only else ""
        warning = "" if bodies_only else " A purged delivery that is sent again runs again."
        note(f"{what}{counted_deliveries(len(ids))} will be purged.{warning}")
        click.confirm("Continue?", abort=True, err=True)
    purges = Purges(backend.inbox)
    batches = (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))
    purged = (purges.purge(batch, bodies_only=bodies_only, pending=bool(names)) for batch in batches)
    results = chain.from_iterable(purged)
    if names:
        _report(results, problems, as_json)
        return
    count = sum(result.outcome == "forgotten" for result in results)
    if as_json:
        print_json({"forgotten": count})
    else:
        click.echo(f"Purged {'the headers and bodies of ' if bodies_only else ''}{counted_deliveries(count)}.")


def _selected(
    backend: Backend, selection: Selection, older_than: datetime.timedelta | None
) -> tuple[list[str], list[RerunResult]]:
    if selection.names:
        return selection.ids(backend, _PURGED)
    until = None if older_than is None else in_milliseconds(older_than, backend.clock())
    conditions = with_changes(selection.conditions(backend, _PURGED), until=until)
    return list(InboxReader(backend.inbox).ids(conditions)), []


# --- printing --------------------------------------------------------------------------------------------------------


def _report(results: Iterable[RerunResult], problems: list[RerunResult], as_json: bool) -> None:
    """Print each result as it arrives. The exit status is 1 if one of them failed or was refused."""
    found: list[RerunResult] = []
    try:
        for result in results:
            found.append(result)
            if not as_json and not _is_failure(result):
                _print_line(f"{result.sentence}.")
    finally:  # also if the database becomes unavailable between two results
        found += problems
        if as_json:
            print_json(found)
    if not found and not as_json:
        click.echo("No deliveries match.")
    _fail([result for result in found if _is_failure(result)])


def _fail(results: Sequence[RerunResult], also: bool = False) -> None:
    if results:
        raise click.ClickException("\n".join(_line(result.sentence) for result in results))
    if also:
        raise click.exceptions.Exit(1)


def _is_failure(result: RerunResult) -> bool:
    return result.outcome in ("failed", "dead", "refused", "unknown")


def _print_line(sentence: str) -> None:
    click.echo(_line(sentence))


def _line(text: str) -> str:
    """Return a text on one line. A sender's words may have several."""
    return printable(text).replace("\n", "\\n")
