"""The port that every blob store implements.

What lives here is the promise and the values that cross it. How a member keeps it, and every library it needs
for that, stays in the member's own module; only errors of the package leave it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Literal, NamedTuple

from flask_convex_http.errors import EngineError

Method = Literal["GET", "HEAD", "PUT"]


class StoredBytes(NamedTuple):
    """What a finished write stored.

    Attributes:
        size: How many bytes.
        sha256: Their SHA-256, as 32 raw bytes.
    """

    size: int
    sha256: bytes


class Served(NamedTuple):
    """What a store that clients are sent to tells them about the bytes; one that has no clients does not keep it.

    Attributes:
        content_type: Their media type.
        disposition: `inline`, or `attachment` for what a browser must not show.
    """

    content_type: str
    disposition: str


class BlobExistsError(EngineError):
    """A key was written a second time."""


class BlobStore(ABC):
    """Bytes by key, streamed both ways in constant memory.

    A key is text that the store does not look into. A store may be used from several threads and processes
    at once, and after a fork. A call that cannot be answered raises `OverloadedError` when the same call may
    succeed a moment later, and `EngineError` otherwise.
    """

    @abstractmethod
    def write(self, key: str, chunks: Iterable[bytes], served: Served | None = None) -> StoredBytes:
        """Store bytes under a new key: not readable before this returns, and safe from a power cut after it.

        Args:
            key: A key under which there is nothing.
            chunks: The bytes, in pieces of any size.
            served: How they are served where clients are sent to the store; as a download if not given.

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

    def signed_url(self, method: Method, key: str, expires_in: timedelta) -> str | None:
        """A URL for one request that a client sends to the store itself; None if it is to go through the app.

        Args:
            method: What it may do. PUT stores whatever is sent, over what is there: give no key of a file.
            key: The key; whether there is anything under it is not looked at.
            expires_in: How long it may begin; a store may have a limit of its own.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of everything that is open; the store is not used afterwards. Closing twice is harmless."""
