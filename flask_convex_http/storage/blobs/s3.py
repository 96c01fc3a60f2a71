"""Blobs as objects in an S3 bucket, through obstore.

Rules of this module:

* An object is `<prefix>/files/<key>`, and nothing else, so that clients can be redirected to it and any tool can copy
  it.
* A small blob is one conditional PUT. A larger one is a multipart upload after a claim, which is an empty, marked
  object under the same key. The claim excludes other writers and is listed by `keys()`. The last request of the upload
  replaces it with the whole blob.
* A read is several requests for the same version. A slow caller holds no connection and never gets pieces of two
  versions.

Promises of the port that S3 cannot keep:

* A small blob (up to `small` bytes) is not listed during its write, and a second writer of the key fails only at the
  end.
* A claim is checked just before the last request. A blob that is deleted between the two exists again, without a row,
  and the next sweep deletes it.
* A killed process leaves the parts that it has sent, which are invisible but cost money. Give the bucket a lifecycle
  rule that aborts incomplete multipart uploads (AbortIncompleteMultipartUpload).
* A process that was forked after any S3 store was used cannot use one. The parent can.

The store must support conditional PUTs (`If-None-Match: *`), as AWS, Ceph, MinIO and R2 do. In a bucket with
versioning a deleted blob still takes space.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import chain
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from flask_convex_http.errors import BlobNotFoundError, ConvexHTTPError, EngineError
from flask_convex_http.storage.blobs.base import BlobExistsError, BlobStore, Method, Served, StoredBytes
from flask_convex_http.storage.blobs.s3_client import Bucket, is_beyond_the_end, is_missing, is_taken

MIB = 2**20
#: Blobs up to this size are held in memory and sent in one request; larger ones are sent in parts.
SMALL = 4 * MIB
#: The size of a part. A blob has at most 10,000 parts, and a write holds three of them in memory.
PART = 8 * MIB
_PARTS_AT_ONCE = 2
#: The first request of a read is small, so that the first bytes arrive soon. The next ones grow.
_FIRST_READ = 256 * 1024
_LARGEST_READ = 4 * MIB
_PIECE = 256 * 1024
_FOLDER = "files"
_LISTED = 1000
#: The longest lifetime of a URL that S3 signs.
_LONGEST = timedelta(days=7)

#: Metadata keys: the random id of the write that made an object, and the mark of a claim.
_WRITER = "convex-writer"
_CLAIM = "convex-claim"
_DOWNLOAD = Served("application/octet-stream", "attachment")


class _UnknownKeyError(EngineError):
    """A key cannot be the name of an object, so nothing is stored under it."""


class _Fetched(NamedTuple):
    data: memoryview
    #: The size of the whole blob, in bytes.
    size: int
    version: str | None


class S3Blobs(BlobStore):
    """A blob store in a bucket. It opens nothing before the first call. Credentials come from the environment.

    Args:
        url: `s3://bucket/prefix`. The sweep deletes all other objects below the prefix, such as those of another app.
        redirects: Whether clients may be redirected to the store.
        small: The maximum size of a blob that is written in one request, in bytes.
        part: The size of a part of a larger blob, in bytes. S3 requires at least 5 MiB.
    """

    def __init__(self, url: str, *, redirects: bool = True, small: int = SMALL, part: int = PART) -> None:
        self._bucket = Bucket(url)
        self._redirects = redirects
        self._small = small
        self._part = part
        self._is_closed = False

    @property
    def is_remote(self) -> bool:
        """See `BlobStore`."""
        return True

    def write(self, key: str, chunks: Iterable[bytes], served: Served | None = None) -> StoredBytes:
        """See `BlobStore`."""
        attributes = _attributes(served or _DOWNLOAD)
        source, held = iter(chunks), bytearray()
        for chunk in source:
            held += memoryview(chunk)
            if len(held) > self._small:
                return self._write_large(key, chain([held], source), attributes)
        self._create(key, bytes(held), attributes)
        return StoredBytes(len(held), hashlib.sha256(held).digest())

    def read(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See `BlobStore`."""
        if start < 0 or (stop is not None and stop < 0):
            raise ValueError(f"read({key!r}, start={start}, stop={stop}): count bytes from 0, not from the end")
        first = self._fetch(key, start, _end(start, _FIRST_READ, stop))
        if first is None:
            raise BlobNotFoundError(f"There are no bytes under {key!r}")
        return self._stream(key, first, start, first.size if stop is None else min(stop, first.size))

    def exists(self, key: str) -> bool:
        """See `BlobStore`."""
        return self._fetch(key, 0, 1) is not None

    def delete(self, key: str) -> None:
        """See `BlobStore`."""
        with suppress(_UnknownKeyError, FileNotFoundError):
            path = _path(key)
            with self._bucket.translated(is_missing):
                obstore.delete(self._store(), path)

    def keys(self, older_than: float | None = None) -> Iterator[tuple[str, float]]:
        """See `BlobStore`."""
        for found in self._objects():
            created = found["last_modified"].timestamp()
            if older_than is None or created < older_than:
                yield _key(found["path"]), created

    def total(self) -> tuple[int, int]:
        """See `BlobStore`."""
        count = size = 0
        for found in self._objects():
            # A listing does not show which objects are claims, but a claim is empty.
            if found["size"] or self.exists(_key(found["path"])):
                count, size = count + 1, size + found["size"]
        return count, size

    def signed_url(self, method: Method, key: str, expires_in: timedelta) -> str | None:
        """See `BlobStore`."""
        if not self._redirects:
            return None
        with self._bucket.translated():
            return obstore.sign(self._store(), method, _path(key), min(expires_in, _LONGEST))

    def close(self) -> None:
        """See `BlobStore`."""
        self._is_closed = True
        self._bucket.close()

    # --- writing --------------------------------------------------------------------------------------------

    def _create(self, key: str, data: bytes, attributes: dict[str, str]) -> None:
        """Create an object.

        Raises:
            BlobExistsError: The key has an object of another write.
        """
        store, path = self._store(), _path(key)
        try:
            with self._bucket.translated(is_taken):
                obstore.put(store, path, data, mode="create", attributes=attributes, use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            if self._writer(key) != attributes[_WRITER]:  # else a retried request found its own object
                raise BlobExistsError(
                    f"{key!r} was written before: bytes do not change, write new ones under a new key"
                ) from None

    def _write_large(self, key: str, chunks: Iterator[Any], attributes: dict[str, str]) -> StoredBytes:
        self._create(key, b"", {**attributes, _CLAIM: "1"})
        try:
            return self._fill(key, chunks, attributes)
        except BaseException:
            # A failed deletion leaves the claim: it is not readable, and the sweep deletes it.
            with suppress(ConvexHTTPError):
                if self._writer(key) == attributes[_WRITER]:
                    self.delete(key)
            raise

    def _fill(self, key: str, chunks: Iterator[Any], attributes: dict[str, str]) -> StoredBytes:
        digest, size = hashlib.sha256(), 0
        writer: Any = obstore.open_writer(
            self._store(), _path(key), attributes=attributes, buffer_size=self._part, max_concurrency=_PARTS_AT_ONCE
        )
        try:
            for chunk in chunks:
                piece = bytes(memoryview(chunk))  # obstore keeps it, and the caller may reuse its buffer
                digest.update(piece)
                size += len(piece)
                self._send(writer, piece)
            if self._writer(key) != attributes[_WRITER]:
                raise BlobNotFoundError(f"{key!r} was deleted while it was written")
        except BaseException:
            with suppress(Exception):  # the original error is the one to raise
                writer.__exit__(*sys.exc_info())
            raise
        self._complete(key, writer, size)
        return StoredBytes(size, digest.digest())

    def _send(self, writer: Any, piece: bytes) -> None:
        with self._bucket.translated():
            writer.write(piece)

    def _complete(self, key: str, writer: Any, size: int) -> None:
        try:
            with self._bucket.translated():
                writer.close()
        except Exception:
            # The write succeeded if only the response was lost.
            found = self._fetch(key, 0, 1)
            if found is None or found.size != size:
                raise

    def _writer(self, key: str) -> str | None:
        """Return the id of the write that made the object or claim under a key, or None if there is none."""
        return (self._metadata(key) or {}).get(_WRITER)

    # --- reading --------------------------------------------------------------------------------------------

    def _fetch(self, key: str, start: int, stop: int, version: str | None = None) -> _Fetched | None:
        """Return the bytes from `start` to `stop` or the end, or None if nothing is readable under the key.

        With a version, return None if the object has another version.
        """
        if stop <= start:
            return self._fetch_nothing(key)
        options: Any = {"range": (start, stop), **({} if version is None else {"if_match": version})}
        try:
            path = _path(key)
            with self._bucket.translated(is_missing, is_taken, is_beyond_the_end):
                answer = obstore.get(self._store(), path, options=options)
                return _Fetched(memoryview(answer.bytes()), answer.meta["size"], answer.meta["e_tag"])
        except (_UnknownKeyError, FileNotFoundError, PreconditionError):
            return None
        except BaseError:
            return self._fetch_nothing(key)

    def _fetch_nothing(self, key: str) -> _Fetched | None:
        metadata = self._metadata(key)
        return None if metadata is None or _CLAIM in metadata else _Fetched(memoryview(b""), 0, None)

    def _metadata(self, key: str) -> dict[str, str] | None:
        """Return the metadata of an object, or None if there is none."""
        try:
            path = _path(key)
            with self._bucket.translated(is_missing):
                return dict(obstore.get(self._store(), path, options={"head": True}).attributes)
        except (_UnknownKeyError, FileNotFoundError):
            return None

    def _stream(self, key: str, piece: _Fetched, start: int, stop: int) -> Iterator[bytes]:
        window = _FIRST_READ
        while True:
            yield from (bytes(piece.data[at : at + _PIECE]) for at in range(0, len(piece.data), _PIECE))
            start += len(piece.data)
            if start >= stop:
                return
            window = min(2 * window, _LARGEST_READ)
            found = self._fetch(key, start, _end(start, window, stop), piece.version)
            if found is None or not found.data:
                raise BlobNotFoundError(f"The bytes under {key!r} were deleted while they were read")
            piece = found

    def _objects(self) -> Iterator[Any]:
        pages = iter(obstore.list(self._store(), _FOLDER, chunk_size=_LISTED))
        while True:
            with self._bucket.translated():
                page = next(pages, None)
            if page is None:
                return
            yield from page

    def _store(self) -> Any:
        if self._is_closed:
            raise EngineError(f"The store of files in {self._bucket.name!r} was closed: make a new one to use it again")
        return self._bucket.store()


def _attributes(served: Served) -> dict[str, str]:
    return {
        "Content-Type": served.content_type,
        "Content-Disposition": served.disposition,
        # Bytes do not change, but the app decides about access for each request.
        "Cache-Control": "private, max-age=86400, immutable",
        _WRITER: secrets.token_hex(16),
    }


def _path(key: str) -> str:
    """Return the name of the object with a key. Dots and slashes are escaped, since S3 treats them as folders."""
    try:
        return f"{_FOLDER}/{quote(key, safe='').replace('.', '%2E').replace('%', '!')}"
    except UnicodeEncodeError:
        raise _UnknownKeyError(f"{key!r} has half a surrogate pair: nothing can be under that") from None


def _key(path: str) -> str:
    return unquote(path.removeprefix(f"{_FOLDER}/").replace("!", "%"))


def _end(start: int, count: int, stop: int | None) -> int:
    return start + count if stop is None else min(start + count, stop)
