"""The steps of the serving process at each start: load the app, migrate its database, print where it is.

An app that cannot start is replaced by one that raises its error, so that the reloader goes on and browsers show it.
"""

from __future__ import annotations

import itertools
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from flask import Flask
from flask.cli import ScriptInfo

from flask_convex_http.cli.dev.addresses import addresses
from flask_convex_http.cli.dev.migrating import migrate
from flask_convex_http.cli.loading import is_installed, place_of
from flask_convex_http.cli.output import note
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.web.state import MissingExtensionError, backend_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

#: The environment variable with the path of a file, which the first start creates.
FIRST_START = "_CONVEX_DEV_FIRST_START"  # no setting, which would begin with CONVEX_


def load(info: ScriptInfo, host: str) -> WSGIApplication:
    """Return the app after its start, or an app that raises the error of the start.

    Args:
        info: Loads the app.
        host: The address to listen on.
    """
    try:
        app = info.load_app()
        _start(app, info, host)
    except Exception as error:
        _show(error)
        note("The app did not start. Change a file to start it again.")
        return _failing(error)
    return app


def _start(app: Flask, info: ScriptInfo, host: str) -> None:
    backend = backend_of(app)
    with app.app_context():
        migrate(backend, _flask(info))
        urls = addresses(app, backend, host) if _is_first_start() else ()
        for label, url in urls:
            note(f"{label + ':':<10} {url}")


def _flask(info: ScriptInfo) -> str:
    """Return how the user calls `flask` for this app."""
    path = info.app_import_path
    return "flask" if path is None or path == os.environ.get("FLASK_APP") else f"flask --app {path}"


def _is_first_start() -> bool:
    try:
        Path(os.environ[FIRST_START]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


# --- errors ----------------------------------------------------------------------------------------------------------


def _show(error: Exception) -> None:
    """Print an error: a sentence of Flask or this package in one line, others with their traceback."""
    if isinstance(error, click.ClickException):
        note(f"Error: {error.format_message()}")
    elif isinstance(error, ConvexHTTPError | MissingExtensionError):
        note(f"Error: {place_of(error)}{error}")
    else:
        note(_own_traceback(error))


def _own_traceback(error: Exception) -> str:
    """Return the traceback of an error, without the frames that load the app."""
    shown = traceback.TracebackException.from_exception(error)
    frames = itertools.dropwhile(lambda frame: is_installed(frame.filename), shown.stack)
    shown.stack = traceback.StackSummary.from_list(list(frames))
    return "".join(shown.format()).rstrip()


def _failing(error: Exception) -> WSGIApplication:
    def app(environ: Any, start_response: Any) -> Any:
        raise error from None

    return app
