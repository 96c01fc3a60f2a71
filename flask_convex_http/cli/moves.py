"""Moving from the command line: the database, the bytes of files, or both, to another place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from flask import current_app
from flask.cli import with_appcontext

from flask_convex_http.backend import Backend
from flask_convex_http.cli.output import advance, counted, json_option, note, print_json, print_table, progress
from flask_convex_http.config import MEMORY, Settings, is_sqlite, shown_url, sqlite_path
from flask_convex_http.engines import open_engine
from flask_convex_http.errors import ConfigurationError
from flask_convex_http.operations.move.files import FilesReport
from flask_convex_http.operations.move.move import Move, MoveReport, Side, TableReport
from flask_convex_http.storage.blobs import open_blobs
from flask_convex_http.web.state import current_backend

T = TypeVar("T")


@click.command()
@click.option("--to", metavar="URL", help="The database to move to, as CONVEX_DATABASE_URL has it.")
@click.option("--storage", metavar="URL", help="The store of files to move to, as CONVEX_STORAGE_URL has it.")
@click.option("--verify-only", is_flag=True, help="Only compare both sides, with all bytes of all files.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@with_appcontext
def move(to: str | None, storage: str | None, verify_only: bool, yes: bool, as_json: bool) -> None:
    """Copy the tables, the files, or both to another place, and compare both sides.

    Run it while the app works, which may take long. Then stop the app and run the same command once more: it brings
    what has changed since. If both sides are the same then, change the settings and start the app. A run that was
    interrupted is gone on with by the next one. What the app has is only read.

    The target must be empty, or hold nothing but what this command has brought. The exit status is 1 if the sides
    differ, as they do while the app writes.

    \b
    Examples:
      flask convex move --to postgresql://app@db.internal/app --storage s3://app-files/production
      flask convex move --storage s3://app-files/production --yes
      flask convex move --to sqlite:///back.db --verify-only
    """
    if to is None and storage is None:
        raise click.UsageError("Say where to: --to URL, --storage URL, or both.")
    backend = current_backend()
    there = _settings_there(backend.settings, to, storage)
    _refuse_places(backend.settings, there)
    with _opened(backend, there) as run:
        report = run.verify(_with_progress) if verify_only else _moved(run, there, yes)
    (_print_json if as_json else _print)(report, there)
    _fail_if_different(report)
    if not verify_only:
        note(
            "Both sides are the same. If the app was stopped, change the settings and start it. If it runs, it writes "
            "where it did: stop it and run the same command again."
        )


def _moved(run: Move, there: Settings, yes: bool) -> MoveReport:
    found = _with_progress("Looking", run.look)
    if not yes:
        _ask(run, there, found)
    return run.run(_with_progress)


def _ask(run: Move, there: Settings, found: int) -> None:
    if run.has_rows:
        state = f"has {counted(found, 'row')} that a run before has brought" if found else "is empty"
        note(f"All tables will be copied to {shown_url(there.database_url)}, which {state}.")
    if run.has_files:
        note(f"The bytes of all files will be copied to {shown_url(there.storage_url)}.")
    click.confirm("Go on?", abort=True, err=True)


# --- from where to where ---------------------------------------------------------------------------------------------


def _settings_there(here: Settings, to: str | None, storage: str | None) -> Settings:
    """The settings of the app after the move."""
    database = here.database_url if to is None else to
    given = {"CONVEX_DATABASE_URL": database, "CONVEX_STORAGE_URL": here.storage_url if storage is None else storage}
    try:
        checked = Settings.from_mapping(given)
    except ConfigurationError as error:
        text = str(error).replace("CONVEX_DATABASE_URL", "--to").replace("CONVEX_STORAGE_URL", "--storage")
        raise click.ClickException(text) from None
    return replace(here, database_url=checked.database_url, storage_url=checked.storage_url)


def _refuse_places(here: Settings, there: Settings) -> None:
    """Refuse what cannot be moved, and targets that the app has already."""
    for old, new, option, key in (
        (here.database_url, there.database_url, "--to", "CONVEX_DATABASE_URL"),
        (here.storage_url, there.storage_url, "--storage", "CONVEX_STORAGE_URL"),
    ):
        if old == new:
            continue
        if old == MEMORY:
            raise click.ClickException(f"What the app has is temporary; set {key} to what is to be moved")
        if new == MEMORY:
            raise click.ClickException(f"{option} names a temporary place, which is gone when this command ends")
        if _place(new) in (_place(here.database_url), _place(here.storage_url)):
            raise click.ClickException(f"{option} names what the app has already; name another place, or leave it out")
    if _place(there.database_url) == _place(there.storage_url):
        raise click.ClickException("--storage must name another file than --to")
    if there == here:
        raise click.ClickException("The app is there already; name another place")


def _place(url: str) -> str:
    """What two URLs of one place have in common."""
    path = sqlite_path(url, _folder()) if is_sqlite(url) else None
    return str(path.resolve()) if path is not None else url.rstrip("/")


def _folder() -> Path:
    return Path(current_app.instance_path)


@contextmanager
def _opened(backend: Backend, there: Settings) -> Iterator[Move]:
    """The move, with what is not the app's own closed at the end."""
    here = backend.settings
    engine, blobs = backend.engine, backend.blobs
    with ExitStack() as stack:
        if here.database_url != there.database_url:
            engine = stack.enter_context(closing(open_engine(there, backend.schema, _folder())))
        if here.storage_url != there.storage_url:
            blobs = stack.enter_context(closing(open_blobs(there, _folder())))
        yield Move(
            backend.schema,
            Side(backend.engine, backend.blobs, _place(here.storage_url)),
            Side(engine, blobs, _place(there.storage_url)),
            backend.clock,
        )


