"""The space of deleted blobs in the SQLite file: how much there is, and giving it back to the file system.

Deleted pages are reused by the next writes, so the file need not shrink. Giving them back moves pages from the end of
the file, which costs as much as writing them. It therefore happens on request only, in short transactions between which
other writers get their turn. A file of an earlier release cannot be cut in steps, and is rewritten once as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask_convex_http.engines import Progress
from flask_convex_http.sqlite.file import SQLiteFile

#: Pages that one transaction gives back: 2 MiB.
_STEP_PAGES = 256
_INCREMENTAL = 2


def free_bytes(connection: Any) -> int:
    """Return the bytes of the pages that hold nothing."""
    return _pragma(connection, "freelist_count") * _pragma(connection, "page_size")


def compact(file: SQLiteFile, progress: Progress) -> int:
    """Give the free pages of a file back, and return their bytes.

    Args:
        file: The file.
        progress: Receives how many bytes are given back, and how many there are.

    Raises:
        OverloadedError: Other writers were busy for too long. What was given back before stays so.
    """
    with file.lend() as connection:
        free, can_shrink = free_bytes(connection), _pragma(connection, "auto_vacuum") == _INCREMENTAL
    if not free:
        return 0
    left = _in_steps(file, free, progress) if can_shrink else _write(file, _rebuild)
    file.checkpoint()  # only then the file is cut
    _write(file, _restart_log)
    progress(free, free)
    return free - left


def _in_steps(file: SQLiteFile, free: int, progress: Progress) -> int:
    """Give pages back until none is left or as many are gone as there were, and return the bytes that are left."""
    left = free
    for _ in range(_steps(file, free)):
        left = _write(file, _step)
        progress(max(free - left, 0), free)
        if not left:
            break
    return min(left, free)  # other processes may have deleted more


def _steps(file: SQLiteFile, free: int) -> int:
    with file.lend() as connection:
        return -(-free // (_STEP_PAGES * _pragma(connection, "page_size")))


def _step(connection: Any) -> int:
    try:
        # A script, because execute() ends a pragma without columns after its first page.
        connection.executescript(f"BEGIN IMMEDIATE; PRAGMA incremental_vacuum({_STEP_PAGES}); COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return free_bytes(connection)


def _rebuild(connection: Any) -> int:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect in VACUUM
    connection.execute("PRAGMA temp_store = FILE")  # VACUUM writes a copy of the file
    try:
        connection.execute("VACUUM")
    finally:
        connection.execute("PRAGMA temp_store = MEMORY")
    return free_bytes(connection)


def _restart_log(connection: Any) -> int:
    """Write a page, with which a long log starts again and is cut."""
    connection.execute(f"PRAGMA user_version = {_pragma(connection, 'user_version')}")
    return 0


def _write(file: SQLiteFile, work: Callable[[Any], int]) -> int:
    with file.translated():
        return file.write(work, alone=True)


def _pragma(connection: Any, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
