"""The index page of the example application."""

import html
import re
import shlex

from tests.example.application import example


def test_commands_of_the_index_page_work() -> None:
    """Each command of the index page, run as printed in the checkout, makes a credential that its endpoint accepts."""
    with example() as app:
        page = html.unescape(app.client.get("/").text)
        commands = re.findall(r'href="(/\w+/\w+)"[^\n]*<code>\.venv/bin/flask --app example_app ([^<]+)</code>', page)
        assert len(commands) == 2
        for path, command in commands:
            made = app.app.test_cli_runner().invoke(args=shlex.split(command))
            assert made.exit_code == 0, made.output
            secret = made.stdout.strip()
            headers = {"X-API-Key": secret, "Authorization": f"Bearer {secret}"}
            assert app.client.get(path, headers=headers).status_code == 200
