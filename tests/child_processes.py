"""What all processes that tests start have in common."""

import os
from pathlib import Path

#: The root of the repository.
ROOT = Path(__file__).resolve().parents[1]


def child_environment() -> dict[str, str]:
    """Return the environment of a child that imports the repository, without settings of servers."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "GUNICORN_", "WERKZEUG_"))
    }
    return inherited | {"PYTHONPATH": str(ROOT)}
