"""The port of blob stores: the promises that every member keeps, and the values that cross it.

A member translates the errors of its libraries. Only errors of the package leave it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Literal, NamedTuple

from flask_convex_http.engines import Backups, Progress
from flask_convex_http.errors import EngineError

Method = Literal["GET", "HEAD", "PUT"]


class StoredBytes(NamedTuple):
    """The result of a finished write.

    Attributes:
        size: The number of bytes.
        sha256: Their SHA-256 digest, as 32 raw bytes.
    """

    size: int
    sha256: bytes


class Served(NamedTuple):
    """The response headers of a store that serves clients itself. Other stores ignore them.

    Attributes:
        content_type: The media type.
        disposition: `inline`, or `attachment` for a file that a browser must not show.
    """

    content_type: str
    disposition: str


class BlobExistsError(EngineError):
    """A key was written a second time."""


class BlobStore(ABC):
    """Bytes by key, streamed both ways in constant memory.

    A key is opaque text. A store is safe to use from several threads and processes at once, and after a fork. A call
    that fails raises `OverloadedError` if the same call may succeed a moment later, and `EngineError` otherwise.
    """

    @abstractmethod
    def write(self, key: str, chunks: Iterable[bytes], served: Served | None = None) -> StoredBytes:
        """Store bytes under a new key. They are not readable before this returns, and survive a power cut after it.

        Args:
            key: An unused key.
            chunks: The bytes, in pieces of any size.
            served: The headers for clients that the store serves itself, by default those of a download.

        Raises:
            BlobExistsError: The key is used, perhaps by an unfinished write.
            BlobNotFoundError: The key was deleted during the write.
            Exception: Any exception of `chunks`. Nothing is readable under the key then.
        """

    @abstractmethod
    def read(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Stream the bytes from `start` up to, but not including, `stop`.

        No lock is held between two pieces, regardless of how slow the caller is.

        Args:
            key: The key of the bytes.
            start: The first byte, counted from 0. There are none beyond the end.
            stop: The byte after the last one. None, or a number beyond the end, is the end.

        Raises:
            BlobNotFoundError: At the call, if nothing is readable under the key. At a later piece, if the bytes were
                deleted concurrently.
            ValueError: `start` or `stop` is negative.
        """

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Return whether bytes are readable under the key."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete the bytes under the key, finished or not. A missing key is ignored."""

    @abstractmethod
    def keys(self, older_than: float | None = None) -> Iterator[tuple[str, float]]:
        """Yield every key with its creation time in seconds since the epoch, unfinished writes included.

        It serves the sweep of orphans. Deleting the key of a running write makes the write fail, so choose `older_than`
        further back than the longest upload.

        Args:
            older_than: Yield only keys created before this time, in seconds since the epoch. None yields all.
        """

    def remove_unfinished(self, older_than: float) -> int:
        """Delete the parts of writes whose processes were killed, and return their number.

        A store that does it by rules of its own, or only in the sweep, returns 0.

        Args:
            older_than: Delete only writes that began before this time, in seconds since the epoch.
        """
        return 0

    @abstractmethod
    def total(self) -> tuple[int, int]:
        """Return the number of readable blobs and the sum of their bytes."""

    @property
    def backups(self) -> Backups | None:
        """Makes and restores backups, each of which is one file. None if the store has tools of its own for that."""
        return None

    @property
    def is_remote(self) -> bool:
        """Whether a call goes over a network, so that no transaction may wait for it."""
        return False

    @property
    def is_created(self) -> bool:
        """Whether the store exists. Some stores are created by the first call that needs them."""
        return True

    def check(self) -> list[str]:
        """Return what is wrong with the store itself, without a look at the blobs.

        Returns:
            For each problem one sentence that says what to do.
        """
        return []

    def free_bytes(self) -> int:
        """Return the bytes of deleted blobs that the store keeps for later ones. 0 if it gives them back by itself."""
        return 0

    def compact(self, progress: Progress) -> int:
        """Give the space of deleted blobs back, while others read and write, and return the number of bytes.

        Args:
            progress: Receives how many bytes are given back, and how many there are.
        """
        return 0

    def signed_url(self, method: Method, key: str, expires_in: timedelta) -> str | None:
        """Return a URL for one request of a client to the store itself, or None if clients must use the app.

        Args:
            method: The method of the request. PUT replaces existing bytes, so it must not be used with the key of a
                file.
            key: The key, which may be unused.
            expires_in: The time within which the request must begin. A store may have a limit of its own.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Close everything that is open. The store must not be used afterwards. Idempotent."""
