"""The output of commands in terminals whose encoding lacks characters."""

from pathlib import Path

import pytest

from tests.cli.shop import make_app

NAME = "Läm\u2192p \u2603 " + "x" * 80


@pytest.mark.parametrize(("charset", "shown"), [("latin-1", r"\u2192p \u2603 x"), ("ascii", "xxx")])
def test_output_never_fails(charset: str, shown: str, tmp_path: Path) -> None:
    """No command fails for a character that the terminal's encoding lacks; Latin-1 shows an escape sequence.

    click takes ASCII for a misconfigured terminal, and writes UTF-8 to it.
    """
    app = make_app(str(tmp_path))
    runner = app.test_cli_runner(charset=charset)

    def convex(*arguments: str) -> str:
        result = runner.invoke(args=["convex", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.output

    convex("migrate")
    app.extensions["convex_http"].run("shop:add", {"name": NAME, "tags": []})
    assert shown in convex("data", "lamps")
    assert shown in convex("data", NAME)
    assert convex("--help")
    assert convex("run", "shop:lamps")
    app.extensions["convex_http"].close()
