"""`flask convex files ...`: list, delete and link stored files, and delete orphaned blobs."""

from __future__ import annotations

import datetime
import math

import click
from flask.cli import AppGroup

from flask_convex_http.cli import options
from flask_convex_http.cli.output import counted, json_option, moment, note, print_json, print_table, progress
from flask_convex_http.ids import Id
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
    found = current_backend().files.list_files()
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
    help="Leave blobs alone that are younger. Choose more than the longest upload takes.",
)
@click.option("--dry-run", is_flag=True, help="Only list the blobs.")
@json_option
def sweep(older_than: datetime.timedelta, dry_run: bool, as_json: bool) -> None:
    """Delete blobs that belong to no stored file.

    An interrupted upload leaves such a blob.

    \b
    Examples:
      flask convex files sweep --dry-run
      flask convex files sweep --older-than 1d
    """
    with progress("Sweep") as advance:
        report = current_backend().files.sweep(older_than=older_than.total_seconds(), dry_run=dry_run, progress=advance)
    if as_json:
        print_json({"dry_run": dry_run, "looked_at": report.checked, "removed": report.orphans})
        return
    for key in report.orphans:
        click.echo(f"  {key}")
    outcome = "to delete; nothing was changed" if dry_run else "deleted"
    click.echo(f"{counted(len(report.orphans), 'blob')} without a file {outcome}.")


@files.command("delete")
@click.argument("file", metavar="ID")
@json_option
def delete(file: str, as_json: bool) -> None:
    """Delete a stored file: its row and its bytes.

    Documents that refer to it stay as they are.

    \b
    Examples:
      flask convex files delete _storage_0190f3a1b2c3d4e5f60718293a4b5c6d
    """
    backend = current_backend()
    if backend.files.metadata(file) is None:
        raise click.ClickException(_unknown(file))
    backend.ctx().storage.delete(Id(file))
    if as_json:
        print_json({"deleted": file})
        return
    click.echo(f"{file} is deleted.")


@files.command("url")
@click.argument("file", metavar="ID")
@click.option(
    "--expires",
    type=options.time,
    default="1h",
    show_default=True,
    help="When the URL expires: 30d, 12h or 2027-01-01 (UTC).",
)
@click.option("--inline", is_flag=True, help="Let a browser show a PDF instead of downloading it.")
@json_option
def url(file: str, expires: datetime.timedelta | datetime.datetime, inline: bool, as_json: bool) -> None:
    """Print a URL from which anyone who has it can read a stored file.

    \b
    Examples:
      flask convex files url _storage_0190f3a1b2c3d4e5f60718293a4b5c6d
      flask convex files url _storage_0190f3a1b2c3d4e5f60718293a4b5c6d --expires 7d
    """
    backend = current_backend()
    now = backend.clock()
    end = options.expires_at(expires, now) or now
    stored, site = backend.files.metadata(file), backend.settings.files_url or backend.settings.site_url
    if stored is None:
        raise click.ClickException(_unknown(file))
    found = backend.files.url(site or "", stored, math.ceil(end / 1000), inline=inline)
    if as_json:
        print_json({"url": found, "expires_at": end})
        return
    click.echo(found)
    if site is None:
        note("This is only the path. Set CONVEX_SITE_URL to the URL at which clients reach the app.")


def _unknown(file: str) -> str:
    return f"There is no stored file {file!r}; `flask convex files list` lists them"
