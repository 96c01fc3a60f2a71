"""Wake-ups of the workers of other processes: a named pipe for each, in a folder beside the database file.

A worker sleeps at its pipe until a byte arrives, instead of polling the database. Pipes work wherever the file itself
can be shared, and with paths of any length. A pipe without a reader is left by a dead process, and the next process
that finds it deletes it. A wake-up carries no data: due jobs are in the database only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import select
import threading
import time
from pathlib import Path

from flask_convex_http.sqlite.rights import PRIVATE, follow

_ENDING = ".workers"
_BYTE = b"!"
_MUCH = 4096
#: The ending of a pipe that is being created, so that no process deletes it as a dead one.
_NEW = ".new"
#: Seconds after which a pipe is no longer being created.
_CREATION_SECONDS = 60.0


def folder_of(path: Path) -> Path:
    """Return the folder of the pipes of a database file."""
    return path.with_name(path.name + _ENDING)


def notify(path: Path) -> None:
    """Wake every waiting worker.

    Args:
        path: The database file.
    """
    folder = f"{path}{_ENDING}"  # called by many commits, and making a Path takes longer than looking into the folder
    try:
        names = os.listdir(folder)
    except OSError:  # no worker has ever run
        return
    for name in names:
        if not name.endswith(_NEW):
            _write(f"{folder}/{name}")


def _write(pipe: str) -> None:
    try:
        descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:
            _delete(pipe)  # a dead process left it
        return
    try:
        with contextlib.suppress(OSError):  # full: the worker is awake, or will be
            os.write(descriptor, _BYTE)
    finally:
        os.close(descriptor)


def _delete(pipe: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(pipe)


class PipeListener:
    """Waits to be woken.

    Args:
        path: The database file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pipe, self._descriptor = _make_pipe(path)
        self._is_open = True
        self._closing = threading.RLock()  # a signal handler may wake in the middle of a call

    def wait(self, timeout: float) -> None:
        """Sleep until a wake-up or the timeout. Return at once if a wake-up has arrived since the last call.

        Args:
            timeout: Seconds.
        """
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if poll.poll(max(timeout, 0) * 1000):
            with contextlib.suppress(BlockingIOError):
                os.read(self._descriptor, _MUCH)
        elif not self._pipe.exists():  # the folder was deleted
            self._begin_again()

    def wake(self) -> None:
        """Wake this listener. Safe in any thread and in a signal handler."""
        with self._closing, contextlib.suppress(BlockingIOError):
            if self._is_open:  # otherwise the number may be another file's
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
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        follow(folder, path)
    notify(path)  # deletes pipes of dead processes
    _delete_unfinished(folder)
    pipe = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
    new = pipe.with_name(pipe.name + _NEW)
    os.mkfifo(new, PRIVATE)
    follow(new, path)
    try:
        # open for writing too, so that the end of the last writer is not the end of the file
        descriptor = os.open(new, os.O_RDWR | os.O_NONBLOCK)
    except OSError:  # no descriptors are left, for example; no other process deletes a new pipe
        new.unlink()
        raise
    new.rename(pipe)
    return pipe, descriptor


def _delete_unfinished(folder: Path) -> None:
    """Delete the pipes whose creation was interrupted by a kill."""
    before = time.time() - _CREATION_SECONDS
    for pipe in folder.glob(f"*{_NEW}"):
        with contextlib.suppress(OSError):
            if pipe.lstat().st_mtime < before:
                pipe.unlink()
