"""Locks on keys among the processes of one machine, held while a request with the key is processed.

The locks are a table in a file beside the database, which each process has in its memory: to acquire or release one is
no system call. A key has the slot that its digest says. The slot has the key, and the owner that holds it.

An owner is a number that a process has drawn, and holds a lock on the byte of the file at that position. This lock
belongs to the open file ("open file description lock" of Linux), and the kernel releases it when the process dies. A
slot of a dead owner is free.

The locks are best effort: the unique index of the keys tells duplicates apart from other requests. A key takes the slot
of another one, which is then free. Where a system has no such locks, or no descriptor is left, every lock is free.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
import sys
import threading
import weakref
from pathlib import Path

from flask_convex_http.sqlite.rights import open_beside

_HAS_LOCKS = sys.platform == "linux"
#: The number of slots. Keys that are processed at one moment seldom meet in one.
_SLOTS = 4096
#: A slot: the number of the key, and its owner, which is 0 in a free slot.
_slot = struct.Struct("=qq")
_SIZE = _SLOTS * _slot.size
#: `struct flock`, whole, since the kernel reads all of it.
_flock = struct.Struct("hhqqi4x")
#: Positions in a file are signed.
_POSITIONS = 2**62


class KeyLocks:
    """The locks of one database.

    Args:
        path: The database file. The table is in the file beside it that `ProcessLock` uses for writers.
    """

    def __init__(self, path: Path) -> None:
        self._database = path
        self._path = path.with_name(f"{path.name}.lock")
        self._opening = threading.Lock()
        self._descriptor: int | None = None
        self._table: mmap.mmap | None = None
        self._owner = 0
        _ALL.add(self)

    def acquire(self, number: int) -> bool:
        """Acquire the lock of a key without a wait, and return whether no other process holds it.

        Args:
            number: The number of the key, such as a digest, a signed integer of 64 bits. Within a process, one thread
                at a time may use it.
        """
        table = self._table or self._open()
        if table is None:
            return True
        at = number % _SLOTS * _slot.size
        key, owner = _slot.unpack_from(table, at)
        if key == number and owner and owner != self._owner and self._lives(owner):
            return False
        _slot.pack_into(table, at, number, self._owner)
        return True

    def release(self, number: int) -> None:
        """Release the lock of a key that this process has acquired."""
        table = self._table
        if table is None:
            return
        at = number % _SLOTS * _slot.size
        if _slot.unpack_from(table, at) == (number, self._owner):
            _slot.pack_into(table, at, 0, 0)

    def close(self) -> None:
        """Close the file, which releases all locks."""
        self._table = None  # not closed, since a thread may use it
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def after_fork(self) -> None:
        """Close the file in a child, which is another owner."""
        self._opening = threading.Lock()
        self.close()

    def _open(self) -> mmap.mmap | None:
        """Open the table as a new owner. Return None if this system or the state of the process does not permit it."""
        with self._opening:
            if self._table is not None or not _HAS_LOCKS:
                return self._table
            try:
                if self._descriptor is None:
                    self._descriptor = open_beside(self._path, self._database, os.O_RDWR)
                self._table = self._join(self._descriptor)
            except OSError:
                return None
            return self._table

    def _join(self, descriptor: int) -> mmap.mmap:
        if os.fstat(descriptor).st_size < _SIZE:
            os.posix_fallocate(descriptor, 0, _SIZE)  # without its disk space a write to the memory ends the process
        owner = secrets.randbelow(_POSITIONS - 1) + 1
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _byte(owner))
        self._owner = owner
        return mmap.mmap(descriptor, _SIZE)

    def _lives(self, owner: int) -> bool:
        """Return whether the process of an owner lives."""
        if self._descriptor is None:
            return False
        try:
            found = fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, _byte(owner))
        except OSError:
            return False
        return bool(_flock.unpack(found)[0] != fcntl.F_UNLCK)

    def __del__(self) -> None:
        self.close()


def _byte(position: int) -> bytes:
    """Return the argument that locks the byte at a position, or looks for its lock."""
    return _flock.pack(fcntl.F_WRLCK, os.SEEK_SET, position, 1, 0)


_ALL: weakref.WeakSet[KeyLocks] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for locks in list(_ALL):
        locks.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
