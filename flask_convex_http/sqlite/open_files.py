"""Whether the files that a connection has open are still the files at their paths.

SQLite continues with files that were deleted, replaced or moved away. Its commits succeed, and are gone when the
process ends. So a writer looks at the files before each transaction, since it must not write into a log that other
processes do not share any more, and again before it acknowledges a commit.

A name in a folder cannot change without the folder's change time (ctime), which no program can set. One `os.stat` of
the folder is therefore enough, unless the folder has changed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

#: Device and inode of a file, or None if there is none.
Identity = tuple[int, int] | None

#: Nanoseconds after which another change of a folder has another time, on any file system.
_SETTLED_NS = 2_000_000_000


class OpenFiles:
    """The files of a connection: the database, its write-ahead log, and the index of the log (`-shm`).

    Args:
        path: The database. The connection has just opened its files.
    """

    __slots__ = ("_files", "_folder", "_is_link", "_paths", "_seen")

    def __init__(self, path: Path) -> None:
        real = os.path.realpath(path)  # SQLite puts the log beside the file that a symbolic link names
        self._folder = str(path.parent)
        self._paths = (str(path), f"{real}-wal", f"{real}-shm")
        self._is_link = path.is_symlink()
        self._files = tuple(map(identity, self._paths))
        self._seen: tuple[int, ...] = ()

    @property
    def database(self) -> Identity:
        """The identity of the database."""
        return self._files[0]

    def are_in_place(self) -> bool:
        """Return whether the files are still at their paths."""
        try:
            folder = os.stat(self._folder)
        except OSError:
            return False
        seen = (folder.st_ino, folder.st_dev, folder.st_ctime_ns)
        return seen == self._seen or self._look(seen)

    def _look(self, seen: tuple[int, ...]) -> bool:
        if tuple(map(identity, self._paths)) != self._files:
            return False
        if not self._is_link and time.time_ns() - seen[-1] > _SETTLED_NS:
            self._seen = seen
        return True

    def change(self) -> str | None:
        """Return what has happened to the files, for people, or None if they are in place."""
        now = tuple(map(identity, self._paths))
        for path, old, new in zip(self._paths, self._files, now, strict=True):
            if old != new:
                return f"{path} was {'deleted or moved away' if new is None else 'replaced by another file'}"
        return None

    def lost_log(self) -> Literal["missing", "replaced"] | None:
        """Return whether another or no log is at the path, while the database and the index are in place."""
        now = tuple(map(identity, self._paths))
        if [old == new for old, new in zip(self._files, now, strict=True)] != [True, False, True]:
            return None
        return "missing" if now[1] is None else "replaced"


def identity(path: str | Path) -> Identity:
    """Return the identity of the file at a path."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
