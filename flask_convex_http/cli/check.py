"""`flask convex check`: check everything that is stored."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from flask_convex_http.cli.output import counted, json_option, print_json, printable, progress
from flask_convex_http.operations import Findings
from flask_convex_http.web.state import current_backend


@click.command()
@click.option("--files", "read_bytes", is_flag=True, help="Also read the bytes of all files and compare their digests.")
@json_option
@with_appcontext
def check(read_bytes: bool, as_json: bool) -> None:
    """Check everything that is stored.

    The check covers the pages and indexes of SQLite files, the tables against the schema, each document against its
    class, and the size of each stored file. A problem makes the exit status 1. A note does not: for example a reference
    to a document that does not exist, deliveries of a webhook that does not exist, or a signing secret that is unset,
    too short or given to two webhooks. The app may run at the same time, and nothing is changed.

    \b
    Examples:
      flask convex check
      flask convex check --files
    """
    with progress("Check") as advance:
        found = current_backend().check(read_bytes=read_bytes, progress=advance)
    if as_json:
        print_json({"problems": found.problems, "notes": found.notes, "rows": found.rows, "files": found.files})
    else:
        _print(found)
    if found.problems:
        raise click.exceptions.Exit(1)


def _print(found: Findings) -> None:
    for sentence in found.problems:
        click.echo(_line("Problem", sentence))
    for sentence in found.notes:
        click.echo(_line("Note", sentence))
    problems = counted(len(found.problems), "problem") if found.problems else "no problems"
    click.echo(f"{counted(found.rows, 'row')} and {counted(found.files, 'file')} checked: {problems}.")


def _line(kind: str, sentence: str) -> str:
    return printable(f"{kind}: {sentence}.").replace("\n", "\\n")
