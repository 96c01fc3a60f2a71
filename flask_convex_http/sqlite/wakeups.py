"""Waking the workers of other processes: a named pipe for each, in a folder beside the database file.

A worker waits at its pipe and sleeps until a byte comes; nobody asks the database over and over. Pipes, because they
work wherever the file itself can be shared, and whatever the length of its path. A pipe without a reader is what a
process that died has left; whoever finds one removes it. What is worth waking for is in the database only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import select
import threading
from pathlib import Path

_ENDING = ".workers"
_BYTE = b"!"
_MUCH = 4096
#: While a pipe is made it has this ending, and nobody takes it for a dead one.
_NEW = ".new"


def folder_of(path: Path) -> Path:
    """Where the pipes for a database file are."""
    return path.with_name(path.name + _ENDING)


def notify(path: Path) -> None:
    """Wake every worker that waits.

    Args:
        path: The database file.
    """
    folder = f"{path}{_ENDING}"  # many commits come here, and a path takes longer to make than to look into
    try:
        names = os.listdir(folder)
    except OSError:  # there never was a worker
        return
    for name in names:
        if not name.endswith(_NEW):
            _write(f"{folder}/{name}")


def _write(pipe: str) -> None:
    try:
        descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nobody reads it any more
            with contextlib.suppress(OSError):
                os.unlink(pipe)
        return
    try:
        with contextlib.suppress(OSError):  # full: it is awake, or will be
            os.write(descriptor, _BYTE)
    finally:
        os.close(descriptor)


class Listener:
    """Waits to be woken.

    Args:
        path: The database file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pipe, self._descriptor = _make_pipe(path)
        self._is_open = True
        self._closing = threading.RLock()  # a signal handler may call in the middle of a call

    def wait(self, timeout: float) -> None:
        """Sleep until somebody calls, or the time is over; return at once if somebody has called since the last time.

        Args:
            timeout: Seconds.
        """
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if poll.poll(max(timeout, 0) * 1000):
            with contextlib.suppress(BlockingIOError):
                os.read(self._descriptor, _MUCH)
        elif not self._pipe.exists():  # somebody has cleared the folder away
            self._begin_again()

    def wake(self) -> None:
        """Wake the one that waits here; from any thread, and from a signal handler."""
        with self._closing, contextlib.suppress(BlockingIOError):
            if self._is_open:  # or else the number may be another file's
                os.write(self._descriptor, _BYTE)

    def _begin_again(self) -> None:
        pipe, descriptor = _make_pipe(self._path)
        with self._closing:
            os.close(self._descriptor)
            self._pipe, self._descriptor = pipe, descriptor

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._pipe.unlink()
        with self._closing:
            self._is_open = False
            os.close(self._descriptor)


def _make_pipe(path: Path) -> tuple[Path, int]:
    folder = folder_of(path)
    folder.mkdir(exist_ok=True)
    notify(path)  # removes what processes that died have left
    pipe = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
    new = pipe.with_name(pipe.name + _NEW)
    os.mkfifo(new)
    try:
        # open for writing too, so that the last writer's leaving is not the end of the file
        descriptor = os.open(new, os.O_RDWR | os.O_NONBLOCK)
    except OSError:  # it has no descriptor left, say; nobody else removes what is new
        new.unlink()
        raise
    new.rename(pipe)
    return pipe, descriptor
