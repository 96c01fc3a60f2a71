"""The database from the command line: bring it to the schema, look into it."""

from __future__ import annotations

from typing import Any, Literal

import click
import msgspec
from flask.cli import with_appcontext

from flask_convex_http.backend import Backend
from flask_convex_http.cli.output import (
    counted,
    json_option,
    moment,
    print_json,
    print_table,
    shortened,
)
from flask_convex_http.cli.stores import database_name
from flask_convex_http.database.query import Query
from flask_convex_http.schema.documents import Document, Table
from flask_convex_http.web.state import current_backend

#: Columns of the system's own tables that hold secrets, or what stands for one; nobody needs to see them.
_SECRET_COLUMNS = frozenset({"hash", "value"})


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--allow-destructive", is_flag=True, help="Also drop columns that the schema no longer has.")
@json_option
@with_appcontext
def migrate(dry_run: bool, allow_destructive: bool, as_json: bool) -> None:
    """Bring the database to the schema.

    It all happens in one transaction. A step that would lose data is refused unless you allow it; one that rows do not
    fit is refused always. Then nothing is changed and the exit status is 1.

    \b
    Examples:
      flask convex migrate
      flask convex migrate --dry-run
      flask convex migrate --allow-destructive
    """
    backend = current_backend()
    steps = backend.migrate(dry_run=dry_run, allow_destructive=allow_destructive)
    if not dry_run:
        backend.register_crons()  # those that run did so before, on a database that was replaced since, say
    name = database_name(backend)
    if as_json:
        described = [{"step": str(step), "destructive": step.destructive} for step in steps]
        print_json({"database": name, "dry_run": dry_run, "steps": described})
        return
    click.echo(f"Database: {name or 'a temporary one, gone when this command ends; set CONVEX_DATABASE_URL'}")
    for step in steps:
        click.echo(f"  {step}")
    if not steps:
        click.echo("Nothing to do.")
    else:
        click.echo(f"{counted(len(steps), 'step')} {'to take; nothing was changed' if dry_run else 'taken'}.")


@click.command()
@click.argument("table", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many rows at most.")
@click.option(
    "--order",
    type=click.Choice(["asc", "desc"]),
    default="desc",
    show_default=True,
    help="By creation: oldest or newest first.",
)
@json_option
@with_appcontext
def data(table: str | None, limit: int, order: Literal["asc", "desc"], as_json: bool) -> None:
    """List the tables, or the rows of TABLE.

    Hashes of keys and the deployment's settings are left out.

    \b
    Examples:
      flask convex data
      flask convex data items
      flask convex data items --limit 5 --order asc --json
    """
    backend = current_backend()
    if table is None:
        _print_tables(backend, as_json)
        return
    found = backend.schema.tables.get(table)
    if found is None:
        raise click.ClickException(f"There is no table {table!r}; there are {', '.join(sorted(backend.schema.tables))}")
    with backend.engine.snapshot() as snapshot:
        documents = Query(snapshot, found, found.indexes["by_creation_time"]).order(order).take(limit)
    _print_rows(found, documents, as_json)


def _print_tables(backend: Backend, as_json: bool) -> None:
    tables = sorted(backend.schema.tables.values(), key=lambda table: (table.system, table.name))
    with backend.engine.snapshot() as snapshot:
        counts = [snapshot.count(table) for table in tables]
    if as_json:
        pairs = zip(tables, counts, strict=True)
        print_json([{"table": table.name, "rows": count, "system": table.system} for table, count in pairs])
        return
    rows = [
        (table.name, str(count), "system" if table.system else "") for table, count in zip(tables, counts, strict=True)
    ]
    print_table(("TABLE", "ROWS", ""), rows)


def _print_rows(table: Table[Any], documents: list[Document], as_json: bool) -> None:
    hidden = _SECRET_COLUMNS if table.system else frozenset[str]()
    if as_json:
        print_json([without(document, hidden) for document in documents])
        return
    if not documents:
        click.echo(f"{table.name} has no rows.")
        return
    names = [name for name in table.columns if name not in hidden]
    rows = [
        (str(document.id), moment(document.creation_time), *(_cell(getattr(document, name)) for name in names))
        for document in documents
    ]
    print_table(("_id", "_creation_time", *names), rows)


def without(document: Document, hidden: frozenset[str]) -> dict[str, Any]:
    """A document as it is in JSON, without some of its fields."""
    fields: dict[str, Any] = msgspec.to_builtins(document)
    return {name: value for name, value in fields.items() if name not in hidden}


def _cell(value: Any) -> str:
    return shortened(value if isinstance(value, str) else msgspec.json.encode(value).decode())