# --- what is said ----------------------------------------------------------------------------------------------------


def _print(report: MoveReport, there: Settings) -> None:
    if report.tables:
        _print_tables(report.tables)
    if report.files is not None:
        _print_files(report.files, there)
    if report.left_behind:
        click.echo(f"Not in the app's schema, so left behind: {', '.join(report.left_behind)}.")
    if report.actions:
        click.echo(
            f"{counted(report.actions, 'scheduled action')} had begun and not ended. If the app is stopped, the next "
            "start treats them as after a crash: those that may be tried again are."
        )


def _print_tables(tables: list[TableReport]) -> None:
    shown = [table for table in tables if table.source.rows or table.target.rows]
    rows = [(table.name, f"{table.source.rows:,}", table.source.checksum, _difference(table)) for table in shown]
    if rows:
        print_table(("TABLE", "ROWS", "CHECKSUM", ""), rows)
    empty = len(tables) - len(shown)
    if empty:
        click.echo(f"{counted(empty, 'table')} without rows on either side.")


def _difference(table: TableReport) -> str:
    return "" if table.is_same else f"differs: {table.target.rows:,} rows, {table.target.checksum} in the target"


def _print_files(files: FilesReport, there: Settings) -> None:
    place = shown_url(there.storage_url)
    click.echo(
        f"{counted(files.files, 'file')} ({files.bytes:,} bytes) in {place}, {files.copied:,} brought by this run."
    )
    for problem in files.problems:
        click.echo(f"  {problem}")
    if files.faults > len(files.problems):
        click.echo(f"  and {files.faults - len(files.problems):,} more")


def _print_json(report: MoveReport, there: Settings) -> None:
    files = report.files
    print_json(
        {
            "same": report.is_same,
            "database": shown_url(there.database_url),
            "storage": shown_url(there.storage_url),
            "tables": [_described(table) for table in report.tables],
            "files": files
            and {
                "files": files.files,
                "bytes": files.bytes,
                "copied": files.copied,
                "faults": files.faults,
                "problems": files.problems,
            },
            "left_behind": report.left_behind,
            "actions_under_way": report.actions,
        }
    )


def _described(table: TableReport) -> dict[str, Any]:
    return {
        "table": table.name,
        "same": table.is_same,
        "rows": table.source.rows,
        "checksum": table.source.checksum,
        "target_rows": table.target.rows,
        "target_checksum": table.target.checksum,
    }


def _fail_if_different(report: MoveReport) -> None:
    if report.different:
        raise click.ClickException(
            f"The two sides differ in {', '.join(report.different)}. If the app runs, that is what it has written "
            "meanwhile: stop it and run the same command again"
        )
    if not report.is_same:
        raise click.ClickException("Some files are not there as they should be, as said above")


def _with_progress(label: str, work: Callable[[Callable[[int, int], None]], T]) -> T:
    with progress(1, label) as bar:
        return work(partial(advance, bar))
