"""Checkpoints of the write-ahead log of a SQLite file.

SQLite 3.7.0 to 3.51.2 may corrupt the file when two checkpoints race a commit (sqlite.org/wal.html#walresetbug).
Automatic checkpoints are therefore off. The holder of the process lock makes them, while a second connection holds
SQLite's write lock, so that neither another checkpoint nor any commit happens concurrently. Only closing the very last
connection makes SQLite checkpoint itself, with the file locked for every other connection.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flask_convex_http.log import logger_of
from flask_convex_http.sqlite.connections import sqlite3

logger = logger_of("database")

#: Bytes of log that make a checkpoint due. It waits for the disk twice. SQLite's own default is about the same.
CHECKPOINT_BYTES = 4 * 2**20
#: Bytes after a checkpoint that make the next one due if the log has not restarted. It restarts at the first write
#: after a checkpoint that moved all frames, unless a reader that began before still reads from the log.
RETRY_BYTES = CHECKPOINT_BYTES // 4
#: The size the log's file is cut to when it restarts after a long reader has made it grow. It is never cut to
#: nothing, since overwriting a file is faster than growing it.
LOG_BYTES = 2 * CHECKPOINT_BYTES

# Offsets in the log, from "WAL-mode File Format" (sqlite.org/fileformat2.html#walformat).
_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_PAGE_SIZE = slice(8, 12)
_SALT = slice(16, 24)
_SALT_IN_FRAME = 8


def fold_log(connection: Any) -> bool:
    """Move all frames of a log that was deleted into its database, and return whether that was possible.

    Args:
        connection: A connection that has the log open. The caller holds the process lock.
    """
    try:
        connection.execute("PRAGMA busy_timeout = 1000")  # the connection is retired next
        is_busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    return not is_busy


class Checkpoints:
    """The checkpoints of one file by one process.

    Args:
        path: The database file.
    """

    def __init__(self, path: Path) -> None:
        self._log = f"{path}-wal"
        self._salt = b""
        self._due_at = CHECKPOINT_BYTES  # bytes of the log

    @property
    def await_restart(self) -> bool:
        """Whether a checkpoint was made, and the log has not been seen to restart since."""
        return self._due_at > CHECKPOINT_BYTES

    def are_due(self) -> bool:
        """Return whether a checkpoint is due. Call it after a commit, with the lock held.

        SQLite does not report the length of the log, and the log's file never shrinks by itself. A frame belongs to the
        current log, and not to an earlier one, if it has the salt of the log's header.
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
        if salt != self._salt:  # the log has restarted
            self._salt, self._due_at = salt, CHECKPOINT_BYTES
        frame_bytes = int.from_bytes(header[_PAGE_SIZE]) + _FRAME_HEADER_BYTES
        frames = self._due_at // frame_bytes
        return os.pread(descriptor, len(salt), _HEADER_BYTES + frames * frame_bytes + _SALT_IN_FRAME) == salt != b""

    def make(self, guard: Any, connection: Any) -> None:
        """Move the frames that no reader needs into the file. Only writers wait for it.

        Args:
            guard: A connection that holds the write lock.
            connection: Another connection, which makes the checkpoint.
        """
        try:
            guard.execute("BEGIN IMMEDIATE")
            try:
                _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            finally:
                guard.execute("ROLLBACK")
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
            self._due_at = frames * (page_bytes + _FRAME_HEADER_BYTES) + RETRY_BYTES
        except sqlite3.Error as error:  # the commits are safe in the log, and the next checkpoint catches up
            logger.warning("The write-ahead log %s could not be folded into its database: %s", self._log, error)
            self._due_at += CHECKPOINT_BYTES
