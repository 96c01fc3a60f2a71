"""The command: it checks that there is an app, and starts the server with its reloader."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from flask.cli import ScriptInfo, pass_script_info
from werkzeug.serving import is_running_from_reloader, run_simple

from flask_convex_http.cli.dev.startup import FIRST_START, load
from flask_convex_http.cli.options import WholeNumber
from flask_convex_http.cli.output import note
from flask_convex_http.identities.fetch import is_loopback

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_DEBUG = "FLASK_DEBUG"


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    envvar="FLASK_RUN_HOST",
    show_envvar=True,
    help="The address to listen on.",
)
@click.option(
    "--port",
    type=WholeNumber(0, 65_535),
    default=5000,
    show_default=True,
    envvar="FLASK_RUN_PORT",
    show_envvar=True,
    help="The port to listen on; 0 for a free one.",
)
@pass_script_info
def dev(info: ScriptInfo, host: str, port: int) -> None:
    """Run the app, and restart it when its code changes.

    Each start migrates the database and prints the steps. Steps that would lose data are printed and not taken. If the
    app cannot start, its error is printed, and the next change of a file starts it again.

    The debugger runs on loopback addresses only, because it runs any code. Production needs another server.

    \b
    Examples:
      flask convex dev
      flask convex dev --port 8000
      flask --app shop convex dev --host 0.0.0.0
    """
    if is_running_from_reloader():
        _serve(load(info, host), host, port)
        return
    _check_app(info)
    _choose_debug(host)
    with tempfile.TemporaryDirectory(prefix="convex-dev-") as folder:
        os.environ[FIRST_START] = str(Path(folder, "seen"))
        _serve(_not_served, host, port)


def _serve(app: WSGIApplication, host: str, port: int) -> None:
    run_simple(host, port, app, use_reloader=True, use_debugger=is_loopback(host), threaded=True)


def _not_served(environ: Any, start_response: Any) -> Any:
    """Stand in for the app in the process that only listens."""
    raise AssertionError


def _check_app(info: ScriptInfo) -> None:
    """Check that there is a file to load the app from, so that a wrong folder ends the command at once.

    Raises:
        click.ClickException: There is none.
    """
    if info.create_app is None and info.app_import_path is None and not _has_default_file():
        raise click.ClickException(
            "There is no app here: no wsgi.py or app.py in this folder. Name the app, as in `flask --app shop convex "
            "dev`, or write a new one with `flask convex init`"
        )


def _has_default_file() -> bool:
    return any(Path(name).is_file() for name in ("wsgi.py", "app.py"))


def _choose_debug(host: str) -> None:
    """Set the debug mode of the app: on for loopback addresses, and off for all others."""
    if not is_loopback(host):
        note(f"{host} can be reached by other machines, so the debugger is off.")
    os.environ[_DEBUG] = "1" if is_loopback(host) else "0"
