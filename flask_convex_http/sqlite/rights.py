"""Access rights of the files beside a database: those of the database itself.

A new database is private to its owner. Where several users share one, its administrator has given it another mode, and
the files beside it have to follow, as SQLite's own do. Root does not lock out the owner of the database.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

#: The mode of a new database.
PRIVATE = 0o600


def create_private(path: Path) -> None:
    """Create an empty file that only its owner can use, if possible without opening it.

    Closing a descriptor of a database drops SQLite's locks of the process.

    Raises:
        OSError: It exists, or cannot be created.
    """
    try:
        os.mknod(path, PRIVATE | stat.S_IFREG)
    except PermissionError:  # macOS reserves the call for root
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))


def open_beside(path: Path, database: Path, flags: int) -> int:
    """Open a file beside a database, and create it with the rights of the database if it does not exist.

    Args:
        path: The file.
        database: The database.
        flags: Flags of `os.open`.

    Raises:
        OSError: It cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, PRIVATE)
    except FileExistsError:
        return os.open(path, flags)
    follow(path, database)
    return descriptor


def follow(path: Path, database: Path) -> None:
    """Give a new file, pipe or folder the mode of its database, and as root also the owner.

    Args:
        path: The new one, which only its owner can use so far.
        database: The database, which may be missing.
    """
    with contextlib.suppress(OSError):  # no database yet, or a file system without modes: it stays private
        of = os.stat(database)
        mode = of.st_mode & 0o666
        os.chmod(path, mode | (mode & 0o444) >> 2 if path.is_dir() else mode)
        if os.geteuid() == 0:
            os.chown(path, of.st_uid, of.st_gid)
