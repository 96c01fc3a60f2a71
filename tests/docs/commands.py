"""Parse a `flask convex ...` command with click's parser, without running it."""

import contextlib
import io
import shlex

import click

from flask_convex_http.cli import convex_commands


def parse(text: str) -> None:
    """Check that the CLI accepts a command.

    Args:
        text: The whole command, such as `flask --app app convex data items`.

    Raises:
        AssertionError: The command does not exist.
        click.UsageError: An option or argument is wrong.
    """
    words = shlex.split(text, comments=True)
    rest = words[words.index("convex") + 1 :]
    command: click.Command = convex_commands
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        word, *rest = rest
        assert word in command.commands, f"{text!r}: there is no command {word!r}"
        command = command.commands[word]
    with contextlib.suppress(click.exceptions.Exit), contextlib.redirect_stdout(io.StringIO()):  # --help
        command.make_context(command.name, rest)


def names(group: click.Group = convex_commands, before: str = "") -> list[str]:
    """Return the names of all commands, such as `keys create`, without the groups."""
    found: list[str] = []
    for name, command in group.commands.items():
        whole = f"{before}{name}"
        found += names(command, f"{whole} ") if isinstance(command, click.Group) else [whole]
    return found
