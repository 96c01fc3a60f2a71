"""The README's commands are understood."""

import pytest

from tests.docs import commands
from tests.docs.readme import convex_commands


@pytest.mark.parametrize("command", convex_commands())
def test_every_command_shown_is_understood(command: str) -> None:
    """Each `flask convex ...` in the README parses: command, options and arguments."""
    commands.parse(command)
