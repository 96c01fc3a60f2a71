"""`flask convex files ...`: list, delete and link stored files, sweep what is not in use, give space back."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING

import click
from flask.cli import AppGroup

from flask_convex_http.cli import options
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
from flask_convex_http.ids import Id
from flask_convex_http.web.state import current_backend

if TYPE_CHECKING:
    from flask_convex_http.schema.system_tables import StoredFile

#: Free bytes of the file store that are worth a note.
_NOTED_BYTES = 2**20
_ORPHAN_AGE, _UNATTACHED_AGE = datetime.timedelta(hours=1), datetime.timedelta(days=1)

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
        _note_free_space()
        return
    _print_files(found)
    click.echo(f"{counted(len(found), 'file')}, {sum(file.size for file in found):,} bytes.")
    _note_free_space()


@files.command("sweep")
@click.option("--unattached", is_flag=True, help="Delete the stored files that no document refers to instead.")
@click.option(
    "--older-than",
    type=options.duration,
    help="Leave alone what is younger. Choose more than the longest upload takes, or than clients take to attach a "
    "file.  [default: 1h; with --unattached 1d]",
)
@click.option("--dry-run", is_flag=True, help="Only list what would be deleted.")
@click.option("--yes", is_flag=True, help="With --unattached: do not ask for confirmation.")
@json_option
def sweep(unattached: bool, older_than: datetime.timedelta | None, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete blobs that belong to no stored file, as an interrupted upload leaves them.

    With --unattached delete the stored files whose id occurs in no row of any table: clients uploaded them and did not
    attach them to a document. A file that only something outside of the database refers to is deleted too.

    \b
    Examples:
      flask convex files sweep --dry-run
      flask convex files sweep --older-than 1d
      flask convex files sweep --unattached --dry-run
      flask convex files sweep --unattached --older-than 7d --yes
    """
    if unattached:
        age = _UNATTACHED_AGE if older_than is None else older_than
        _sweep_unattached(age, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    if yes:
        raise click.UsageError("--yes needs --unattached.")
    age = _ORPHAN_AGE if older_than is None else older_than
    with progress("Sweep") as advance:
        report = current_backend().files.sweep(older_than=age.total_seconds(), dry_run=dry_run, progress=advance)
    if as_json:
        print_json({"dry_run": dry_run, "looked_at": report.checked, "removed": report.orphans})
        return
    for key in report.orphans:
        click.echo(f"  {key}")
    outcome = "to delete; nothing was changed" if dry_run else "deleted"
    click.echo(f"{counted(len(report.orphans), 'blob')} without a file {outcome}.")
    _note_free_space()


def _sweep_unattached(older_than: datetime.timedelta, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    unattached = current_backend().unattached_files
    with progress("Read") as advance:
        found = unattached.find(older_than, advance)
    if found and not dry_run and not yes:
        _print_files(found, err=True)
        click.confirm(f"Delete {counted(len(found), 'file')}?", abort=True, err=True)
        known = {file.id for file in found}
        with progress("Read again") as advance:  # a client may have attached one in the time that you took
            found = [file for file in unattached.find(older_than, advance) if file.id in known]
    if not dry_run:
        with progress("Delete") as advance:
            unattached.delete(found, advance)
    size = sum(file.size for file in found)
    if as_json:
        print_json({"dry_run": dry_run, "removed": [file.id for file in found], "bytes": size})
        return
    if dry_run or yes:
        _print_files(found)
    outcome = "to delete; nothing was changed" if dry_run else "deleted"
    click.echo(f"{counted(len(found), 'unattached file')}, {size:,} bytes, {outcome}.")
    _note_free_space()


@files.command("compact")
@json_option
def compact(as_json: bool) -> None:
    """Give the space of deleted files back to the file system.

    Without it the next files reuse that space. The app may run, and others read and write in between. It takes about
    as long as writing the files that remain. A file store of an earlier release is rewritten as a whole the first
    time: that needs as much free disk space again, and files cannot be stored until it ends. A bucket in S3 gives the
    space back by itself.

    \b
    Examples:
      flask convex files compact
    """
    with progress("Compact") as advance:
        freed = current_backend().blobs.compact(advance)
    if as_json:
        print_json({"bytes": freed})
        return
    click.echo(f"{freed:,} bytes were given back.")


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


def _print_files(found: list[StoredFile], *, err: bool = False) -> None:
    rows = [
        (file.id, f"{file.size:,}", file.content_type or "", moment(file.creation_time), shortened(file.name or ""))
        for file in found
    ]
    if rows:
        print_table(("ID", "BYTES", "TYPE", "CREATED", "NAME"), rows, err=err)


def _note_free_space() -> None:
    free = current_backend().blobs.free_bytes()
    if free >= _NOTED_BYTES:
        note(f"{free:,} bytes of deleted files will be reused. To give them back, run `flask convex files compact`.")
