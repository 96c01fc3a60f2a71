"""The README's tables say what the code says: commands and errors."""

import re

import pytest

import flask_convex_http
from flask_convex_http import ConvexHTTPError
from tests.docs import commands
from tests.docs.readme import convex_commands, rows, spans

# --- settings and commands -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", convex_commands())
def test_every_command_shown_is_understood(command: str) -> None:
    """Each `flask convex ...` in the README parses: command, options and arguments."""
    commands.parse(command)


# --- errors ----------------------------------------------------------------------------------------------------------


def errors(*, public: bool) -> dict[str, type[ConvexHTTPError]]:
    """The errors of the facade whose messages clients see, or do not."""
    exported = vars(flask_convex_http).items()
    found = {name: value for name, value in exported if isinstance(value, type) and issubclass(value, ConvexHTTPError)}
    return {name: value for name, value in found.items() if value.public is public and value is not ConvexHTTPError}


def test_the_table_of_errors_has_the_statuses_of_the_code() -> None:
    """Each error a client sees is in the table with its status; an application's own error has what it is given."""
    named = [row for row in rows("Ten-minute tour") if spans(row[0]) and "Error" in row[0]]
    table = {re.split(r"\W", spans(row[0])[0])[0]: row[1] for row in named}
    expected = {name: str(error.status) for name, error in errors(public=True).items()}
    assert table == expected | {"ConvexError": "yours, 400 to 599"}


def test_the_other_errors_are_mistakes() -> None:
    """Errors whose message no client sees are listed as mistakes in code or settings."""
    listed = next(spans(row[1]) for row in rows("Public names") if row[0].startswith("Errors that are mistakes"))
    assert set(listed) == set(errors(public=False))
