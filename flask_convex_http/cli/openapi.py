"""`flask convex openapi`: print, write or check the OpenAPI document of the app."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import click
from flask import current_app
from flask.cli import with_appcontext

from flask_convex_http.cli.output import json_option, note, print_difference, print_json
from flask_convex_http.web.state import current_backend


@click.command()
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write the document to a file."
)
@click.option(
    "--check",
    "compared",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Compare a file with the document, and exit with 1 if it differs.",
)
@json_option
@with_appcontext
def openapi(out: Path | None, compared: Path | None, as_json: bool) -> None:
    """Print the OpenAPI 3.1 document of the app's routes.

    It describes the routes of all routers, with or without `openapi=` of ConvexHTTP. Commit the file, and let
    `--check` fail in CI when a route changes and the file does not. No database is needed.

    \b
    Examples:
      flask convex openapi
      flask convex openapi --out openapi.json
      flask convex openapi --check openapi.json
    """
    from flask_convex_http.web.openapi.serving import documents_of

    if out is not None and compared is not None:
        raise click.UsageError("--out writes a file and --check compares one; give one of them.")
    document = documents_of(current_app._get_current_object(), current_backend()).document  # type: ignore[attr-defined]
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if compared is not None:
        _compare(compared, document, text, as_json)
    elif out is not None:
        _write(out, text, as_json)
    elif as_json:
        print_json(document)
    else:
        click.echo(text, nl=False)


def _write(out: Path, text: str, as_json: bool) -> None:
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{out} cannot be written: {error.strerror}") from error
    if as_json:
        print_json({"file": str(out)})
    else:
        note(f"{out} is written.")


def _compare(file: Path, document: object, text: str, as_json: bool) -> None:
    """Compare a file with the document, without regard to white space and the order of keys.

    Raises:
        click.ClickException: The file cannot be read.
        click.exceptions.Exit: They differ.
    """
    try:
        committed = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        raise click.ClickException(f"{file} is not JSON; write it with --out {file}") from None
    if as_json:
        print_json({"file": str(file), "matches": committed == json.loads(text)})
    if committed == json.loads(text):
        note(f"{file} matches the app.")
        return
    before, after = (json.dumps(value, indent=2, ensure_ascii=False) for value in (committed, document))
    if before == after:  # true and 1, for example
        before = ""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), str(file), "the app", lineterm="", n=2))
    print_difference(lines, err=as_json)
    note(f"{file} differs from the app; write it again with: flask convex openapi --out {file}")
    raise click.exceptions.Exit(1)
