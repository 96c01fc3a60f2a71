"""`flask convex webhooks replay`, `retry` and `purge`: what runs deliveries again, or forgets them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import replace as changed

import click
import msgspec
from flask.cli import with_appcontext

from flask_convex_http.backend import Backend
from flask_convex_http.cli.options import duration
from flask_convex_http.cli.output import json_option, moment, note, print_json, printable, shortened
from flask_convex_http.cli.webhooks.filters import (
    Chosen,
    Time,
    moment_of,
    since_option,
    source_option,
    status_option,
    type_option,
)
from flask_convex_http.inbox.deliveries import State
from flask_convex_http.inbox.replay import Preview, Replays, Step
from flask_convex_http.runtime.dry_run import FieldChange, RowChange, SystemChange
from flask_convex_http.web.state import current_backend

#: States of what can be replayed, and of what is retried if no state is named.
_RUN: tuple[State, ...] = ("failed", "dead", "done")
_FAILED: tuple[State, ...] = ("failed", "dead")
#: How many one transaction forgets: others want to write too.
_AT_ONCE = 500
#: Characters of a value that people are shown.
_WIDTH = 200

_ids_argument = click.argument("names", metavar="[ID]...", nargs=-1)
_limit_option = click.option("--limit", type=click.IntRange(min=1), help="With filters: the first so many.")


# --- replay ----------------------------------------------------------------------------------------------------------


@click.command("replay")
@_ids_argument
@source_option
@since_option
@status_option(*_RUN)
@type_option
@_limit_option
@click.option("--dry-run", is_flag=True, help="Show what would change, and commit nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
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
    """Run the handlers of deliveries again, whatever came of them: their effects happen AGAIN.

    IDs are ours or the senders'. With filters all that match are run, in the order in which they came. Each is verified
    as of the time it was received, and is a transaction of its own: what fails leaves no effects. --dry-run runs each
    on the database as it is and undoes that; what it shows may hold personal data, and what a handler does outside of
    the database is not undone. A delivery that waits for a worker is refused; see retry.

    \b
    Examples:
      flask convex webhooks replay evt_1Qx2Yz --dry-run
      flask convex webhooks replay --source stripe --since 2026-01-31 --type 'invoice.*'
    """
    chosen = Chosen(names=names, source=source, since=since, status=status, type=event_type)
    chosen.check()
    backend = current_backend()
    replays = Replays(backend.inbox)
    ids, problems = chosen.ids(backend, _RUN, limit)
    if dry_run:
        _preview(replays, ids, problems, as_json)
        return
    if ids and not yes:
        note(f"The handlers of {_deliveries(len(ids))} will run, and have their effects again.")
        click.confirm("Go on?", abort=True, err=True)
    _report(map(replays.replay, ids), problems, as_json)


def _preview(replays: Replays, ids: Iterable[str], problems: list[Step], as_json: bool) -> None:
    found: list[Preview | Step] = [*map(replays.preview, ids), *problems]
    if as_json:
        print_json(found)
    for item in found:
        if not as_json and isinstance(item, Preview):
            _print_preview(item)
    steps = [item for item in found if isinstance(item, Step)]
    _fail(steps, any(isinstance(item, Preview) and item.error is not None for item in found))
    if not found and not as_json:
        click.echo("There are no such deliveries.")


def _print_preview(preview: Preview) -> None:
    _say(f"{preview.source} {preview.event_id} {preview.type} ({preview.id})")
    if preview.error is not None:
        _say(f"  would fail, and change nothing: {preview.error}")
        return
    _say(f"  would answer {preview.status}{'' if preview.rows or preview.system else ', and change nothing'}")
    for row in preview.rows:
        _say(f"  {row.verb} {row.id if row.id.startswith(row.table) else f'{row.table} {row.id}'}")
        for name, field in row.fields.items():
            _say(f"    {name}: {_difference(row, field)}")
    for change in preview.system:
        _say(f"  {_in_words(change)}")


def _difference(row: RowChange, field: FieldChange) -> str:
    if row.verb == "inserted":
        return _value(field.after)
    if row.verb == "deleted":
        return _value(field.before)
    return f"{_value(field.before)} -> {_value(field.after)}"


def _value(value: object) -> str:
    return shortened(msgspec.json.encode(value).decode(), _WIDTH)


def _in_words(change: SystemChange) -> str:
    arguments = f" {_value(change.args)}" if change.args else ""
    when = "" if change.time is None else f" for {moment(change.time)}"
    return f"{change.what}: {change.name}{arguments}{when}"


# --- retry -----------------------------------------------------------------------------------------------------------


@click.command("retry")
@_ids_argument
@source_option
@since_option
@status_option("pending", *_FAILED)
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
    """Have the effects of deliveries happen that have not: of those that failed, are dead, or are stuck.

    IDs are ours or the senders'. A handler that a worker runs is due at once, in its lane's order, and waits for a
    worker; any other runs here and now. What is done is refused, also if that was a moment ago: no effect happens
    twice. Filters without --status mean what has failed or is dead.

    \b
    Examples:
      flask convex webhooks retry evt_1Qx2Yz
      flask convex webhooks retry --source stripe --status dead --since 2d
    """
    chosen = Chosen(names=names, source=source, since=since, status=status, type=event_type)
    chosen.check()
    backend = current_backend()
    ids, problems = chosen.ids(backend, _FAILED, limit)
    _report(map(Replays(backend.inbox).retry, ids), problems, as_json)


# --- purge -----------------------------------------------------------------------------------------------------------


@click.command("purge")
@_ids_argument
@source_option
@click.option("--older-than", type=duration, metavar="DURATION", help="Those received longer ago, such as 30d.")
@click.option("--bodies-only", is_flag=True, help="Forget only headers and bodies; ids go on telling copies.")
@click.option("--yes", is_flag=True, help="Do not ask.")
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
    """Forget deliveries, or with --bodies-only their headers and bodies, which are most of what is personal in them.

    Who sends a forgotten delivery again has it run again: its id is not known any more. What waits for a worker is
    forgotten only if it is named by its id. With --bodies-only a delivery cannot be replayed any more, and errors and
    answers stay. Bodies and ids also go by themselves; see keep_bodies= and keep_ids= of a webhook.

    \b
    Examples:
      flask convex webhooks purge --older-than 30d --bodies-only
      flask convex webhooks purge evt_1Qx2Yz --yes
    """
    if names and older_than is not None:
        raise click.UsageError("Give ids (and --source, if several webhooks know one), or filters.")
    if not names and source is None and older_than is None:
        raise click.UsageError("Give the ids of deliveries, or filters such as --source and --older-than.")
    backend = current_backend()
    ids, problems = _to_forget(backend, Chosen(names=names, source=source), older_than)
    if ids and not yes:
        what = "The headers and bodies of " if bodies_only else ""
        note(f"{what}{_deliveries(len(ids))} will be forgotten{'' if bodies_only else '; sent again, they run again'}.")
        click.confirm("Go on?", abort=True, err=True)
    forget = Replays(backend.inbox).purge
    pages = (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
    steps = (step for page in pages for step in forget(page, bodies_only=bodies_only, pending=bool(names)))
    if names:
        _report(steps, problems, as_json)
    else:
        count = sum(step.outcome == "forgotten" for step in steps)
        _print_count(count, "stripped of headers and body" if bodies_only else "forgotten", as_json)


def _to_forget(backend: Backend, chosen: Chosen, older_than: datetime.timedelta | None) -> tuple[list[str], list[Step]]:
    if chosen.names:
        return chosen.ids(backend, _RUN)
    until = None if older_than is None else moment_of(older_than, backend.clock())
    with backend.engine.read() as snapshot:
        meant = changed(chosen.filter(backend, snapshot, _RUN), until=until)
        return list(meant.ids(backend.inbox.deliveries, snapshot)), []


def _print_count(count: int, fate: str, as_json: bool) -> None:
    if as_json:
        print_json({"forgotten": count})
    else:
        click.echo(f"{_deliveries(count)} {fate}.")


# --- what these share ------------------------------------------------------------------------------------------------


def _report(steps: Iterable[Step], problems: list[Step], as_json: bool) -> None:
    """Say what came of each as it comes; the exit status is 1 if that was not what was asked for."""
    found: list[Step] = []
    try:
        for step in steps:
            found.append(step)
            if not as_json and not _is_failure(step):
                _say(f"{step.sentence}.")
    finally:  # also if the database cannot be used half-way
        found += problems
        if as_json:
            print_json(found)
    if not found and not as_json:
        click.echo("There are no such deliveries.")
    _fail([step for step in found if _is_failure(step)])


def _fail(steps: Sequence[Step], also: bool = False) -> None:
    if steps:
        raise click.ClickException("\n".join(_line(step.sentence) for step in steps))
    if also:
        raise click.exceptions.Exit(1)


def _is_failure(step: Step) -> bool:
    return step.outcome in ("failed", "dead", "refused", "unknown")


def _deliveries(count: int) -> str:
    return f"{count} deliver{'y' if count == 1 else 'ies'}"


def _say(sentence: str) -> None:
    click.echo(_line(sentence))


def _line(text: str) -> str:
    """A text on one line: a sender's words may hold several."""
    return printable(text).replace("\n", "\\n")
