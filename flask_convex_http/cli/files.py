"""Stored files from the command line: list, delete and link them, and remove bytes that belong to none."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import click
from flask.cli import AppGroup

from flask_convex_http.backend import Backend
from flask_convex_http.cli import options
from flask_convex_http.cli.output import counted, json_option, moment, note, print_json, print_table, progress
from flask_convex_http.database.query import Query
from flask_convex_http.ids import Id
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.web.state import current_backend

files = AppGroup("files", help="Stored files.")


@files.command("list")
@json_option
def list_files(as_json: bool) -> None:
    """List the stored files, oldest first.

    \b
    Examples:
      flask convex files list
      flask convex files list --json
    """
    backend = current_backend()
    table = backend.schema.table_for(StoredFile)
    with backend.engine.snapshot() as snapshot:
        found = Query(snapshot, table, table.indexes["by_creation_time"]).collect()
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("There are no stored files.")
        return
    rows = [(file.id, f"{file.size:,}", file.content_type or "", moment(file.creation_time)) for file in found]
    print_table(("ID", "BYTES", "TYPE", "CREATED"), rows)
    click.echo(f"{counted(len(found), 'file')}, {sum(file.size for file in found):,} bytes.")


@files.command("sweep")
@click.option(
    "--older-than",
    type=options.duration,
    default="1h",
    show_default=True,
    help="Leave what was written since; more than an upload takes.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
def sweep(older_than: datetime.timedelta, dry_run: bool, as_json: bool) -> None:
    """Remove bytes that belong to no stored file, such as those of an upload that was cut off.

    \b
    Examples:
      flask convex files sweep --dry-run
      flask convex files sweep --older-than 1d
    """
    backend = current_backend()
    # Also if there is nothing to look at: which database is asked for the rows must be certain before bytes go.
    with backend.engine.snapshot():
        pass
    seconds = older_than.total_seconds()
    keys = _old_keys(backend, seconds)
    looked_at = _look(backend, keys) if dry_run else backend.files.sweep(older_than=seconds)
    orphans = []
    with progress("Sweep") as advance:
        for number, (key, is_orphan) in enumerate(looked_at, 1):
            orphans += [key] if is_orphan else []
            advance(number, len(keys))
    if as_json:
        print_json({"dry_run": dry_run, "looked_at": len(keys), "removed": orphans})
        return
    for key in orphans:
        click.echo(f"  {key}")
    what = counted(len(orphans), "blob")
    click.echo(f"{what} without a file {'to remove; nothing was changed' if dry_run else 'removed'}.")


@files.command("delete")
@click.argument("file", metavar="ID")
@json_option
def delete(file: str, as_json: bool) -> None:
    """Delete a stored file: its row and its bytes. Documents that refer to it stay as they are.

    \b
    Examples:
      flask convex files delete _storage_0190f3a1b2c3d4e5f60718293a4b5c6d
    """
    current_backend().ctx().storage.delete(Id(file))
    if as_json:
        print_json({"deleted": file})
        return
    click.echo(f"{file} is deleted.")


@files.command("url")
@click.argument("file", metavar="ID")
@click.option("--expires", type=options.time, default="1h", show_default=True, help="30d, 12h or 2027-01-01 (UTC).")
@json_option
def url(file: str, expires: datetime.timedelta | datetime.datetime, as_json: bool) -> None:
    """Print a URL that anyone who has it can read a stored file from.

    \b
    Examples:
      flask convex files url _storage_0190f3a1b2c3d4e5f60718293a4b5c6d
      flask convex files url _storage_0190f3a1b2c3d4e5f60718293a4b5c6d --expires 7d
    """
    backend = current_backend()
    now = backend.clock()
    end = options.expires_at(expires, now) or now
    found = backend.ctx().storage.get_url(Id(file), expires_in=datetime.timedelta(milliseconds=end - now))
    if found is None:
        raise click.ClickException(f"There is no stored file {file!r}; `flask convex files list` lists them")
    if as_json:
        print_json({"url": found, "expires_at": end})
        return
    click.echo(found)
    if not backend.settings.site_url:
        note("That is the path only: set CONVEX_SITE_URL to where clients reach the app.")


def _old_keys(backend: Backend, seconds: float) -> list[str]:
    limit = backend.clock() / 1000 - seconds
    return [key for key, _ in backend.blobs.keys(older_than=limit)]


def _look(backend: Backend, keys: list[str]) -> Iterator[tuple[str, bool]]:
    """What a sweep would answer, without removing anything."""
    return ((key, backend.files.metadata(key) is None) for key in keys)
