"""Output of commands: tables and sentences for people, one JSON document for programs, progress on stderr."""

from __future__ import annotations

import datetime
import io
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import msgspec
from flask import current_app

F = TypeVar("F", bound=Callable[..., Any])

#: Writes a character that the terminal's encoding lacks as an escape sequence, as Python does on stderr.
_ESCAPE = "backslashreplace"
_GAP = "  "
#: Lines of a difference that are printed.
_LONGEST_DIFFERENCE = 200


def json_option(command: F) -> F:
    """Add the option `--json` to a command, which receives it as `as_json`."""
    option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, nothing else.")
    return option(command)


def escape_unprintable() -> None:
    """Let output never fail in a terminal whose encoding lacks characters, such as Latin-1 or ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors=_ESCAPE)


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print one JSON document.

    Args:
        value: Any value that a handler may return as JSON: documents, structs, dicts, lists and others.
        indent: Spaces for each level. Without it the document is one line.

    Raises:
        click.ClickException: The value cannot be written as JSON.
    """
    try:
        encoded = msgspec.json.encode(value, enc_hook=_encode_other)
    except (TypeError, ValueError, RecursionError) as error:
        raise click.ClickException(f"The result cannot be written as JSON: {error}") from error
    click.echo(encoded if indent is None else msgspec.json.format(encoded, indent=indent))


def print_difference(lines: Sequence[str], *, err: bool = False) -> None:
    """Print the first lines of a difference, and the number of the others.

    Args:
        lines: The lines.
        err: Whether to print on stderr.
    """
    for line in lines[:_LONGEST_DIFFERENCE]:
        click.echo(printable(line), err=err)
    if len(lines) > _LONGEST_DIFFERENCE:
        click.echo(f"... and {len(lines) - _LONGEST_DIFFERENCE} more lines", err=err)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, err: bool = False) -> None:
    """Print aligned columns under their headings. A line break in a cell is printed as `\\n`.

    Args:
        headings: The headings.
        rows: The cells of each row.
        err: Whether to print on stderr.
    """
    lines = [[printable(cell).replace("\n", "\\n") for cell in row] for row in (headings, *rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True))
        click.echo(_GAP.join(padded).rstrip(), err=err)


def note(sentence: str) -> None:
    """Print a sentence for people on stderr, apart from the result."""
    click.echo(printable(sentence), err=True)


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr if that is a terminal.

    Args:
        label: The name of the operation.

    Yields:
        A function that moves the bar, given how many steps are done and how many there are in all.
    """
    stream = sys.stderr if sys.stderr.isatty() else io.StringIO()
    with click.progressbar(length=1, label=label, file=stream) as bar:

        def advance(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield advance


def printable(text: str) -> str:
    """Escape control characters, so that data from outside cannot command the terminal."""
    return "".join(map(_shown, text))


def shortened(text: str, width: int = 60) -> str:
    """Cut a text to a number of characters."""
    return text if len(text) <= width else text[: width - 3] + "..."


def moment(milliseconds: float | None, otherwise: str = "never") -> str:
    """Format a time in UTC.

    Args:
        milliseconds: The time in milliseconds since the epoch, or None.
        otherwise: The text for None.
    """
    if milliseconds is None:
        return otherwise
    try:
        time = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    except (OverflowError, ValueError, OSError):  # the row was changed by hand
        return str(milliseconds)
    return f"{time:%Y-%m-%d %H:%M:%S}Z"


def counted(count: int, noun: str) -> str:
    """Format a number and its noun: "1 file", "2 files"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _encode_other(value: object) -> Any:
    return current_app.json.default(value)  # type: ignore[attr-defined]  # a method of Flask's default provider


def _shown(character: str) -> str:
    # Cc: control characters. Cf: marks that change the direction of text. Cs: surrogates, which cannot be encoded.
    if character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs"):
        return character
    return character.encode("unicode_escape").decode()


def _width(text: str) -> int:
    """Return how many columns of a terminal a text fills."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
