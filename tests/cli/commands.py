"""Every command there is, by walking the groups."""

from collections.abc import Iterator

import click

from flask_convex_http.cli import convex_commands


def command_names(group: click.Group = convex_commands, before: str = "") -> Iterator[str]:
    """The commands as one types them behind `flask convex`: `migrate`, `keys create`."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from command_names(command, f"{before}{name} ")
        else:
            yield before + name
