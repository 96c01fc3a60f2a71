"""Commands of `flask convex` where there is no app, or one that cannot be loaded."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.cli import ScriptInfo

from flask_convex_http import ConvexHTTP, HttpRouter, Schema, Stripe
from flask_convex_http.cli import convex_commands
from tests.lengths import LONG


@LONG
def test_a_new_app_is_written_and_migrated_from_an_empty_folder(tmp_path: Path) -> None:
    """`flask convex init` needs no app, and the next commands find the app that it wrote."""
    for arguments in (["init"], ["migrate"], ["data", "tasks"]):
        command = [sys.executable, "-m", "flask", "convex", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "tasks has no rows.\n"


def test_help_needs_no_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The help of a command is shown where no app is, and the command itself says that there is none."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(convex_commands, ["migrate", "--help"]).exit_code == 0
    refused = CliRunner().invoke(convex_commands, ["migrate"])
    assert refused.exit_code == 2
    assert "Could not locate a Flask application" in refused.stderr


def test_a_mistake_in_the_app_is_one_line() -> None:
    """A table, route or secret that cannot work is one sentence with the line of the app, without a traceback."""

    def create_app() -> Flask:
        return HttpRouter("http", __name__).webhook("/stripe", Stripe(secret="sk_live_x"))  # type: ignore[return-value]

    refused = CliRunner().invoke(convex_commands, ["migrate"], obj=ScriptInfo(create_app=create_app))
    assert refused.exit_code == 1
    place, _, sentence = refused.stderr.partition(": secret 1 of Stripe")
    assert place == f"Error: {_here()}:{create_app.__code__.co_firstlineno + 1}"
    assert sentence.count("\n") == 1


def test_the_place_is_in_the_module_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place is relative to the current folder, and is where the app's own code led to the error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lamps_of_shop.py").write_text(
        "from flask_convex_http import Document\n"
        'class Lamp(Document, table="lamps", indexes={"by_name": ["name"]}):\n'
        "    size: int\n"
    )
    (tmp_path / "wsgi.py").write_text("import lamps_of_shop\n")
    refused = CliRunner().invoke(convex_commands, ["migrate"])
    assert refused.exit_code == 1
    sentence = "Lamp: index 'by_name' names 'name', which is no field of Lamp"
    assert refused.stderr == f"Error: lamps_of_shop.py:2: {sentence}\n"


def test_a_bug_of_the_app_keeps_its_traceback() -> None:
    """Any other exception of the app is not shortened."""

    def create_app() -> Flask:
        raise KeyError("lamp")

    failed = CliRunner().invoke(convex_commands, ["migrate"], obj=ScriptInfo(create_app=create_app))
    assert isinstance(failed.exception, KeyError)


def _here() -> Path:
    path = Path(__file__)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def test_a_wrong_setting_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose app has a wrong setting prints the fault in one line, and exits with 2 as for a wrong option."""
    monkeypatch.setenv("FLASK_CONVEX_DURABILITY", "maybe")

    def create_app() -> Flask:
        app = Flask(__name__)
        app.config.from_prefixed_env()
        ConvexHTTP(schema=Schema()).init_app(app)
        return app

    refused = CliRunner().invoke(convex_commands, ["migrate"], obj=ScriptInfo(create_app=create_app))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == 'Error: CONVEX_DURABILITY must be "full" or "normal"\n'


def test_an_app_without_the_extension_is_refused() -> None:
    """A command of an app without ConvexHTTP ends with one line that says what to write."""
    refused = CliRunner().invoke(convex_commands, ["migrate"], obj=ScriptInfo(create_app=lambda: Flask(__name__)))
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: This app has no ConvexHTTP: call convex.init_app(app)")
