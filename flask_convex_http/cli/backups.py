"""Backups from the command line: copy the database and the bytes of files, and go back to such copies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from flask.cli import with_appcontext

from flask_convex_http.backend import Backend
from flask_convex_http.cli.output import counted, json_option, note, print_json, printable, progress
from flask_convex_http.cli.stores import database_backups, sqlite_store
from flask_convex_http.engines.base import PreparedRestore
from flask_convex_http.errors import MigrationRefusedError
from flask_convex_http.web.state import current_backend

T = TypeVar("T")

_PATH = click.Path(readable=False, path_type=Path)
_SAME_FILE = "PATH and --files name the same file; name two."


@click.command()
@click.argument("path", type=_PATH)
@click.option("--files", "files_path", type=_PATH, help="Where to copy the bytes of stored files.")
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
        raise click.UsageError(_SAME_FILE)
    backups = database_backups(backend)
    _refuse_nothing_to_copy(backups.path)
    store = sqlite_store(backend) if files_path is not None else None
    _with_progress("Database", partial(backups.create, path))
    if files_path is not None and store is not None:
        _with_progress("Files", partial(store.backup, files_path))
    if as_json:
        print_json({"database": _described(path), "files": files_path and _described(files_path)})
        return
    click.echo(f"The database was copied to {path} ({path.stat().st_size:,} bytes).")
    if files_path is not None:
        click.echo(f"The bytes of stored files were copied to {files_path} ({files_path.stat().st_size:,} bytes).")
    else:
        click.echo("The bytes of stored files are not included; --files FILE copies them.")
    note("The copy holds what the database holds, its secret included: keep it as safe.")


@click.command()
@click.argument("path", type=_PATH)
@click.option("--files", "files_path", type=_PATH, help="The copy of the bytes of stored files.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@with_appcontext
def restore(path: Path, files_path: Path | None, yes: bool, as_json: bool) -> None:
    """Bring the database back to the copy PATH.

    What was written since is lost. The copy is looked at first; if it is damaged, or no backup of such a database,
    nothing is changed. The app may run meanwhile: it has the old data until the new data is all there. A database that
    is missing or damaged is replaced as a file, for which the app must be stopped; the damaged one is kept beside it.
    The bytes of stored files stay as they are unless --files names their copy. They are brought back second.

    \b
    Examples:
      flask convex restore backup.db
      flask convex restore backup.db --files backup-files.db --yes
    """
    backend = current_backend()
    backups = database_backups(backend)
    if backups.path is None:
        raise click.ClickException("The database is a temporary one; set CONVEX_DATABASE_URL to the one to restore")
    if files_path is not None and files_path.absolute() == path.absolute():
        raise click.UsageError(_SAME_FILE)
    documents = backups.prepare_restore(path)
    files = sqlite_store(backend).restore(files_path) if files_path is not None else None
    if not yes:
        _ask(backups.path, path, documents, files_path)
    aside = [_with_progress("Database", documents.run)]
    if files is not None:
        aside.append(_with_progress("Files", files.run))
    report = {
        "database": str(backups.path),
        "rows": documents.rows,
        "files": files is not None,
        "put_aside": [str(place) for place in aside if place is not None],
        "migration": _waiting(backend),
    }
    if not report["migration"]:
        backend.register_crons()  # workers that run did so when they started, and will not again
    if as_json:
        print_json(report)
    else:
        _report(report)


def _ask(database: Path, copy: Path, documents: PreparedRestore, files_path: Path | None) -> None:
    if documents.replaces == 0 and files_path is None:
        return  # there is nothing to lose
    old = "What is in" if documents.replaces is None else f"The {counted(documents.replaces, 'row')} of"
    damaged = ", which is damaged," if documents.replaces is None else ""
    question = f"{old} {database}{damaged} will be replaced by the {counted(documents.rows, 'row')} of {copy}"
    if files_path is not None:
        question += f", and the bytes of stored files by those of {files_path}"
    note(f"{question}.")
    click.confirm("Go on?", abort=True, err=True)


def _report(report: dict[str, Any]) -> None:
    click.echo(f"The database {report['database']} is as it was in the backup ({counted(report['rows'], 'row')}).")
    if report["files"]:
        click.echo("The bytes of stored files are, too.")
    else:
        click.echo("The bytes of stored files were left as they are; `flask convex check` says which are missing.")
    for place in report["put_aside"]:
        click.echo(f"What was there and could not be used is now {place}.")
    if report["migration"]:
        click.echo("Its schema is another one than the app's. Run `flask convex migrate` next:")
    for step in report["migration"]:
        click.echo(f"  {printable(step)}")


def _waiting(backend: Backend) -> list[str]:
    """What a migration would have to do now."""
    try:
        return [str(step) for step in backend.migrate(dry_run=True, allow_destructive=True)]
    except MigrationRefusedError as error:
        return [str(error)]


def _refuse_target(path: Path | None) -> None:
    if path is None:
        return
    if path.exists() or path.is_symlink():
        raise click.ClickException(f"{path} exists already; name a new file")
    if not path.parent.is_dir():
        raise click.ClickException(f"There is no folder {path.parent}; make it first")


def _refuse_nothing_to_copy(path: Path | None) -> None:
    # Without a look at its tables: a database that has to be migrated is one to copy.
    if path is None:
        raise click.ClickException("The database is a temporary one; set CONVEX_DATABASE_URL to the one to copy")
    if not path.exists():
        raise click.ClickException(f"There is no database {path} yet; run `flask convex migrate` to make it")


def _with_progress(label: str, work: Callable[[Callable[[int, int], None]], T]) -> T:
    with progress(label) as advance:
        return work(advance)


def _described(path: Path) -> dict[str, Any]:
    return {"path": str(path), "bytes": path.stat().st_size}
