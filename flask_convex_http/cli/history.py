"""`flask convex log`, `why`, `undo` and `erase`: the commit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec
from flask.cli import with_appcontext

from flask_convex_http.cli.options import LISTED
from flask_convex_http.cli.output import (
    counted,
    json_option,
    moment,
    note,
    print_json,
    print_table,
    printable,
    shortened,
)
from flask_convex_http.web.state import current_backend

if TYPE_CHECKING:
    from flask_convex_http.history.rows import Commit, Revision
    from flask_convex_http.operations.undo import UndoReport
    from flask_convex_http.runtime.row_changes import RowChange

_HEADINGS = ("COMMIT", "TIME", "CAUSE")


@click.command()
@click.argument("cause", required=False)
@click.option("--table", help="Only commits that changed documents of this table.")
@click.option("--limit", type=LISTED, default=20, show_default=True, help="How many commits to list.")
@json_option
@with_appcontext
def log(cause: str | None, table: str | None, limit: int, as_json: bool) -> None:
    """List commits with their causes, the newest first. Times are in UTC.

    CAUSE selects the commits of a request, a delivery, a job, a cron, a function or the subject of an identity.

    \b
    Examples:
      flask convex log
      flask convex log --table items --limit 5
      flask convex log items:create
    """
    found = current_backend().history.log(limit=limit, table=table, cause=cause)
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("No commits match.")
        return
    rows = [(*_cells(commit), shortened(", ".join(map(_change, commit.changes)))) for commit in found]
    print_table((*_HEADINGS, "CHANGES"), rows)


@click.command()
@click.argument("document", metavar="ID")
@click.option("--limit", type=LISTED, default=20, show_default=True, help="How many changes to list.")
@json_option
@with_appcontext
def why(document: str, limit: int, as_json: bool) -> None:
    """Show who changed a document: each commit with its cause and the previous values, the newest first.

    The document need not exist any more.

    \b
    Examples:
      flask convex why items_0190f3a1b2c3d4e5f60718293a4b5c6d
      flask convex why items_0190f3a1b2c3d4e5f60718293a4b5c6d --json
    """
    found = current_backend().history.revisions(document, limit)
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("The log has no change of this document.")
        return
    rows = [(*_cells(revision.commit), revision.operation, _before(revision)) for revision in found]
    print_table((*_HEADINGS, "OPERATION", "BEFORE"), rows)


@click.command()
@click.argument("what", metavar="REQUEST_ID|DELIVERY_ID|COMMIT")
@click.option("--dry-run", is_flag=True, help="Print the changes, and make none.")
@json_option
@with_appcontext
def undo(what: str, dry_run: bool, as_json: bool) -> None:
    """Give the documents back the values that they had before a commit, a request or a webhook delivery.

    It is refused where a later commit has touched the same fields. Jobs, files and calls to other services are not
    undone. A delivery is marked as undone, and a later duplicate of it runs nothing.

    \b
    Examples:
      flask convex undo 8f14e45fceea167a --dry-run
      flask convex undo evt_1Qx2Yz
      flask convex undo 1042
    """
    report = current_backend().undo.run(what, only_show=dry_run)
    if as_json:
        print_json(report)
        return
    for change in report.rows:
        click.echo(_line(change))
    if dry_run:
        note(f"Nothing was changed. An undo of {_numbers(report)} would change {counted(len(report.rows), 'row')}.")
        return
    click.echo(f"Undid {_numbers(report)}: {counted(len(report.rows), 'row')} changed.")
    for delivery in report.deliveries:
        click.echo(f"The delivery {delivery} is marked as undone.")


@click.command()
@click.argument("document", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@with_appcontext
def erase(document: str, yes: bool, as_json: bool) -> None:
    """Erase the previous values of one document from the log. The document itself stays as it is, or stays deleted.

    The log keeps which commits have changed it. They can no longer be undone, and the document cannot be read as it
    was.

    \b
    Examples:
      flask convex erase users_0190f3a1b2c3d4e5f60718293a4b5c6d
    """
    if not yes:
        note(f"The history of {document} will be erased.")
        click.confirm("Continue?", abort=True, err=True)
    count = current_backend().history.erase(document)
    if as_json:
        print_json({"erased": count})
        return
    click.echo(f"Erased {counted(count, 'change')}.")


def _cells(commit: Commit) -> tuple[str, str, str]:
    return str(commit.number), moment(commit.time), shortened(_cause(commit), 80)


def _cause(commit: Commit) -> str:
    if commit.undoes:
        return f"undo of {ranges(commit.undoes)}"
    parts = {
        "": commit.function,
        "delivery ": commit.delivery,
        "request ": commit.request_id,
        "cron ": commit.cron,
        "job ": commit.job,
        "by ": commit.identity,
    }
    return ", ".join(f"{name}{value}" for name, value in parts.items() if value is not None)


def _change(change: Any) -> str:
    return f"{change.operation} {change.id}"


def _before(revision: Revision[Any]) -> str:
    return shortened(msgspec.json.encode(revision.before).decode()) if revision.before else ""


def _line(change: RowChange) -> str:
    fields = ", ".join(f"{name}: {_text(each.before)} -> {_text(each.after)}" for name, each in change.fields.items())
    return printable(f"{change.verb} {change.id}" + (f" ({fields})" if change.verb == "changed" else "")).replace(
        "\n", "\\n"
    )


def _text(value: Any) -> str:
    try:
        return shortened(msgspec.json.encode(value).decode())
    except (TypeError, ValueError):
        return shortened(repr(value))


def _numbers(report: UndoReport) -> str:
    numbers = ranges(report.commits)
    return f"commit {numbers}" if len(report.commits) == 1 else f"commits {numbers}"


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as text, such as "3-7, 9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
