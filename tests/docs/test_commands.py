"""Commands in the pages can be parsed, and the page of commands lists every command."""

import re

import click
import pytest

from flask_convex_http.cli import convex_commands as convex_group
from tests.docs import commands
from tests.docs.markdown import Page, page, pages, spans

COMMANDS = page("reference/commands")
_CONVEX = re.compile(r"flask (?:--app \S+ )?convex .+")


def shown(page: Page) -> list[str]:
    """Return every `flask convex ...` between backticks on a page."""
    return [text for text in spans(page.prose()) if _CONVEX.fullmatch(text) and "..." not in text]


SHOWN = [pytest.param(command, id=f"{page.name}: {command}") for page in pages() for command in shown(page)]


def test_every_command_is_in_a_table() -> None:
    """The tables have each command once, with an example of that command."""
    rows = COMMANDS.rows()
    assert sorted(spans(row[0])[0] for row in rows) == sorted(commands.names())
    for row in rows:
        assert spans(row[1])[0].startswith(f"flask convex {spans(row[0])[0]}")


@pytest.mark.parametrize("command", SHOWN)
def test_every_command_in_the_text_can_be_parsed(command: str) -> None:
    """Each `flask convex ...` between backticks is the name of a command, or can be parsed with its options."""
    if command.partition("convex ")[2] not in commands.names():
        commands.parse(command)


def test_an_unknown_command_is_rejected() -> None:
    """The parser of these tests rejects unknown commands and options."""
    with pytest.raises(AssertionError):
        commands.parse("flask convex keys forge")
    with pytest.raises(click.UsageError):
        commands.parse("flask convex migrate --quickly")


def test_every_command_has_json() -> None:
    """Each command but `dev`, which prints no result, has the option `--json`, as documented."""
    for name in set(commands.names()) - {"dev"}:
        found: click.Command = convex_group
        for word in name.split():
            assert isinstance(found, click.Group)
            found = found.commands[word]
        assert "--json" in {option for param in found.params for option in param.opts}, name
