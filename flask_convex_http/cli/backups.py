"""`flask convex backup` and `restore`: copy the database and the bytes of files, and restore such copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext

from flask_convex_http.cli.output import counted, json_option, note, print_json, printable, progress
from flask_convex_http.operations import DeploymentRestore
from flask_convex_http.web.state import current_backend

_PATH = click.Path(readable=False, path_type=Path)


@click.command()
@click.argument("path", type=_PATH)
@click.option("--files", "files_path", type=_PATH, help="The new file for the bytes of stored files.")
@json_option
@with_appcontext
def backup(path: Path, files_path: Path | None, as_json: bool) -> None:
    """Copy the database to the new file PATH.

    The copy is consistent, and the app may run at the same time. The bytes of stored files are in a database of their
    own: --files copies that too. It is copied second, so a file that is deleted during the backup may lack its bytes.

    \b
    Examples:
      flask convex backup backup.db
      flask convex backup backup.db --files backup-files.db
    """
    _refuse_same_file(path, files_path)
    current_backend().backups.create(path, files_path, progress)
    if as_json:
        print_json({"database": _described(path), "files": files_path and _described(files_path)})
        return
    click.echo(f"The database was copied to {path} ({path.stat().st_size:,} bytes).")
    if files_path is not None:
        click.echo(f"The bytes of stored files were copied to {files_path} ({files_path.stat().st_size:,} bytes).")
    else:
        click.echo("The bytes of stored files are not included; --files FILE copies them.")
    note("The copy holds everything that the database holds, the secret included: keep it as safe.")


@click.command()
@click.argument("path", type=_PATH)
@click.option("--files", "files_path", type=_PATH, help="The backup of the bytes of stored files.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@with_appcontext
def restore(path: Path, files_path: Path | None, yes: bool, as_json: bool) -> None:
    """Replace the database with the backup PATH.

    Changes since the backup are lost. The backup is inspected first: if it is damaged, or not a backup of such a
    database, nothing is changed. The app may run at the same time, and reads the old data until all new data is there.
    If the database is missing or damaged, its file is replaced. Stop the app for that; a damaged file is kept beside
    the new one. Without --files the bytes of stored files stay as they are. With it they are restored second.

    \b
    Examples:
      flask convex restore backup.db
      flask convex restore backup.db --files backup-files.db --yes
    """
    _refuse_same_file(path, files_path)
    prepared = current_backend().backups.prepare_restore(path, files_path)
    if not yes:
        _confirm(prepared, path, files_path)
    done = prepared.run(progress)
    report = {
        "database": str(prepared.path),
        "rows": prepared.database.rows,
        "files": files_path is not None,
        "put_aside": [str(place) for place in done.put_aside],
        "migration": done.migration,
    }
    if as_json:
        print_json(report)
    else:
        _print(report)


def _refuse_same_file(path: Path, files_path: Path | None) -> None:
    if files_path is not None and files_path.absolute() == path.absolute():
        raise click.UsageError("PATH and --files name the same file; name two.")


def _confirm(prepared: DeploymentRestore, path: Path, files_path: Path | None) -> None:
    rows = prepared.database.replaces
    if rows == 0 and files_path is None:
        return  # there is nothing to lose
    old = f"{prepared.path}, which is damaged," if rows is None else f"The {counted(rows, 'row')} of {prepared.path}"
    question = f"{old} will be replaced by the {counted(prepared.database.rows, 'row')} of {path}"
    if files_path is not None:
        question += f", and the bytes of stored files by those of {files_path}"
    note(f"{question}.")
    click.confirm("Continue?", abort=True, err=True)


def _print(report: dict[str, Any]) -> None:
    click.echo(f"The database {report['database']} was restored ({counted(report['rows'], 'row')}).")
    if report["files"]:
        click.echo("The bytes of stored files were restored.")
    else:
        click.echo("The bytes of stored files were left as they are; `flask convex check` lists missing ones.")
    for place in report["put_aside"]:
        click.echo(f"The damaged file is now {place}.")
    if report["migration"]:
        click.echo("The backup has another schema than the app. Run `flask convex migrate` next:")
    for step in report["migration"]:
        click.echo(f"  {printable(step)}")


def _described(path: Path) -> dict[str, Any]:
    return {"path": str(path), "bytes": path.stat().st_size}
