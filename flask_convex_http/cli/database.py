"""The database from the command line: bring it to the schema, look into it, copy it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click
import msgspec
from flask import current_app
from flask.cli import with_appcontext

from flask_convex_http.backend import Backend
from flask_convex_http.blobs import SQLiteBlobs
from flask_convex_http.cli.output import (
    counted,
    json_option,
    moment,
    note,
    print_json,
    print_table,
    progress,
    shortened,
)
from flask_convex_http.config import sqlite_path
from flask_convex_http.query_builder import Query
from flask_convex_http.schema import Document, Table
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
    path = _database_path(backend)
    if as_json:
        described = [{"step": str(step), "destructive": step.destructive} for step in steps]
        print_json({"database": path and str(path), "dry_run": dry_run, "steps": described})
        return
    click.echo(f"Database: {path or 'a temporary one, gone when this command ends; set CONVEX_DATABASE_URL'}")
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
    with backend.engine.read() as snapshot:
        documents = Query(snapshot, found, found.indexes["by_creation_time"]).order(order).take(limit)
    _print_rows(found, documents, as_json)


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--files", "files_path", type=click.Path(path_type=Path), help="Where to copy the bytes of stored files.")
@json_option
@with_appcontext
def backup(path: Path, files_path: Path | None, as_json: bool) -> None:
    """Copy the database to the new file PATH.

    The copy is consistent and the app may run meanwhile. The bytes of stored files are in a database of their own: add
    --files to copy that too. It is copied second, so a file that is deleted during the backup may lack its bytes there.

    \b
    Examples:
      flask convex backup backup.db
      flask convex backup backup.db --files backup-files.db
    """
    backend = current_backend()
    for target in (path, files_path):
        _refuse_target(target)
    if files_path is not None and files_path.absolute() == path.absolute():
        raise click.UsageError("PATH and --files name the same file; name two.")
    _refuse_nothing_to_copy(backend)
    copy_files = _files_backup(backend) if files_path is not None else None
    _copy(path, "Database", backend.engine.backup)
    if files_path is not None and copy_files is not None:
        _copy(files_path, "Files", copy_files)
    if as_json:
        print_json({"database": _described(path), "files": files_path and _described(files_path)})
        return
    click.echo(f"The database was copied to {path} ({path.stat().st_size:,} bytes).")
    if files_path is not None:
        click.echo(f"The bytes of stored files were copied to {files_path} ({files_path.stat().st_size:,} bytes).")
    else:
        click.echo("The bytes of stored files are not included; --files FILE copies them.")
    note("The copy holds what the database holds, its secret included: keep it as safe.")


def _print_tables(backend: Backend, as_json: bool) -> None:
    tables = sorted(backend.schema.tables.values(), key=lambda table: (table.system, table.name))
    with backend.engine.read() as snapshot:
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


# --- backups ---------------------------------------------------------------------------------------------------------


def _database_path(backend: Backend) -> Path | None:
    return sqlite_path("CONVEX_DATABASE_URL", backend.settings.database_url, Path(current_app.instance_path))


def _refuse_target(path: Path | None) -> None:
    if path is None:
        return
    if path.exists() or path.is_symlink():
        raise click.ClickException(f"{path} exists already; name a new file")
    if not path.parent.is_dir():
        raise click.ClickException(f"There is no folder {path.parent}; make it first")


def _refuse_nothing_to_copy(backend: Backend) -> None:
    # Not by opening it: a database that waits for its migration is the one to copy, and one that is not there would
    # be made by looking.
    path = _database_path(backend)
    if path is None:
        raise click.ClickException("The database is a temporary one; set CONVEX_DATABASE_URL to the one to copy")
    if not path.exists():
        raise click.ClickException(f"There is no database {path} yet; run `flask convex migrate` to make it")


def _files_backup(backend: Backend) -> Callable[..., None]:
    if not isinstance(backend.blobs, SQLiteBlobs):
        raise click.ClickException("This app's files are not in a database; copy them with the tools of their store")
    return backend.blobs.backup


def _copy(path: Path, label: str, work: Callable[..., None]) -> None:
    """Copy to a new file that only its owner can read. It is there when it is complete, and not before."""

    def tell(done: int, total: int) -> None:
        bar.length = total
        bar.update(done - bar.pos)

    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder, progress(1, label) as bar:
            copy = Path(folder, path.name)
            work(copy, tell)
            copy.chmod(0o600)
            copy.rename(path)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error}") from error


def _described(path: Path) -> dict[str, Any]:
    return {"path": str(path), "bytes": path.stat().st_size}
