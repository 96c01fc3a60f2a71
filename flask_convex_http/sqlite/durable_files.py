"""Durable changes of the file system: new files, renames and syncs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from flask_convex_http.errors import EngineError


@contextlib.contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Translate errors of the file system into errors of the package."""
    try:
        yield
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error}") from error


def make_folder(folder: Path) -> None:
    """Create a folder and its parents durably. Only their owner may use them.

    Raises:
        OSError: A folder cannot be created.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        sync(path.parent)


def rename_durably(new: Path, path: Path) -> None:
    """Rename a new file into place, durably."""
    new.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Sync a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
