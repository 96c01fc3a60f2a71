"""The id of the job that runs at the moment, in a file beside the database that survives the death of its process.

A writer writes it before it starts a job and clears it afterwards, while it holds the write lock. So a writer that
finds an id there knows that the process which ran this job has died. The file is not synced: after a power cut the id
may be lost, which costs one more run of the job.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from flask_convex_http.sqlite.connections import this_process
from flask_convex_http.sqlite.rights import open_beside

#: The longest id. Shorter ones are filled up with zero bytes, so that one system call replaces the former id.
_LENGTH = 128


class StartMarker:
    """The marker of one database file. Use it inside of a write transaction.

    Outside of one it may be read as well, but the job that is marked then may still run.

    Without a file, such as when no descriptor is left, nothing is marked and nothing is found.

    Args:
        path: The database file.
    """

    def __init__(self, path: Path) -> None:
        self._database = path
        self._path = path.with_name(f"{path.name}.running")
        self._descriptor: int | None = None
        self._process: int | None = None

    def read(self) -> str | None:
        """Return the id of the job whose process has died while it ran, or None."""
        with contextlib.suppress(OSError):
            marked = os.pread(self._open(), _LENGTH, 0).rstrip(b"\0")
            return marked.decode(errors="replace") or None
        return None

    def write(self, job_id: str) -> None:
        """Mark a job before it starts."""
        self._process = this_process()
        self._replace(job_id)

    def clear(self) -> None:
        """Remove the mark, unless this process is a child that was forked by the job."""
        if self._process in (None, this_process()):
            self._replace("")

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _replace(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.pwrite(self._open(), text.encode().ljust(_LENGTH, b"\0")[:_LENGTH], 0)

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = open_beside(self._path, self._database, os.O_RDWR)
        return self._descriptor

    def __del__(self) -> None:
        self.close()
