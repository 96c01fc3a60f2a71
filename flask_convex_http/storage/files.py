"""Stored files: a row in `_storage`, and bytes in the blob store under the same id.

A write stores the bytes durably before the row. A delete commits without the row before it deletes the bytes. A crash
can therefore leave bytes without a row, which the sweep deletes, but never a row without bytes.

A direct upload waits under a key of its own. It is read once, when it is finished, and exactly the bytes read then are
the file. A client that still has the URL may send other bytes there, which the sweep deletes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote

import msgspec

from flask_convex_http.database.db import CreationTimes, insert
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, Snapshot, Transaction
from flask_convex_http.errors import (
    BlobNotFoundError,
    PayloadTooLargeError,
    RequestError,
    StorageIdError,
    UnavailableError,
)
from flask_convex_http.ids import Id, new_id, table_of
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.signing import Signing
from flask_convex_http.storage.blobs.base import BlobExistsError, BlobStore, Served, StoredBytes
from flask_convex_http.storage.blobs.streams import CHUNK, BlobReader, Data, at_most, chunks_of
from flask_convex_http.storage.media_types import UNKNOWN, is_inline, sendable

#: Returns the start of absolute URLs. Called only when a URL is made.
Site = Callable[[], str]

logger = logging.getLogger("flask_convex_http")

#: The path of downloads and uploads.
PATH = "/api/storage"
_TABLE = "_storage"
#: Seconds for which bytes without a row are kept: the upload may not have its row yet.
SWEEP_AGE = 3600.0
#: Seconds by which an upload that began in time may be finished later.
_FINISH_TIME = 3600.0


class DirectUpload(msgspec.Struct, frozen=True, rename="camel"):
    """The URLs of a file in two requests, which bypass the app if the blob store takes uploads itself.

    Attributes:
        upload_url: Takes the bytes as the body of a PUT, any number of times until the upload is finished.
        finish_url: Takes a POST after that and responds with `{"storageId": ...}`, the same one if repeated.
    """

    upload_url: str
    finish_url: str


@dataclass(frozen=True, slots=True)
class SweepReport:
    """The result of a sweep.

    Attributes:
        checked: How many blobs were checked.
        orphans: The keys of the blobs without a row.
    """

    checked: int
    orphans: list[str]


@dataclass(frozen=True, slots=True)
class Files:
    """The files of an application: rows, bytes and signed URLs."""

    engine: Engine
    schema: Schema
    blobs: BlobStore
    signing: Signing
    clock: Callable[[], float]

    # --- bytes and rows ----------------------------------------------------------------------------------------------

    def store(self, data: Data, content_type: str | None, sha256: bytes | None = None) -> Id[StoredFile]:
        """Store bytes and insert their row.

        Args:
            data: The bytes.
            content_type: Their media type.
            sha256: The digest they must have, if known.

        Returns:
            The id of the file.

        Raises:
            RequestError: The bytes have another digest. Nothing is stored.
        """
        file_id = new_id(_TABLE, self.clock())
        written = self.blobs.write(file_id, chunks_of(data), served(file_id, content_type))
        try:
            if sha256 is not None and sha256 != written.sha256:
                raise RequestError("The bytes that arrived do not have the digest that was announced", 400)
            self._insert(file_id, written, content_type)
        except UnavailableError:  # the row may exist; if not, the sweep deletes the bytes
            raise
        except Exception:
            self.blobs.delete(file_id)
            raise
        return Id(file_id)

    def _insert(self, file_id: str, written: StoredBytes, content_type: str | None, *, again: bool = False) -> None:
        """Insert the row. With `again` the row may exist."""
        digest = base64.b64encode(written.sha256).decode()
        document = StoredFile(sha256=digest, size=written.size, content_type=content_type)
        table = self.schema.table_for(StoredFile)
        times = CreationTimes(self.clock())

        def work(transaction: Transaction) -> None:
            if not again or transaction.get(table, file_id) is None:
                insert(transaction, table, document, times, file_id)

        self.engine.write(work)

    def find(self, snapshot: Snapshot, file_id: str) -> StoredFile | None:
        """Return the row of a file, or None if the value is not the id of one."""
        if table_of(file_id) != _TABLE:
            return None
        table = self.schema.table_for(StoredFile)
        row = snapshot.get(table, file_id)
        return None if row is None else table.read(row)

    def metadata(self, file_id: str) -> StoredFile | None:
        """Return the row of a file, in a snapshot of its own, or None."""
        with self.engine.snapshot() as snapshot:
            return self.find(snapshot, file_id)

    def open(self, file: StoredFile) -> io.BufferedReader:
        """Return the bytes of a file as a seekable file object."""
        return io.BufferedReader(BlobReader(self.blobs, file.id, file.size), CHUNK)

    def delete_row(self, transaction: Transaction, file_id: str) -> None:
        """Delete the row. The caller deletes the bytes after the commit.

        Raises:
            StorageIdError: The value is not the id of a stored file.
            BlobNotFoundError: The file does not exist.
        """
        table = self.schema.table_for(StoredFile)
        if table_of(file_id) != _TABLE:
            raise StorageIdError("Expected the id of a stored file, as store() returns it")
        if not transaction.delete(table, file_id):
            raise BlobNotFoundError(f"There is no stored file {file_id}")

    def revoke_urls(self, transaction: Transaction, file_id: str) -> None:
        """Invalidate all URLs of a file.

        Raises:
            BlobNotFoundError: The file does not exist.
        """
        file = self.find(transaction, file_id)
        if file is None:
            raise BlobNotFoundError("There is no such stored file")
        transaction.update(self.schema.table_for(StoredFile), file_id, {"revision": file.revision + 1})

    def list_files(self) -> list[StoredFile]:
        """Return the rows of all files, oldest first."""
        table = self.schema.table_for(StoredFile)
        with self.engine.snapshot() as snapshot:
            return Query(snapshot, table, table.indexes["by_creation_time"]).collect()

    def sweep(
        self,
        *,
        older_than: float = SWEEP_AGE,
        dry_run: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> SweepReport:
        """Delete the blobs that have no row.

        Args:
            older_than: Leave blobs alone that were written less than this many seconds ago.
            dry_run: Only find them.
            progress: Receives how many blobs were checked, and how many there are.

        Raises:
            MigrationRequiredError: The database has no tables. Its files cannot be told from orphans then.
        """
        with self.engine.snapshot():
            pass
        limit = self.clock() / 1000 - older_than
        keys = [key for key, _ in self.blobs.keys(older_than=limit)]
        orphans = []
        for number, key in enumerate(keys, 1):
            if self.metadata(key) is None:
                orphans.append(key)
                if not dry_run:
                    self.blobs.delete(key)
            if progress is not None:
                progress(number, len(keys))
        return SweepReport(len(keys), orphans)

    # --- direct uploads ----------------------------------------------------------------------------------------------

    def direct_upload(self, site: str, content_type: str | None, expires_in: timedelta) -> DirectUpload:
        """Return the URLs of a new file. Nothing is stored for them."""
        file_id, media_type = new_id(_TABLE, self.clock()), sendable(content_type) or ""
        until = int(self.clock() / 1000 + expires_in.total_seconds())
        path = f"{site}{PATH}/uploads/{file_id}"
        signature = self._sign_direct("direct upload", file_id, str(until))
        upload = self.blobs.signed_url("PUT", _upload_key(file_id), expires_in)
        expires = str(until + int(_FINISH_TIME))
        query = f"expires={expires}&type={quote(media_type)}"
        return DirectUpload(
            upload_url=upload or f"{path}?expires={until}&signature={signature}",
            finish_url=f"{path}?{query}&signature={self._sign_direct('direct finish', file_id, expires, media_type)}",
        )

    def direct_is_valid(self, purpose: str, file_id: str, expires: str, signature: str, media_type: str = "") -> bool:
        """Return whether a URL of a direct upload has a valid signature and is not expired."""
        is_ours = self.signing.verify(purpose, _direct_text(file_id, expires, media_type), signature)
        return is_ours and int(expires) > self.clock() / 1000

    def take_upload(self, file_id: str, data: Data) -> None:
        """Store the bytes of a direct upload that the app receives, in place of earlier ones.

        Raises:
            RequestError: The upload is finished.
        """
        if self.metadata(file_id) is not None:
            raise RequestError("This upload is finished; ask for another one", 409)
        self.blobs.delete(_upload_key(file_id))
        self.blobs.write(_upload_key(file_id), chunks_of(data))

    def finish_upload(self, file_id: str, content_type: str | None, most: int) -> Id[StoredFile]:
        """Make a file of directly uploaded bytes. Idempotent.

        Args:
            file_id: The id of the new file.
            content_type: Its media type.
            most: The maximum number of bytes.

        Raises:
            PayloadTooLargeError: The upload is larger. It is deleted.
            RequestError: Nothing was uploaded, or another request is finishing it.
        """
        if self.metadata(file_id) is None:
            self._insert(file_id, self._adopted(file_id, content_type, most), content_type, again=True)
        self.blobs.delete(_upload_key(file_id))
        return Id(file_id)

    def _adopted(self, file_id: str, content_type: str | None, most: int) -> StoredBytes:
        """Return the bytes of an upload as those of a file, also if an earlier request was interrupted half-way."""
        upload = _upload_key(file_id)
        try:
            chunks = at_most(self.blobs.read(upload), most)
            return self.blobs.write(file_id, chunks, served(file_id, content_type))
        except PayloadTooLargeError:
            self.blobs.delete(upload)
            raise
        except (BlobExistsError, BlobNotFoundError) as error:
            return self._measured(file_id, error)

    def _measured(self, file_id: str, error: Exception) -> StoredBytes:
        """Return size and digest of bytes that another or an interrupted request wrote before."""
        digest, size = hashlib.sha256(), 0
        try:
            for chunk in self.blobs.read(file_id):
                digest.update(chunk)
                size += len(chunk)
        except BlobNotFoundError:
            if isinstance(error, BlobExistsError):
                raise RequestError("This upload is being finished; ask again in a moment", 409) from None
            raise RequestError("Nothing was uploaded; PUT the bytes to the upload URL first", 409) from None
        return StoredBytes(size, digest.digest())

    def _sign_direct(self, purpose: str, file_id: str, expires: str, media_type: str = "") -> str:
        return self.signing.sign(purpose, _direct_text(file_id, expires, media_type))

    # --- URLs ------------------------------------------------------------------------------------------------------

    def url(self, site: str, file: StoredFile, expires_in: timedelta | None) -> str:
        """Return a signed URL of a file."""
        expires = "" if expires_in is None else str(int(self.clock() / 1000 + expires_in.total_seconds()))
        signature = self.signing.sign("file", f"{file.id}.{file.revision}.{expires}")
        return f"{site}{PATH}/{file.id}?{f'expires={expires}&' if expires else ''}signature={signature}"

    def url_is_valid(self, file: StoredFile, expires: str, signature: str) -> bool:
        """Return whether a URL of a file has a valid signature, is not revoked and has not expired."""
        if not self.signing.verify("file", f"{file.id}.{file.revision}.{expires}", signature):
            return False
        return not expires or int(expires) > self.clock() / 1000

    def upload_url(self, site: str, expires_in: timedelta) -> str:
        """Return a signed URL that takes the bytes of a file by POST."""
        expires = str(int(self.clock() / 1000 + expires_in.total_seconds()))
        return f"{site}{PATH}/upload?expires={expires}&signature={self.signing.sign('upload', expires)}"

    def upload_is_valid(self, expires: str, signature: str) -> bool:
        """Return whether an upload URL has a valid signature and has not expired."""
        return self.signing.verify("upload", expires, signature) and int(expires) > self.clock() / 1000


def served(file_id: str, content_type: str | None) -> Served:
    """Return the headers of a file. A file that a browser could run is always a download."""
    media_type = sendable(content_type) or UNKNOWN
    return Served(media_type, "inline" if is_inline(media_type) else f"attachment; filename={quote(file_id)}")


def _upload_key(file_id: str) -> str:
    """Return the key of a direct upload's bytes, which no id of a file equals."""
    return f"upload:{file_id}"


def _direct_text(*parts: str) -> str:
    return "\n".join(parts)  # contained in none of the parts, so that the parts of a signed text are unambiguous
