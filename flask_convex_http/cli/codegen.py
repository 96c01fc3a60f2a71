"""`flask convex codegen`: write typed clients, or check that existing ones match the app."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from flask import current_app
from flask.cli import with_appcontext

from flask_convex_http.cli.output import counted, json_option, note, print_difference, print_json
from flask_convex_http.web.state import current_backend

if TYPE_CHECKING:
    from flask_convex_http.codegen.files import Language


@click.command()
@click.option("--lang", type=click.Choice(["typescript", "python"]), required=True, help="The language of the client.")
@click.option("--check", is_flag=True, help="Write nothing, and exit with 1 if the files differ from the app.")
@click.argument("out", type=click.Path(path_type=Path))
@json_option
@with_appcontext
def codegen(lang: Language, check: bool, out: Path, as_json: bool) -> None:
    """Write a typed client of the public functions.

    For TypeScript, OUT is a folder. It gets api.d.ts, api.js and dataModel.d.ts, which Convex's clients import. For
    Python, OUT is a module such as shop_client.py, or a folder that becomes a package. Commit the files, and let
    `--check` fail in CI when a function changes and the files do not. No database is needed.

    \b
    Examples:
      flask convex codegen --lang typescript convex/_generated
      flask convex codegen --lang python shop_client.py
      flask convex codegen --lang python shop_client.py --check
    """
    from flask_convex_http.codegen.files import files_of
    from flask_convex_http.function_api.serving import SURFACE

    surface = current_app.extensions.get(SURFACE)
    if surface is None:
        raise click.ClickException("This app has no function API. Write ConvexHTTP(..., function_api=True).")
    files = files_of(current_backend(), surface.casing, lang, out)
    if check:
        _compare(files, f"flask convex codegen --lang {lang} {out}", as_json)
    else:
        _write(files, as_json)


def _write(files: dict[Path, str], as_json: bool) -> None:
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error
    if as_json:
        print_json({"files": [str(path) for path in files]})
    else:
        note(f"Wrote {', '.join(str(path) for path in files)}.")


def _compare(files: dict[Path, str], command: str, as_json: bool) -> None:
    """Compare files with their texts.

    Raises:
        click.ClickException: A file cannot be read.
        click.exceptions.Exit: They differ.
    """
    committed = {path: _read(path) for path in files}
    wrong = [path for path, text in files.items() if committed[path] != text]
    if as_json:
        print_json({"files": [str(path) for path in files], "differ": [str(path) for path in wrong]})
    if not wrong:
        note(f"{counted(len(files), 'file')} {'matches' if len(files) == 1 else 'match'} the app.")
        return
    lines = [line for path in wrong for line in _difference(path, committed[path], files[path])]
    print_difference(lines, err=as_json)
    note(f"{counted(len(wrong), 'file')} {'differs' if len(wrong) == 1 else 'differ'} from the app. Run: {command}")
    raise click.exceptions.Exit(1)


def _read(path: Path) -> str | None:
    """Return the text of a file, or None if there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise click.ClickException(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from error


def _difference(path: Path, before: str | None, after: str) -> Iterator[str]:
    if before is None:
        yield f"{path} does not exist"
        return
    yield from difflib.unified_diff(before.splitlines(), after.splitlines(), str(path), "the app", lineterm="", n=2)
