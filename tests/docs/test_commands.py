"""Commands that pages show are understood, and the page of commands lists each of them."""

import re

import click
import pytest

from flask_convex_http.cli import convex_commands as convex_group
from tests.docs import commands
from tests.docs.markdown import Page, page, pages, spans

COMMANDS = page("reference/commands")
_CONVEX = re.compile(r"flask (?:--app \S+ )?convex .+")


def shown(page: Page) -> list[str]:
    """Return every `flask convex ...` that stands between backticks on a page."""
    return [text for text in spans(page.prose()) if _CONVEX.fullmatch(text) and "..." not in text]


SHOWN = [pytest.param(command, id=f"{page.name}: {command}") for page in pages() for command in shown(page)]


def test_every_command_is_in_a_table() -> None:
    """The tables have each command once, and each row's example is of that command."""
    rows = COMMANDS.rows()
    assert sorted(spans(row[0])[0] for row in rows) == sorted(commands.names())
    for row in rows:
        assert spans(row[1])[0].startswith(f"flask convex {spans(row[0])[0]}")


@pytest.mark.parametrize("command", SHOWN)
def test_every_command_in_the_text_is_understood(command: str) -> None:
    """Each `flask convex ...` between backticks is the name of a command, or parses with its options and arguments."""
    if command.partition("convex ")[2] not in commands.names():
        commands.parse(command)


def test_a_command_that_does_not_exist_is_noticed() -> None:
    """Unknown commands and options are refused."""
    with pytest.raises(AssertionError):
        commands.parse("flask convex keys forge")
    with pytest.raises(click.UsageError):
        commands.parse("flask convex migrate --quickly")


def test_every_command_takes_json() -> None:
    """Each command has the option `--json`, as the page says."""
    for name in commands.names():
        found: click.Command = convex_group
        for word in name.split():
            assert isinstance(found, click.Group)
            found = found.commands[word]
        assert "--json" in {option for param in found.params for option in param.opts}, name
