"""Looking at everything that is stored, from the command line."""

from __future__ import annotations

from functools import partial

import click
from flask.cli import with_appcontext

from flask_convex_http.check import Check, Findings
from flask_convex_http.cli.output import advance, counted, json_option, print_json, printable, progress
from flask_convex_http.cli.stores import store_check
from flask_convex_http.web.state import current_backend


@click.command()
@click.option("--files", "read_bytes", is_flag=True, help="Also read the bytes of all files and compare their digests.")
@json_option
@with_appcontext
def check(read_bytes: bool, as_json: bool) -> None:
    """Look whether all that is stored is sound.

    That is: the pages and indexes of the databases, the tables against the schema, each document against its class, and
    each stored file's bytes. Problems make the exit status 1; notes, such as a reference to a document that is not
    there, do not. The app may run meanwhile, and nothing is changed.

    \b
    Examples:
      flask convex check
      flask convex check --files
    """
    backend = current_backend()

    with progress(1, "Check") as bar:
        tell = partial(advance, bar)
        found = Check(backend.files, check_store=store_check(backend), read_bytes=read_bytes, progress=tell).run()
    if as_json:
        counts = {"rows": found.rows, "files": found.files}
        print_json({"problems": found.problems, "notes": found.notes, **counts})
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
    looked_at = f"{counted(found.rows, 'row')} and {counted(found.files, 'file')}"
    click.echo(f"{looked_at} looked at: {problems}.")


def _line(kind: str, sentence: str) -> str:
    return printable(f"{kind}: {sentence}.").replace("\n", "\\n")
