"""The capabilities of an engine beside reads and writes. All but notifications are optional."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

#: Is called with the number of units that are done, and of all units.
Progress = Callable[[int, int], None]


class Notifications(Protocol):
    """Wakes the workers of all processes that share the database."""

    def notify(self) -> None:
        """Wake every listener. Best effort: workers poll as well."""

    def listen(self) -> Listener:
        """Start to listen.

        Raises:
            OSError: The process has no file descriptor left, or the file system does not support named pipes.
        """


class Listener(Protocol):
    """Waits for notifications."""

    def wait(self, timeout: float) -> None:
        """Sleep until a notification or the timeout. Return at once if one came since the last call.

        Args:
            timeout: Seconds.
        """

    def wake(self) -> None:
        """End the current or the next `wait`. Thread-safe, and safe in a signal handler."""

    def close(self) -> None:
        """Stop listening."""


class StartMarker(Protocol):
    """The id of the job that runs, which survives the death of its process. Used inside of write transactions only."""

    def read(self) -> str | None:
        """Return the id of the job whose process has died while it ran, or None."""

    def write(self, job_id: str) -> None:
        """Mark a job before it starts."""

    def clear(self) -> None:
        """Remove the mark."""


class Mailbox(Protocol):
    """Small texts for other processes that are stored without a wait for the write lock."""

    def add(self, text: str) -> None:
        """Add a text durably.

        Raises:
            EngineError: The disk cannot be written to.
        """

    def read(self) -> dict[str, str]:
        """Return the texts by their names, oldest first."""

    def remove(self, name: str) -> None:
        """Remove a text."""


class KeyLocks(Protocol):
    """Locks on keys among processes. Best effort: a lock may be free although another process holds it."""

    def acquire(self, number: int) -> bool:
        """Acquire the lock of a key without a wait, and return whether no other process holds it.

        Args:
            number: A digest of the key. Within a process, one thread at a time may use it.
        """

    def release(self, number: int) -> None:
        """Release the lock of a key that this process has acquired."""


class Backups(Protocol):
    """Makes and restores backups, each of which is one file.

    Attributes:
        path: The file of the database, which may not exist yet. None if the database is temporary.
    """

    @property
    def path(self) -> Path | None:
        """The file of the database, or None."""

    def create(self, path: Path, progress: Progress | None = None) -> None:
        """Write a consistent backup to a new file, while others read and write.

        Args:
            path: The new file.
            progress: Is called with the number of pages that are written, and of all pages.

        Raises:
            ConfigurationError: The file exists already.
        """

    def prepare_restore(self, path: Path) -> PreparedRestore:
        """Inspect a backup and return what restores it.

        Args:
            path: The backup.

        Raises:
            EngineError: The file is damaged, or not a backup of such a database.
        """

    def remove_unfinished(self) -> None:
        """Remove the parts of backups and restores whose processes were killed."""


class PreparedRestore(Protocol):
    """A backup that was inspected and can be restored.

    Attributes:
        rows: The number of rows in the backup.
        replaces: The number of rows in the database, which the restore replaces. None if the database is damaged.
    """

    @property
    def rows(self) -> int:
        """The number of rows in the backup."""

    @property
    def replaces(self) -> int | None:
        """The number of rows in the database, or None."""

    def run(self, progress: Progress | None = None) -> Path | None:
        """Restore the backup completely or not at all, while others read.

        Args:
            progress: Is called with the number of pages that are written, and of all pages.

        Returns:
            Where a damaged database was moved to, or None.

        Raises:
            OverloadedError: Other writers did not stop within the timeout.
        """
