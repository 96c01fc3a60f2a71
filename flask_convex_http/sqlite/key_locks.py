"""Locks on keys among the processes of one machine, held while a request with the key is processed.

Each key is one byte of the range of a file beside the database, at the position that its digest says. A lock belongs to
the open file ("open file description lock" of Linux), and the kernel releases it when the process dies. Two keys with
one position exclude each other, which one in 2**62 pairs does. Nothing is written to the file.

The locks are best effort: the unique index of the keys decides what is a duplicate. Where a system has no such locks,
or no descriptor is left, every lock is free.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import sys
import threading
import weakref
from pathlib import Path

from flask_convex_http.sqlite.rights import open_beside

_COMMAND = fcntl.F_OFD_SETLK if sys.platform == "linux" else None
#: The system call, which never blocks. `fcntl.fcntl` would let another thread have the interpreter, and each request
#: with a key would wait for it twice. It has no `argtypes`: integers and bytes are passed as they are, and a declared
#: conversion of the three takes a third of the time of a call.
_fcntl = ctypes.PyDLL(None, use_errno=True).fcntl
#: Makes the argument of the command: `struct flock`, whole, since the kernel reads all of it.
_pack_flock = struct.Struct("hhqqi4x").pack
_LOCKED, _FREE, _FROM_START = fcntl.F_WRLCK, fcntl.F_UNLCK, os.SEEK_SET
#: Positions in a file are signed.
_POSITIONS = 2**62


class KeyLocks:
    """The locks of one database.

    Args:
        path: The database file. The locks are on the file beside it that `ProcessLock` uses for writers.
    """

    def __init__(self, path: Path) -> None:
        self._database = path
        self._path = path.with_name(f"{path.name}.lock")
        self._descriptor: int | None = None
        self._opening = threading.Lock()
        _ALL.add(self)

    def acquire(self, number: int) -> bool:
        """Acquire the lock of a key without a wait, and return whether no other process holds it.

        Args:
            number: The number of the key, such as a digest. Within a process, one thread at a time may use it.
        """
        return self._set(_LOCKED, number % _POSITIONS)

    def release(self, number: int) -> None:
        """Release the lock of a key that this process has acquired."""
        self._set(_FREE, number % _POSITIONS)

    def close(self) -> None:
        """Close the file, which releases all locks."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def after_fork(self) -> None:
        """Close the file in a child, which shares the locks of its parent otherwise."""
        self._opening = threading.Lock()
        self.close()

    def _set(self, kind: int, position: int) -> bool:
        if _COMMAND is None:
            return True
        descriptor = self._descriptor
        if descriptor is None:
            try:
                descriptor = self._open()
            except OSError:
                return True
        if not _fcntl(descriptor, _COMMAND, _pack_flock(kind, _FROM_START, position, 1, 0)):
            return True
        return ctypes.get_errno() not in (errno.EAGAIN, errno.EACCES)

    def _open(self) -> int:
        with self._opening:  # a lock on a second descriptor would never be released
            descriptor = self._descriptor
            if descriptor is None:
                descriptor = self._descriptor = open_beside(self._path, self._database, os.O_RDWR)
            return descriptor

    def __del__(self) -> None:
        self.close()


_ALL: weakref.WeakSet[KeyLocks] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for locks in list(_ALL):
        locks.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
