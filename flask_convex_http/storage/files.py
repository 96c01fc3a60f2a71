"""Stored files: a row in `_storage`, and bytes in the blob store under the same id.

A write stores the bytes durably before the row. A delete commits without the row before it deletes the bytes. A crash
can therefore leave bytes without a row, which the sweep deletes, but never a row without bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.database.listings import Listing, list_documents
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, Snapshot, Transaction
from flask_convex_http.errors import (
    BlobNotFoundError,
    ConfigurationError,
    RequestError,
    StorageIdError,
    UnavailableError,
)
from flask_convex_http.ids import Id, new_id, table_of
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.signing import Signing
from flask_convex_http.storage.blobs.base import BlobStore, StoredBytes
from flask_convex_http.storage.blobs.streams import Data, StoredBytesReader, chunks_of
from flask_convex_http.storage.headers import served
from flask_convex_http.storage.names import clean_name
from flask_convex_http.storage.upload_urls import UploadUrls

#: Returns the start of absolute URLs. Called only when a URL is made.
Site = Callable[[], str]

#: The path of downloads and uploads.
PATH = "/api/storage"
TABLE = "_storage"
#: Seconds for which bytes without a row are kept: the upload may not have its row yet.
SWEEP_AGE = 3600.0
#: Seconds: a shorter lifetime of a URL is not rounded, and a longer one by at most this step.
_SHORTEST_ROUNDED, _LONGEST_STEP = 60, 86_400


def unknown_site() -> str:
    """Fail, because there is no request whose address could begin a URL, as in a job.

    A relative URL would be useless in a mail. The host of the request that scheduled the job is no substitute, since a
    client can forge it.

    Raises:
        ConfigurationError: Always. The message names the setting.
    """
    raise ConfigurationError(
        "The URL of a file cannot be made outside of a request, because the app does not know its own address: set "
        "CONVEX_SITE_URL to the URL at which clients reach it, such as https://example.com"
    )


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
    """The files of an application: rows, bytes and signed URLs.

    Attributes:
        engine: The database.
        schema: The tables.
        blobs: The bytes.
        signing: Signs the URLs.
        clock: Returns the time in milliseconds since the epoch.
        origin: The start of the URLs of files, or None to use each caller's.
    """

    engine: Engine
    schema: Schema
    blobs: BlobStore
    signing: Signing
    clock: Callable[[], float]
    origin: str | None = None

    @property
    def upload_urls(self) -> UploadUrls:
        """The upload URLs."""
        return UploadUrls(self.engine, self.schema, self.signing, self.clock)

    # --- bytes and rows ----------------------------------------------------------------------------------------------

    def store(
        self,
        data: Data,
        content_type: str | None,
        sha256: bytes | None = None,
        *,
        name: str | None = None,
        with_row: Callable[[Transaction], None] | None = None,
    ) -> Id[StoredFile]:
        """Store bytes and insert their row.

        Args:
            data: The bytes.
            content_type: Their media type.
            sha256: The digest they must have, if known.
            name: The name of the file, which is cleaned.
            with_row: Is called in the transaction that inserts the row.

        Returns:
            The id of the file.

        Raises:
            RequestError: The bytes have another digest. Nothing is stored.
        """
        file_id, name = new_id(TABLE, self.clock()), clean_name(name)
        written = self.blobs.write(file_id, chunks_of(data), served(file_id, content_type, name))
        try:
            if sha256 is not None and sha256 != written.sha256:
                raise RequestError("The bytes that arrived do not have the digest that was announced", 400)
            self.insert(file_id, written, content_type, name, with_row=with_row)
        except UnavailableError:  # the row may exist; if not, the sweep deletes the bytes
            raise
        except Exception:
            self.blobs.delete(file_id)
            raise
        return Id(file_id)

    def insert(
        self,
        file_id: str,
        written: StoredBytes,
        content_type: str | None,
        name: str | None,
        *,
        may_exist: bool = False,
        with_row: Callable[[Transaction], None] | None = None,
    ) -> None:
        """Insert the row of stored bytes.

        Args:
            file_id: The id of the file.
            written: Its bytes.
            content_type: Its media type.
            name: Its cleaned name.
            may_exist: Whether the row may exist, and then stays as it is.
            with_row: Is called in the same transaction.
        """
        table, times = self.schema.table_for(StoredFile), CreationTimes(self.clock())

        def work(transaction: Transaction) -> None:
            if may_exist and transaction.get(table, file_id) is not None:
                return
            self.insert_row(transaction, times, file_id, written, content_type, name)
            if with_row is not None:
                with_row(transaction)

        self.engine.write(work)

    def insert_row(
        self,
        transaction: Transaction,
        times: CreationTimes,
        file_id: str,
        written: StoredBytes,
        content_type: str | None,
        name: str | None,
    ) -> None:
        """Insert the row of a file in a transaction."""
        digest = base64.b64encode(written.sha256).decode()
        document = StoredFile(sha256=digest, size=written.size, content_type=content_type, name=name)
        insert(transaction, self.schema.table_for(StoredFile), document, times, file_id)

    def find(self, snapshot: Snapshot, file_id: str) -> StoredFile | None:
        """Return the row of a file, or None if the value is not the id of one."""
        if table_of(file_id) != TABLE:
            return None
        table = self.schema.table_for(StoredFile)
        row = snapshot.get(table, file_id)
        return None if row is None else table.read(row)

    def metadata(self, file_id: str) -> StoredFile | None:
        """Return the row of a file, in a snapshot of its own, or None."""
        with self.engine.snapshot() as snapshot:
            return self.find(snapshot, file_id)

    def open(self, file: StoredFile) -> StoredBytesReader:
        """Return the bytes of a file as a seekable file object."""
        return StoredBytesReader(self.blobs, file.id, file.size)

    def delete_row(self, transaction: Transaction, file_id: str) -> None:
        """Delete the row. The caller deletes the bytes after the commit.

        Raises:
            StorageIdError: The value is not the id of a stored file.
            BlobNotFoundError: The file does not exist.
        """
        table = self.schema.table_for(StoredFile)
        if table_of(file_id) != TABLE:
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

    def newest(self, limit: int, after: Sequence[Any] | None = None) -> Listing[StoredFile]:
        """Return a page of the files, newest first.

        Args:
            limit: The largest number of files.
            after: The place at which the previous page ended; None for the first page.
        """
        table = self.schema.table_for(StoredFile)
        with self.engine.snapshot() as snapshot:
            query: Query[StoredFile] = Query(snapshot, table, table.indexes["by_creation_time"])
            return list_documents(query.order("desc"), limit, after)

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
            is_orphan = self.metadata(key) is None
            if is_orphan:
                orphans.append(key)
            if is_orphan and not dry_run:
                self.blobs.delete(key)
            if progress is not None:
                progress(number, len(keys))
        return SweepReport(len(keys), orphans)

    # --- URLs ------------------------------------------------------------------------------------------------------

    def url(self, site: str, file: StoredFile, until: int | None, *, inline: bool = False) -> str:
        """Return a signed URL of a file.

        Args:
            site: The start of the URL.
            file: The file.
            until: The expiry in seconds since the epoch, or None for none.
            inline: Whether a browser may show a PDF.
        """
        expires = "" if until is None else str(until)
        query = f"{'inline=1&' if inline else ''}{f'expires={expires}&' if expires else ''}"
        signature = self.signing.sign("file", _signed_text(file, expires, "1" if inline else ""))
        return f"{site}{PATH}/{file.id}?{query}signature={signature}"

    def stable_expiry(self, expires_in: timedelta) -> int:
        """Return an expiry in seconds since the epoch that stays the same for a while, so that URLs can be cached.

        It is never sooner than asked. Up to a day the lifetime is rounded up to at most twice its length, and a longer
        one by at most a day. Less than a minute is not rounded.
        """
        now, seconds = self.clock() / 1000, expires_in.total_seconds()
        if seconds < _SHORTEST_ROUNDED:
            return int(now + seconds)
        step = min(int(seconds), _LONGEST_STEP)
        return (int(now + seconds) // step + 1) * step

    def url_is_valid(self, file: StoredFile, expires: str, signature: str, inline: str = "") -> bool:
        """Return whether a URL of a file has a valid signature, is not revoked and has not expired."""
        if not self.signing.verify("file", _signed_text(file, expires, inline), signature):
            return False
        return not expires or int(expires) > self.clock() / 1000


def _signed_text(file: StoredFile, expires: str, inline: str) -> str:
    # a dot in what follows cannot be mistaken for this one, since neither the id nor the number has any
    return f"{file.id}.{file.revision}.{expires}{f'.inline={inline}' if inline else ''}"
