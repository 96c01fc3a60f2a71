"""`flask convex migrate` and `data`: change the database to match the schema, and look into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec
from flask.cli import with_appcontext

from flask_convex_http.cli.options import LISTED
from flask_convex_http.cli.output import (
    counted,
    json_option,
    moment,
    print_json,
    print_table,
    printable,
    progress,
    shortened,
)
from flask_convex_http.errors import MigrationRequiredError
from flask_convex_http.operations import TableCount, TableReader, TableRows
from flask_convex_http.web.state import current_backend

if TYPE_CHECKING:
    from flask_convex_http.engines import UndescribedTable
    from flask_convex_http.schema.migrations import MigrationStep


@click.command()
@click.option("--dry-run", is_flag=True, help="Only print the steps.")
@click.option("--allow-destructive", is_flag=True, help="Also drop columns that the schema no longer has.")
@click.option("--verbose", is_flag=True, help="Print each step for the built-in tables as well.")
@json_option
@with_appcontext
def migrate(dry_run: bool, allow_destructive: bool, verbose: bool, as_json: bool) -> None:
    """Change the database to match the schema, in one transaction.

    A step that would lose data is refused without --allow-destructive. A step that existing rows do not fit is always
    refused. If one is refused, nothing is changed and the exit status is 1.

    \b
    Examples:
      flask convex migrate
      flask convex migrate --dry-run
      flask convex migrate --allow-destructive
    """
    backend = current_backend()
    with progress("Order of rows") as advance:
        steps = backend.migrate(dry_run=dry_run, allow_destructive=allow_destructive, progress=advance)
    if not dry_run:
        backend.crons.register()  # running workers did it before, perhaps on a database that was replaced since
    undescribed = _undescribed(backend.tables)
    location = None if backend.location.is_temporary else str(backend.location)
    if as_json:
        described = [{"step": str(step), "destructive": step.destructive} for step in steps]
        report: dict[str, Any] = {"database": location, "dry_run": dry_run, "steps": described}
        if undescribed:
            report["undescribed"] = [{"table": table.name, "rows": table.rows} for table in undescribed]
        print_json(report)
        return
    click.echo(f"Database: {location or 'temporary, gone when this command ends; set CONVEX_DATABASE_URL'}")
    for line in step_lines(steps, verbose=verbose):
        click.echo(f"  {printable(line)}")
    if not steps:
        click.echo("The database matches the schema.")
    else:
        click.echo(f"{counted(len(steps), 'step')} {'to apply; nothing was changed' if dry_run else 'applied'}.")
    for table in undescribed:
        click.echo(printable(f"Note: {table}."))


def _undescribed(tables: TableReader) -> list[UndescribedTable]:
    try:
        return tables.undescribed()
    except MigrationRequiredError:  # a dry run makes no database
        return []


def step_lines(steps: Sequence[MigrationStep], *, verbose: bool = False) -> list[str]:
    """Return a line for each step. The steps that make built-in tables are one line, unless it is verbose."""
    new = {step.table.name for step in steps if step.creates_table and step.table.system and not verbose}
    lines = [str(step) for step in steps if step.table.name not in new]
    return [f"create {counted(len(new), 'built-in table')} (--verbose lists them)", *lines] if new else lines


@click.command()
@click.argument("table", required=False)
@click.option("--limit", type=LISTED, default=20, show_default=True, help="How many rows to list.")
@click.option(
    "--order",
    type=click.Choice(["asc", "desc"]),
    default="desc",
    show_default=True,
    help="The oldest rows first (asc), or the newest.",
)
@json_option
@with_appcontext
def data(table: str | None, limit: int, order: Literal["asc", "desc"], as_json: bool) -> None:
    """List the tables, or the rows of TABLE.

    Hashes of keys and the values of stored settings are left out.

    \b
    Examples:
      flask convex data
      flask convex data items
      flask convex data items --limit 5 --order asc --json
    """
    tables = current_backend().tables
    if table is None:
        _print_tables(tables, as_json)
        return
    found = tables.read(table, order=order, limit=limit)
    if found is None:
        raise _no_table(tables, table)
    _print_rows(table, found, as_json)


def _no_table(tables: TableReader, name: str) -> click.ClickException:
    undescribed = next((other for other in tables.undescribed() if other.name == name), None)
    if undescribed is not None:
        return click.ClickException(f"{undescribed}.")
    names = ", ".join(count.name for count in tables.counts())
    return click.ClickException(f"There is no table {name!r}; there are {names}")


def _print_tables(tables: TableReader, as_json: bool) -> None:
    counts = tables.counts()
    if as_json:
        print_json([_as_json(count) for count in counts])
        return
    rows = [(count.name, str(count.rows), _remark(count)) for count in counts]
    print_table(("TABLE", "ROWS", ""), rows)


def _as_json(count: TableCount) -> dict[str, Any]:
    described = {} if count.is_described else {"described": False}
    return {"table": count.name, "rows": count.rows, "system": count.is_system, **described}


def _remark(count: TableCount) -> str:
    if count.is_system:
        return "system"
    return "" if count.is_described else "no class describes it"


def _print_rows(name: str, found: TableRows, as_json: bool) -> None:
    if as_json:
        print_json(found.rows)
        return
    if not found.rows:
        click.echo(f"{name} has no rows.")
        return
    cells = [
        (row["_id"], moment(row["_creationTime"]), *(_cell(row[column]) for column in found.columns))
        for row in found.rows
    ]
    print_table(("_id", "_creation_time", *found.columns), cells)


def _cell(value: Any) -> str:
    return shortened(value if isinstance(value, str) else msgspec.json.encode(value).decode())
