"""When and how the write-ahead log of a SQLite file is folded into it.

SQLite 3.7.0 to 3.51.2 may corrupt the file when two checkpoints race a commit (sqlite.org/wal.html#walresetbug). So no
connection makes checkpoints by itself: they are made here, by who holds the lock beside the file, while a second
connection holds SQLite's write lock. No other checkpoint of ours and no commit of anybody can happen meanwhile. Only
when the very last connection is closed SQLite makes one itself, with the file locked for everybody.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from flask_convex_http.sqlite.connections import sqlite3

logger = logging.getLogger("flask_convex_http")

#: A checkpoint waits for the disk twice, so it waits for this many bytes; SQLite's own default is about the same.
CHECKPOINT_BYTES = 4 * 2**20
#: What the log's file is cut down to when it starts again, after a long reader had made it grow. Never to nothing:
#: overwriting a file is faster than growing it.
LOG_BYTES = 2 * CHECKPOINT_BYTES

# Places in the log, from "WAL-mode File Format" (sqlite.org/fileformat2.html#walformat).
_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_PAGE_SIZE = slice(8, 12)
_SALT = slice(16, 24)
_SALT_IN_FRAME = 8


class Checkpoints:
    """The checkpoints one process makes of one file.

    Args:
        path: The database file.
    """

    def __init__(self, path: Path) -> None:
        self._log = f"{path}-wal"
        self._salt = b""
        self._bytes_at_last = 0

    def are_due(self) -> bool:
        """Whether much has been written since the last one; asked by who holds the lock, after a commit.

        SQLite tells nobody how long the log is, and its file never shrinks by itself: a frame is of this log, and not
        what an earlier one has left there, if it has the salt of the log's header.
        """
        try:
            descriptor = os.open(self._log, os.O_RDONLY)
        except OSError:  # no log yet
            return False
        try:
            return self._reaches(descriptor)
        finally:
            os.close(descriptor)

    def _reaches(self, descriptor: int) -> bool:
        header = os.pread(descriptor, _HEADER_BYTES, 0)
        salt = header[_SALT]
        if salt != self._salt:  # the log has started again
            self._salt, self._bytes_at_last = salt, 0
        frame_bytes = int.from_bytes(header[_PAGE_SIZE]) + _FRAME_HEADER_BYTES
        frames = (self._bytes_at_last + CHECKPOINT_BYTES) // frame_bytes
        return os.pread(descriptor, len(salt), _HEADER_BYTES + frames * frame_bytes + _SALT_IN_FRAME) == salt != b""

    def make(self, guard: Any, connection: Any) -> None:
        """Fold what no reader needs any more into the file, without making anybody wait but writers.

        Args:
            guard: A connection that holds the write lock meanwhile.
            connection: The one that makes the checkpoint; it must be another one.
        """
        try:
            guard.execute("BEGIN IMMEDIATE")
            try:
                _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            finally:
                guard.execute("ROLLBACK")
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
            self._bytes_at_last = frames * (page_bytes + _FRAME_HEADER_BYTES)
        except sqlite3.Error as error:  # what was written is safe in the log, and the next one does this one's work
            logger.warning("The write-ahead log %s could not be folded into its database: %s", self._log, error)
            self._bytes_at_last += CHECKPOINT_BYTES
