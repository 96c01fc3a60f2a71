"""The port that every blob store implements.

What lives here is the promise and the values that cross it. How a member keeps it, and every library it needs
for that, stays in the member's own module; only errors of the package leave it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from flask_convex_http.errors import EngineError


class StoredBytes(NamedTuple):
    """What a finished write stored.

    Attributes:
        size: How many bytes.
        sha256: Their SHA-256, as 32 raw bytes.
    """

    size: int
    sha256: bytes


class BlobExistsError(EngineError):
    """A key was written a second time."""


class BlobStore(ABC):
    """Bytes by key, streamed both ways in constant memory.

    A key is text that the store does not look into. A store may be used from several threads and processes
    at once, and after a fork. A call that cannot be answered raises `OverloadedError` when the same call may
    succeed a moment later, and `EngineError` otherwise.
    """

    @abstractmethod
    def write(self, key: str, chunks: Iterable[bytes]) -> StoredBytes:
        """Store bytes under a new key: not readable before this returns, and safe from a power cut after it.

        Args:
            key: A key under which there is nothing.
            chunks: The bytes, in pieces of any size.

        Raises:
            BlobExistsError: The key is taken, perhaps by a write that is not finished.
            BlobNotFoundError: The key was deleted while it was written.
            Exception: Whatever `chunks` raises; nothing is readable under the key then.
        """

    @abstractmethod
    def read(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Stream the bytes from `start` up to, but not including, `stop`.

        Nothing stays locked between two pieces, however slow the caller is.

        Args:
            key: The key they were written under.
            start: The first byte, from 0; beyond the end there are none.
            stop: Where to stop; None, and anything beyond the end, is the end.

        Raises:
            BlobNotFoundError: At the call, when nothing is readable under the key; at a later piece, when the
                bytes were deleted meanwhile.
            ValueError: `start` or `stop` is negative.
        """

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether bytes are readable under the key."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the bytes under the key, finished or not; without any, do nothing."""

    @abstractmethod
    def keys(self, older_than: float | None = None) -> Iterator[tuple[str, float]]:
        """Every key with its creation time in seconds since the epoch, those of unfinished writes included.

        Meant for the sweep of bytes that no document names. A write that runs is among them, and fails when
        its key is deleted: let `older_than` lie further back than the longest upload.

        Args:
            older_than: Only keys created before this moment, in seconds since the epoch; None is all of them.
        """

    @abstractmethod
    def total(self) -> tuple[int, int]:
        """How many blobs are readable, and their bytes in all."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything that is open; the store is not used afterwards. Closing twice is harmless."""
