"""Unfinished files: each is in a locked folder beside its place until it is complete and gets its name.

The kernel releases the lock when the process dies. So an unlocked folder was left by a killed process, and the next
unfinished file there or the cleanup of a worker removes it. A backup may be made in any folder: a symbolic link beside
the database leads the cleanup there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from flask_convex_http.sqlite.durable_files import file_errors

_NAME = re.compile(r"\..+\.unfinished-[0-9a-f]{12}", re.DOTALL)


@contextlib.contextmanager
def new_file(path: Path, database: Path | None = None) -> Iterator[Path]:
    """Yield the path of an unfinished file beside a file. It is deleted at the end if it still exists.

    Args:
        path: The file.
        database: The database whose cleanup removes the unfinished file after a kill; None if it is beside the file.
    """
    with file_errors(path):
        remove_unfinished(path.parent)
        folder = path.with_name(f".{path.name}.unfinished-{secrets.token_hex(6)}")
        with _locked(path.parent):  # no cleanup sees the folder before it is locked
            folder.mkdir(mode=0o700)
            lock = _lock(folder)
        link = _link(folder, database)
        try:
            yield folder / path.name
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            if link is not None:
                link.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove the unfinished files of killed processes in a folder, and those that links in it lead to. Best effort."""
    with contextlib.suppress(OSError):
        for name in filter(_NAME.fullmatch, os.listdir(folder)):
            path = folder / name
            if path.is_symlink():
                _remove_link(path)
            else:
                _remove(path)


def _remove_link(link: Path) -> None:
    target = Path(os.readlink(link))
    if _NAME.fullmatch(target.name):
        _remove(target)
    if not target.exists():
        link.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError), _locked(folder.parent):
        lock = _lock(folder, fcntl.LOCK_NB)  # held until the folder is gone
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _link(folder: Path, database: Path | None) -> Path | None:
    """Leave a link beside the database that leads to an unfinished file elsewhere. Best effort."""
    if database is None or database.parent.absolute() == folder.parent.absolute():
        return None
    link = database.with_name(f".{database.name}.unfinished-{secrets.token_hex(6)}")
    try:
        link.symlink_to(folder.absolute())
    except OSError:
        return None
    return link


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = _lock(folder)
    try:
        yield
    finally:
        os.close(lock)


def _lock(folder: Path, flags: int = 0) -> int:
    """Lock a folder, and return the descriptor that holds the lock.

    Raises:
        OSError: It is no folder, or another process holds its lock.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
