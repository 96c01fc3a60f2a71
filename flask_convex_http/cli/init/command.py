"""The command: it writes the files and prints how to go on."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from flask_convex_http.cli.init.project import SENDERS, make_files, write_files
from flask_convex_http.cli.output import counted, json_option, note, print_json

_NO_WEBHOOK = "none"


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option(
    "--webhook",
    type=click.Choice([*SENDERS, _NO_WEBHOOK]),
    default="stripe",
    show_default=True,
    help="The sender whose webhook the app receives.",
)
@json_option
def init(folder: Path, webhook: str, as_json: bool) -> None:
    """Write a small app into FOLDER, by default this one.

    The app has a table, functions, a JSON API, a webhook and tests. FOLDER is created if it does not exist. If one of
    the files exists, the command refuses and writes nothing.

    \b
    Examples:
      flask convex init shop
      flask convex init shop --webhook github
      flask convex init --webhook none
    """
    files = make_files(SENDERS.get(webhook))
    try:
        write_files(folder, files)
    except FileExistsError as error:
        raise click.ClickException(f"{error}. Nothing was written; name another folder") from error
    except OSError as error:
        raise click.ClickException(f"Cannot write {error.filename}: {error.strerror}") from error
    if as_json:
        print_json({"folder": str(folder), "files": list(files)})
        return
    click.echo(f"Wrote {counted(len(files), 'file')} to {folder.resolve()}:")
    for name in files:
        click.echo(f"  {name}")
    note("Next:")
    for line in _next_commands(folder):
        note(f"  {line}")


def _next_commands(folder: Path) -> list[str]:
    enter = [] if folder.resolve() == Path.cwd() else [f"cd {shlex.quote(str(folder))}"]
    return [*enter, "pip install -r requirements.txt", "flask convex dev"]
