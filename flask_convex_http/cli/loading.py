"""Errors that an app raises while it is loaded."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

from flask.cli import ScriptInfo

from flask_convex_http.cli.output import printable

_FOLDERS = (*(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")), str(Path(__file__).parents[1]))
#: The starts of file names of code that is not the app's own.
_INSTALLED = ("<frozen", *(folder + os.sep for folder in _FOLDERS))


def is_from_loading(error: Exception) -> bool:
    """Return whether an app raised an error while it was loaded."""
    return any(frame.f_code is ScriptInfo.load_app.__code__ for frame, _ in traceback.walk_tb(error.__traceback__))


def place_of(error: Exception) -> str:
    """Return the file and line of the app's own code that led to an error, such as "app.py:7: ", or ""."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not is_installed(frame.filename)]
    return printable(f"{_shortest(own[-1].filename)}:{own[-1].lineno}: ") if own else ""


def is_installed(filename: str) -> bool:
    """Return whether a file belongs to Python or to an installed package, and not to the app."""
    return filename.startswith(_INSTALLED)


def _shortest(filename: str) -> str:
    """Return a file name relative to the current folder, if the file is below it."""
    path = Path(filename)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
