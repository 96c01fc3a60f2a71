"""Which files of a deployment other users of the machine can read."""

from __future__ import annotations

import contextlib
import stat

from flask_convex_http.config import Location


def describe_exposed(*locations: Location) -> list[str]:
    """Return a note for each file that every user of the machine can read. Earlier versions created such files."""
    return [note for location in locations for note in _describe(location)]


def _describe(location: Location) -> list[str]:
    path = location.path
    with contextlib.suppress(OSError):
        if path is not None and path.stat().st_mode & stat.S_IROTH and path.parent.stat().st_mode & stat.S_IXOTH:
            return [f"Every user of this machine can read {path}; stop the app and run `chmod o-rwx {path}*`"]
    return []
