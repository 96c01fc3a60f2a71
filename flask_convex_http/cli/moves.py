"""`flask convex move`: copy tables and files to another database and blob store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import click
from flask.cli import with_appcontext

from flask_convex_http.backend import Backend
from flask_convex_http.cli.output import counted, json_option, note, print_json, print_table, printable, progress
from flask_convex_http.config import hide_password, parse_database_url, parse_storage_url
from flask_convex_http.errors import ConfigurationError
from flask_convex_http.operations.move import Contents, FilesReport, MoveReport
from flask_convex_http.web.state import current_backend

#: Running actions that are counted.
_MAX_ACTIONS = 100


def _database_url(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else _parsed(parse_database_url, "--to", value)


def _storage_url(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else _parsed(parse_storage_url, "--storage", value)


def _parsed(parse: Callable[[str, str], str], option: str, value: str) -> str:
    try:
        return parse(option, value)
    except ConfigurationError as error:
        raise click.UsageError(f"{printable(str(error))}.") from None


@click.command()
@click.option(
    "--to", metavar="URL", callback=_database_url, help="The database to move to, in the form of CONVEX_DATABASE_URL."
)
@click.option(
    "--storage",
    metavar="URL",
    callback=_storage_url,
    help="The blob store to move to, in the form of CONVEX_STORAGE_URL.",
)
@click.option("--verify-only", is_flag=True, help="Only compare both sides, with all bytes of all files.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@with_appcontext
def move(to: str | None, storage: str | None, verify_only: bool, yes: bool, as_json: bool) -> None:
    """Copy tables and files to another database and store.

    --to copies all tables, --storage the bytes of all files. Then both sides are compared. Use it in three steps:

    1. Run it while the app serves requests, which may take long.

    2. Stop the app and run the same command again. It copies the rows and files that have changed since.

    3. If both sides are the same, change the settings and start the app.

    The app's own data is only read. The target must be empty, or hold only what earlier runs have written. The next run
    continues an interrupted one. The exit status is 1 if the sides differ, as they do while the app writes.

    \b
    Examples:
      flask convex move --to postgresql://app@db.internal/app --storage s3://app-files/production
      flask convex move --storage s3://app-files/production --yes
      flask convex move --to sqlite:///back.db --verify-only
    """
    if to is None and storage is None:
        raise click.UsageError("Name a target: --to URL, --storage URL, or both.")
    backend = current_backend()
    with backend.move(database_url=to, storage_url=storage) as run:
        if not (verify_only or yes):
            _confirm(to, storage)
        report = run.verify(progress) if verify_only else run.run(progress)
    (_print_json if as_json else _print)(backend, report, to, storage)
    _fail_if_different(report)
    if storage is None:
        place = backend.settings.storage_url
        note(f"The bytes of files stay: set CONVEX_STORAGE_URL={hide_password(place)} too, if it is not set yet.")
    if not verify_only:
        note(
            "Both sides are the same. If the app was stopped, change the settings and start it. If it runs, it still "
            "writes to the source: stop it and run the same command again."
        )


def _confirm(to: str | None, storage: str | None) -> None:
    if to is not None:
        note(f"All tables will be copied to {hide_password(to)}.")
    if storage is not None:
        note(f"The bytes of all files will be copied to {hide_password(storage)}.")
    click.confirm("Continue?", abort=True, err=True)


def _print(backend: Backend, report: MoveReport, to: str | None, storage: str | None) -> None:
    _print_tables(report)
    if report.files is not None:
        _print_files(report.files, hide_password(storage or backend.settings.storage_url))
    if report.left_behind:
        click.echo(f"Not in the app's schema, so not moved: {', '.join(report.left_behind)}.")
    actions = _running_actions(backend)
    if actions:
        click.echo(
            f"{counted(actions, 'scheduled action')} had started and not ended. If the app is stopped, the next start "
            "treats them as after a crash: those with retries left run again."
        )


def _print_tables(report: MoveReport) -> None:
    rows = [
        (name, f"{source.rows:,}", source.checksum, "" if source == target else _difference(target))
        for name, (source, target) in report.tables.items()
        if source.rows or target.rows
    ]
    if rows:
        print_table(("TABLE", "ROWS", "CHECKSUM", ""), rows)
    if len(rows) < len(report.tables):
        click.echo(f"{counted(len(report.tables) - len(rows), 'table')} without rows on either side.")


def _difference(target: Contents) -> str:
    return f"differs: {target.rows:,} rows, {target.checksum} in the target"


def _print_files(files: FilesReport, place: str) -> None:
    click.echo(
        f"{counted(files.files, 'file')} ({files.bytes:,} bytes) in {place}, {files.copied:,} copied by this run."
    )
    for problem in files.problems:
        click.echo(f"  {problem}")
    if files.faults > len(files.problems):
        click.echo(f"  and {files.faults - len(files.problems):,} more")


def _print_json(backend: Backend, report: MoveReport, to: str | None, storage: str | None) -> None:
    print_json(
        {
            "same": report.is_same,
            "database": hide_password(to or backend.settings.database_url),
            "storage": hide_password(storage or backend.settings.storage_url),
            "tables": [
                {
                    "table": name,
                    "same": source == target,
                    "rows": source.rows,
                    "checksum": source.checksum,
                    "target_rows": target.rows,
                    "target_checksum": target.checksum,
                }
                for name, (source, target) in report.tables.items()
            ],
            "files": report.files and asdict(report.files),
            "left_behind": report.left_behind,
            "actions_under_way": _running_actions(backend),
        }
    )


def _running_actions(backend: Backend) -> int:
    return len(backend.job_control.list_jobs("inProgress", limit=_MAX_ACTIONS))


def _fail_if_different(report: MoveReport) -> None:
    if report.different:
        raise click.ClickException(
            f"The two sides differ in {', '.join(report.different)}. If the app is running, these are rows that it has "
            "written since: stop it and run the same command again"
        )
    if not report.is_same:
        raise click.ClickException("Some files are missing or wrong in the target, as listed above")
