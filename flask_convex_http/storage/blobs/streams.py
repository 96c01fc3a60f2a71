"""Streams of blobs: pieces of anything that can be stored, and a file object to read a blob."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from flask_convex_http.errors import PayloadTooLargeError
from flask_convex_http.storage.blobs.base import BlobStore

if TYPE_CHECKING:
    from typing_extensions import TypeIs

#: Data that can be stored.
Data = bytes | bytearray | memoryview | IO[bytes] | Iterable[bytes]
CHUNK = 256 * 1024


class FormFile(Protocol):
    """A file of a form, as Werkzeug's `FileStorage`, with the name and the type that the client claims."""

    stream: IO[bytes]
    filename: str | None

    @property
    def content_type(self) -> str | None:
        """The media type of the file."""


def is_form_file(data: Data | FormFile) -> TypeIs[FormFile]:
    """Return whether data is a file of a form."""
    return all(hasattr(data, name) for name in ("stream", "filename", "content_type"))


def chunks_of(data: Data) -> Iterator[bytes]:
    """Yield bytes, a file or an iterable in pieces."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        view = memoryview(data).cast("B")
        return (bytes(view[start : start + CHUNK]) for start in range(0, len(view), CHUNK))
    if isinstance(data, str):
        raise TypeError("store() takes bytes, a binary file or an iterable of bytes; encode() the text first")
    if hasattr(data, "read"):
        return _pieces_of(cast(IO[bytes], data))
    return (bytes(chunk) for chunk in cast(Iterable[Any], data))


def _pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    while (piece := file.read(CHUNK)) != b"":
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise TypeError(f"store() takes a binary file; read() of this one returns {type(piece).__name__}")
        yield piece


def at_most(chunks: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Yield the same pieces, and raise `PayloadTooLargeError` if they are too many bytes in all."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise PayloadTooLargeError(f"The file is larger than the {most:,} bytes that may be uploaded")
        yield chunk


class StoredBytesReader(io.BufferedReader):
    """The bytes of a stored file, as a seekable file object.

    Attributes:
        size: The number of bytes.
    """

    def __init__(self, blobs: BlobStore, key: str, size: int) -> None:
        super().__init__(_BlobReader(blobs, key, size), CHUNK)
        self.size = size
        self._blobs, self._key = blobs, key

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `start` up to, but not including, `stop`, regardless of the position."""
        return self._blobs.read(self._key, start, stop)


class _BlobReader(io.RawIOBase):
    """A blob as a raw file, for `io.BufferedReader`."""

    def __init__(self, blobs: BlobStore, key: str, size: int) -> None:
        self._blobs, self._key, self._size = blobs, key, size
        self._position = 0
        self._chunks: Iterator[bytes] | None = None
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = min(max(origin + offset, 0), self._size)
        self._chunks, self._rest = None, memoryview(b"")
        return self._position

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        if self._chunks is None:
            self._chunks = self._blobs.read(self._key, self._position)
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._position += count
        return count
