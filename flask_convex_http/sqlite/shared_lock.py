"""A lock that keeps other programs from removing the write-ahead log under the connections of this process.

SQLite's own locks belong to the process, and any close() of the database file in it drops them, for example in code
that reads the file. Another program is then the only user as far as SQLite knows. It moves the log into the database
and deletes it, and later commits are lost. This lock covers the same bytes as SQLite's shared lock but belongs to an
open file (an "open file description lock" of Linux), so nothing else drops it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
from pathlib import Path

from flask_convex_http.sqlite.content import Content
from flask_convex_http.sqlite.log_index import open_index, release

#: The bytes of SQLite's shared lock (SHARED_FIRST and SHARED_SIZE in SQLite's os.h).
_FIRST, _SIZE = 0x40000002, 510
_COMMAND = fcntl.F_OFD_SETLK if sys.platform == "linux" else None


class SharedLock:
    """The lock on one database file. Where the system has no such locks, it does nothing.

    Closing it drops SQLite's own locks of this process, so it must be closed after the last connection.

    Args:
        path: The database, to which a connection is open.
        can_shrink: See `Content`.

    Attributes:
        content: The content of the file. None if it could not be opened.
        log_index: The index of the log. None if it could not be opened.
    """

    def __init__(self, path: Path, *, can_shrink: bool = False) -> None:
        self._descriptor: int | None = None
        self.content: Content | None = None
        self.log_index = open_index(path)
        with contextlib.suppress(OSError):  # no descriptor is left: the checks of each commit remain
            self._descriptor = os.open(path, os.O_RDONLY)
            self.content = Content(self._descriptor, can_shrink=can_shrink)
            self._set(fcntl.F_RDLCK)

    def unlock(self) -> None:
        """Let the last connection remove the log when it is closed."""
        with contextlib.suppress(OSError):
            self._set(fcntl.F_UNLCK)

    def close(self) -> None:
        """Close the files."""
        if self.log_index is not None:
            release(self.log_index)
            self.log_index = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = self.content = None

    def _set(self, kind: int) -> None:
        if _COMMAND is not None and self._descriptor is not None:
            fcntl.fcntl(self._descriptor, _COMMAND, struct.pack("hhqqi", kind, os.SEEK_SET, _FIRST, _SIZE, 0))

    def __del__(self) -> None:
        self.close()
