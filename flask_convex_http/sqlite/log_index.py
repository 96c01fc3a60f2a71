"""The header of the index of the write-ahead log, which is another one after each commit of any process.

SQLite keeps the index in a file that all processes map into memory (`-shm`). Each commit replaces the header at its
start, and every read of SQLite begins with a look at it. So data that was read under a header is current for as long as
the header is the same.

The file is read with a system call and not mapped. A process that finds no other user truncates it, which would kill a
thread that is just reading the memory here.

The header has the checksum of all frames of the log, which begins with a random salt. An empty log has none, so it is
never taken for the same as another empty log (sqlite.org/walformat.html#the_wal_index_header).

To close a file drops all locks of the process on it, also those of SQLite's connections. So an index is opened once in
a process, and closed only after the last connection of all processes has deleted the file.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from flask_convex_http.sqlite.open_files import Identity, identity

#: The header is there twice. SQLite writes the second copy first, so two that differ are being replaced.
_HEADER_BYTES = 48
#: The number of frames in the log.
_FRAMES = slice(16, 20)
_NO_FRAMES = bytes(4)

_changing = threading.Lock()
_open: dict[Identity, LogIndex] = {}


class LogIndex:
    """The index of the log of one database file.

    Args:
        descriptor: The open file.

    Attributes:
        users: The number of users in this process.
    """

    def __init__(self, descriptor: int) -> None:
        self.users = 0
        self._descriptor = descriptor

    def header(self) -> bytes | None:
        """Return the header, or None if the log is empty or the header is just being replaced."""
        try:
            both = os.pread(self._descriptor, 2 * _HEADER_BYTES, 0)
        except OSError:  # another thread has just closed it
            return None
        header = both[:_HEADER_BYTES]
        return header if header == both[_HEADER_BYTES:] and header[_FRAMES] not in (b"", _NO_FRAMES) else None

    def is_deleted(self) -> bool:
        """Return whether the file has no name any more."""
        return os.fstat(self._descriptor).st_nlink == 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def open_index(database: Path) -> LogIndex | None:
    """Return the index of the log of a database, or None if it cannot be opened.

    Args:
        database: The database, to which a connection is open.
    """
    path = f"{os.path.realpath(database)}-shm"
    with _changing, contextlib.suppress(OSError):
        _close_deleted()
        key = identity(path)
        if key not in _open:
            _open[key] = LogIndex(os.open(path, os.O_RDONLY))
        _open[key].users += 1
        return _open[key]
    return None


def release(index: LogIndex) -> None:
    """End one use of an index."""
    with _changing:
        index.users -= 1
        _close_deleted()


def _close_deleted() -> None:
    for key, index in list(_open.items()):
        if not index.users and index.is_deleted():
            del _open[key]
            index.close()


def _after_fork_in_child() -> None:
    global _changing
    _changing = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
