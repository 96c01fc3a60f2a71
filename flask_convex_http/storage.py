"""`ctx.storage`: files, as a row in `_storage` and bytes in the blob store under the same id.

The bytes come first and are durable before the row is; the row goes first and the bytes after the commit. So a crash
can leave bytes without a row, which the sweep removes, but never a row without bytes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, Any, cast

from flask_convex_http.blobs.base import BlobStore, StoredBytes
from flask_convex_http.database import CreationTimes, insert
from flask_convex_http.engines.base import Engine, Snapshot, Transaction
from flask_convex_http.errors import BlobNotFoundError, RequestError, StorageIdError
from flask_convex_http.ids import Id, new_id, table_of
from flask_convex_http.schema import Schema
from flask_convex_http.signing import Signing
from flask_convex_http.system import StoredFile

#: Answers what URLs start with; asked only when a URL is made.
Site = Callable[[], str]
Data = bytes | bytearray | memoryview | IO[bytes] | Iterable[bytes]

#: Where the edge serves files and takes uploads.
PATH = "/api/storage"
_TABLE = "_storage"
_CHUNK = 256 * 1024
#: Bytes without a row are left alone this long (seconds): an upload may still be on its way to its row.
SWEEP_AGE = 3600.0


@dataclass(frozen=True, slots=True)
class Files:
    """Where files are kept and how their URLs are signed; one for an application."""

    engine: Engine
    schema: Schema
    blobs: BlobStore
    signing: Signing
    clock: Callable[[], float]

    # --- bytes and rows ----------------------------------------------------------------------------------------------

    def store(self, data: Data, content_type: str | None, sha256: bytes | None = None) -> Id[StoredFile]:
        """Keep bytes and make their row.

        Args:
            data: The bytes.
            content_type: Their media type.
            sha256: The digest they must have, if it is known.

        Raises:
            RequestError: They have another digest; nothing is kept.
        """
        file_id = new_id(_TABLE, self.clock())
        written = self.blobs.write(file_id, chunks_of(data))
        try:
            if sha256 is not None and sha256 != written.sha256:
                raise RequestError("The bytes that arrived do not have the digest that was announced", 400)
            self._insert(file_id, written, content_type)
        except Exception:
            self.blobs.delete(file_id)
            raise
        return Id(file_id)

    def _insert(self, file_id: str, written: StoredBytes, content_type: str | None) -> None:
        digest = base64.b64encode(written.sha256).decode()
        document = StoredFile(sha256=digest, size=written.size, content_type=content_type)
        table = self.schema.table_for(StoredFile)
        times = CreationTimes(self.clock())
        self.engine.write(lambda transaction: insert(transaction, table, document, times, file_id))

    def find(self, snapshot: Snapshot, file_id: str) -> StoredFile | None:
        """The row of a file; None if the value is no id of one."""
        if table_of(file_id) != _TABLE:
            return None
        table = self.schema.table_for(StoredFile)
        row = snapshot.get(table, file_id)
        return None if row is None else table.read(row)

    def metadata(self, file_id: str) -> StoredFile | None:
        """The row of a file, in a snapshot of its own."""
        with self.engine.read() as snapshot:
            return self.find(snapshot, file_id)

    def open(self, file: StoredFile) -> io.BufferedReader:
        """The bytes of a file, to read from and seek in."""
        return io.BufferedReader(_BlobReader(self.blobs, file.id, file.size), _CHUNK)

    def delete_row(self, transaction: Transaction, file_id: str) -> None:
        """Remove the row; the bytes go after the commit."""
        table = self.schema.table_for(StoredFile)
        if table_of(file_id) != _TABLE:
            raise StorageIdError("Expected the id of a stored file, as store() answers it")
        if not transaction.delete(table, file_id):
            raise BlobNotFoundError(f"There is no stored file {file_id}")

    def revoke_urls(self, transaction: Transaction, file_id: str) -> None:
        """Make every URL of a file given out so far invalid."""
        file = self.find(transaction, file_id)
        if file is None:
            raise BlobNotFoundError("There is no such stored file")
        transaction.update(self.schema.table_for(StoredFile), file_id, {"revision": file.revision + 1})

    def sweep(self, *, older_than: float = SWEEP_AGE) -> Iterator[tuple[str, bool]]:
        """Remove bytes that have no row; answers each key looked at and whether it was removed.

        Args:
            older_than: Leave bytes alone that were written less than this many seconds ago.
        """
        limit = self.clock() / 1000 - older_than
        for key, _ in list(self.blobs.keys(older_than=limit)):
            orphan = self.metadata(key) is None
            if orphan:
                self.blobs.delete(key)
            yield key, orphan

    # --- URLs ------------------------------------------------------------------------------------------------------

    def url(self, site: str, file: StoredFile, expires_in: timedelta | None) -> str:
        """A signed URL of a file."""
        expires = "" if expires_in is None else str(int(self.clock() / 1000 + expires_in.total_seconds()))
        signature = self.signing.sign("file", f"{file.id}.{file.revision}.{expires}")
        return f"{site}{PATH}/{file.id}?{f'expires={expires}&' if expires else ''}signature={signature}"

    def url_is_valid(self, file: StoredFile, expires: str, signature: str) -> bool:
        """Whether a URL of a file was given out here, is not revoked and has not expired."""
        if not self.signing.verify("file", f"{file.id}.{file.revision}.{expires}", signature):
            return False
        return not expires or int(expires) > self.clock() / 1000

    def upload_url(self, site: str, expires_in: timedelta) -> str:
        """A signed URL that takes a POST."""
        expires = str(int(self.clock() / 1000 + expires_in.total_seconds()))
        return f"{site}{PATH}/upload?expires={expires}&signature={self.signing.sign('upload', expires)}"

    def upload_is_valid(self, expires: str, signature: str) -> bool:
        """Whether an upload URL was given out here and has not expired."""
        return self.signing.verify("upload", expires, signature) and int(expires) > self.clock() / 1000


class StorageReader:
    """Files as a query sees them."""

    def __init__(self, files: Files, site: Site, snapshot: Snapshot | None) -> None:
        self._files = files
        self._site = site
        self._snapshot = snapshot

    def get_url(self, file_id: Id[StoredFile], /, *, expires_in: timedelta | None = None) -> str | None:
        """A URL that anyone who has it can read the file from, or None if there is no such file.

        Args:
            expires_in: How long it is valid; for ever if not given. `revoke_urls` ends it sooner.
        """
        file = self.get_metadata(file_id)
        return None if file is None else self._files.url(self._site(), file, expires_in)

    def get_metadata(self, file_id: Id[StoredFile], /) -> StoredFile | None:
        """Digest, size and type of a file, or None if there is no such file."""
        with self._view() as snapshot:
            return self._files.find(snapshot, file_id)

    def _view(self) -> AbstractContextManager[Snapshot]:
        return self._files.engine.read() if self._snapshot is None else nullcontext(self._snapshot)


class StorageWriter(StorageReader):
    """Files as a mutation sees them: what it deletes is gone if and when it commits."""

    def __init__(
        self, files: Files, site: Site, transaction: Transaction, after_commit: Callable[[Callable[[], None]], None]
    ) -> None:
        super().__init__(files, site, transaction)
        self._transaction = transaction
        self._after_commit = after_commit

    def generate_upload_url(self, *, expires_in: timedelta = timedelta(hours=1)) -> str:
        """A URL that takes the bytes of a file by POST and answers `{"storageId": ...}`."""
        return self._files.upload_url(self._site(), expires_in)

    def delete(self, file_id: Id[StoredFile], /) -> None:
        """Delete a file.

        Raises:
            BlobNotFoundError: There is no such file.
        """
        self._files.delete_row(self._transaction, file_id)
        self._after_commit(lambda: self._files.blobs.delete(file_id))

    def revoke_urls(self, file_id: Id[StoredFile], /) -> None:
        """Make every URL of the file given out so far invalid."""
        self._files.revoke_urls(self._transaction, file_id)


class StorageActions(StorageReader):
    """Files as an action sees them: each call is a transaction of its own."""

    def __init__(self, files: Files, site: Site) -> None:
        super().__init__(files, site, None)

    def store(self, data: Data, /, *, content_type: str | None = None) -> Id[StoredFile]:
        """Keep bytes; they are durable when this returns.

        Args:
            data: Bytes, a file to read from, or an iterable of bytes; read in pieces, never as a whole.
            content_type: The media type the file is served with.
        """
        return self._files.store(data, content_type)

    def get(self, file_id: Id[StoredFile], /) -> io.BufferedReader | None:
        """The bytes of a file as a file to read from, or None if there is no such file."""
        file = self.get_metadata(file_id)
        return None if file is None else self._files.open(file)

    def generate_upload_url(self, *, expires_in: timedelta = timedelta(hours=1)) -> str:
        """A URL that takes the bytes of a file by POST and answers `{"storageId": ...}`."""
        return self._files.upload_url(self._site(), expires_in)

    def delete(self, file_id: Id[StoredFile], /) -> None:
        """Delete a file.

        Raises:
            BlobNotFoundError: There is no such file.
        """
        self._files.engine.write(lambda transaction: self._files.delete_row(transaction, file_id))
        self._files.blobs.delete(file_id)

    def revoke_urls(self, file_id: Id[StoredFile], /) -> None:
        """Make every URL of the file given out so far invalid."""
        self._files.engine.write(lambda transaction: self._files.revoke_urls(transaction, file_id))


def chunks_of(data: Data) -> Iterator[bytes]:
    """Bytes, a file or an iterable as pieces."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        view = memoryview(data).cast("B")
        return (bytes(view[start : start + _CHUNK]) for start in range(0, len(view), _CHUNK))
    if isinstance(data, str):
        raise TypeError("store() takes bytes, a binary file or an iterable of bytes; encode() the text first")
    if hasattr(data, "read"):
        return iter(lambda: cast(IO[bytes], data).read(_CHUNK), b"")
    return (bytes(chunk) for chunk in cast(Iterable[Any], data))


class _BlobReader(io.RawIOBase):
    """A blob as a raw file; `io.BufferedReader` does the rest."""

    def __init__(self, blobs: BlobStore, key: str, size: int) -> None:
        self._blobs, self._key, self._size = blobs, key, size
        self._position = 0
        self._chunks: Iterator[bytes] | None = None
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = min(max(origin + offset, 0), self._size)
        self._chunks, self._rest = None, memoryview(b"")
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._chunks is None:
            self._chunks = self._blobs.read(self._key, self._position)
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._position += count
        return count
