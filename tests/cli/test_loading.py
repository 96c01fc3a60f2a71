"""Commands of `flask convex` where there is no app, or one that cannot be loaded."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.cli import ScriptInfo

from flask_convex_http import ConvexHTTP, RegistrationError, Schema
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


def test_an_error_of_loading_keeps_its_traceback() -> None:
    """An error that the app raises while it is loaded is not shortened, since its traceback has the line."""

    def create_app() -> Flask:
        raise RegistrationError("Thing has no such field")

    failed = CliRunner().invoke(convex_commands, ["migrate"], obj=ScriptInfo(create_app=create_app))
    assert isinstance(failed.exception, RegistrationError)


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
