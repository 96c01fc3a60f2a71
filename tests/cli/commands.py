"""The names of all commands."""

from collections.abc import Iterator

import click

from flask_convex_http.cli import convex_commands


def command_names(group: click.Group = convex_commands, before: str = "") -> Iterator[str]:
    """Yield each command as it is typed after `flask convex`, such as `keys create`."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from command_names(command, f"{before}{name} ")
        else:
            yield before + name
