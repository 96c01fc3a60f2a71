"""Looking at everything that is stored, from the command line."""

from __future__ import annotations

from functools import partial

import click
from flask.cli import with_appcontext

from flask_convex_http.backend import Backend
from flask_convex_http.cli.output import counted, json_option, print_json, printable, progress
from flask_convex_http.cli.stores import store_check
from flask_convex_http.inbox.search import count_deliveries, stored_sources
from flask_convex_http.operations.check import Check, Findings
from flask_convex_http.web.state import current_backend

#: How many deliveries of a source are counted, and of how many sources.
_COUNTED = 1000
_TOLD = 10


@click.command()
@click.option("--files", "read_bytes", is_flag=True, help="Also read the bytes of all files and compare their digests.")
@json_option
@with_appcontext
def check(read_bytes: bool, as_json: bool) -> None:
    """Look whether all that is stored is sound.

    That is: the pages and indexes of the databases, the tables against the schema, each document against its class, and
    each stored file's bytes. Problems make the exit status 1; notes, such as a reference to a document that is not
    there, or deliveries of a webhook that is not there, do not. The app may run meanwhile, and nothing is changed.

    \b
    Examples:
      flask convex check
      flask convex check --files
    """
    backend = current_backend()

    with progress("Check") as tell:
        remarks = partial(_unknown_sources, backend)
        found = Check(
            backend.files, check_store=store_check(backend), remarks=remarks, read_bytes=read_bytes, progress=tell
        ).run()
    if as_json:
        counts = {"rows": found.rows, "files": found.files}
        print_json({"problems": found.problems, "notes": found.notes, **counts})
    else:
        _print(found)
    if found.problems:
        raise click.exceptions.Exit(1)


def _unknown_sources(backend: Backend) -> list[str]:
    """Sources of deliveries that no webhook has: who renames one has its copies run again."""
    deliveries = backend.inbox.deliveries
    with backend.engine.snapshot() as snapshot:
        unknown = [source for source in stored_sources(deliveries, snapshot) if backend.webhooks.get(source) is None]
        counts = {source: count_deliveries(deliveries, snapshot, source, _COUNTED) for source in unknown[:_TOLD]}
    told = [_unknown_source(source, count) for source, count in counts.items()]
    if len(unknown) > _TOLD:
        told.append(f"There are deliveries of {len(unknown) - _TOLD} more sources that no webhook of this app has")
    return told


def _unknown_source(source: str, count: int) -> str:
    more = " or more" if count == _COUNTED else ""
    have = "delivery has" if count == 1 else "deliveries have"
    return (
        f"{count}{more} {have} the source {source!r}, which no webhook of this app has: if one was renamed, a copy of "
        f"what it has received would be taken for new; give that webhook source={source!r}"
    )


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
