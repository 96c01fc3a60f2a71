"""Small texts in files beside the database, for a process that cannot wait for its write lock.

A mutation may hold the lock for long, but the folder is always free. Each text is a file of its own, which is complete
and synced when it gets its name.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path

from flask_convex_http.sqlite.durable_files import file_errors, rename_durably
from flask_convex_http.sqlite.rights import follow

_NEW = ".new"


class Mailbox:
    """The texts beside one database file.

    Args:
        path: The database file.
    """

    def __init__(self, path: Path) -> None:
        self._database = path
        self._folder = f"{path}.requests"  # read by each batch of jobs, and making a Path takes longer

    def add(self, text: str) -> None:
        """Add a text durably.

        Raises:
            EngineError: The folder or the disk cannot be written to.
        """
        folder = Path(self._folder)
        with file_errors(folder):
            self._write(folder, text)

    def _write(self, folder: Path, text: str) -> None:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            follow(folder, self._database)
        name = f"{time.time_ns():020}-{secrets.token_hex(4)}"  # in the order of their time
        new = folder / f"{name}{_NEW}"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        follow(new, self._database)
        rename_durably(new, folder / name)

    def read(self) -> dict[str, str]:
        """Return the texts by their names, oldest first."""
        try:
            names = os.listdir(self._folder)
        except OSError:  # nothing was ever added
            return {}
        found = {}
        for name in sorted(name for name in names if not name.endswith(_NEW)):
            with contextlib.suppress(OSError):  # another process has removed it
                found[name] = Path(self._folder, name).read_text(errors="replace")
        return found

    def remove(self, name: str) -> None:
        """Remove a text."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._folder}/{name}")
