"""Behaviour that all commands share."""

import pytest

from tests.cli.commands import command_names
from tests.cli.conftest import Convex

COMMANDS = list(command_names())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(unmigrated: Convex, command: str) -> None:
    """The help of each command has examples."""
    shown = unmigrated(*command.split(), "--help")
    assert shown.status == 0
    assert "Examples:" in shown.out
    assert f"flask convex {command}" in shown.out


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "dev"])
def test_every_command_has_json(unmigrated: Convex, command: str) -> None:
    """Each command has the option --json, except the one that serves the app and prints no result."""
    assert "--json" in unmigrated(*command.split(), "--help").out


@pytest.mark.parametrize("command", ["", "keys", "tokens", "files"])
def test_unknown_commands_are_wrong_usage(unmigrated: Convex, command: str) -> None:
    """An unknown command is wrong usage."""
    assert unmigrated(*command.split(), "nothing").status == 2


@pytest.mark.parametrize(
    "command",
    [
        "data",
        "data lamps",
        "run shop:lamps",
        "keys create --name ci",
        "keys list",
        "keys revoke ci",
        "keys rotate ci",
        "tokens create --subject me",
        "tokens list",
        "tokens revoke x",
        "files list",
        "files sweep",
        "files delete _storage_" + "0" * 32,
        "files url _storage_" + "0" * 32,
        "backup copy.db",
        "check",
    ],
)
def test_without_a_migration_the_error_names_the_command(unmigrated: Convex, command: str) -> None:
    """Before the first migration, each command that needs the database names the command to run."""
    refused = unmigrated(*command.split(), "--json")
    assert refused.status == 1
    assert refused.err.startswith("Error: ")
    assert "flask convex migrate" in refused.err
    assert refused.out == ""
    assert refused.exception is None
