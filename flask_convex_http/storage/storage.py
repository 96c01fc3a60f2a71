"""`ctx.storage`: stored files as queries, mutations and actions see them."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

from flask_convex_http.engines import Snapshot, Transaction
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.ids import Id
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.storage.blobs.streams import Data
from flask_convex_http.storage.files import DirectUpload, Files, Site

logger = logging.getLogger("flask_convex_http")


class StorageReader:
    """Reads stored files; `ctx.storage` of a query."""

    def __init__(self, files: Files, site: Site, snapshot: Snapshot | None) -> None:
        self._files = files
        self._site = site
        self._snapshot = snapshot

    def get_url(self, file_id: Id[StoredFile], /, *, expires_in: timedelta | None = None) -> str | None:
        """Return a URL from which anyone who has it can read the file, or None if the file does not exist.

        Args:
            file_id: The id of the file.
            expires_in: The lifetime of the URL, by default unlimited. `revoke_urls` ends it sooner.
        """
        file = self.get_metadata(file_id)
        return None if file is None else self._files.url(self._site(), file, expires_in)

    def get_metadata(self, file_id: Id[StoredFile], /) -> StoredFile | None:
        """Return digest, size and type of a file, or None if the file does not exist."""
        with self._view() as snapshot:
            return self._files.find(snapshot, file_id)

    def _view(self) -> AbstractContextManager[Snapshot]:
        return self._files.engine.snapshot() if self._snapshot is None else nullcontext(self._snapshot)


class StorageWriter(StorageReader):
    """Reads and deletes stored files; `ctx.storage` of a mutation. Deletions happen if and when it commits."""

    def __init__(
        self, files: Files, site: Site, transaction: Transaction, after_commit: Callable[[Callable[[], None]], None]
    ) -> None:
        super().__init__(files, site, transaction)
        self._transaction = transaction
        self._after_commit = after_commit

    def generate_upload_url(self, *, expires_in: timedelta = timedelta(hours=1)) -> str:
        """Return a URL that takes the bytes of a file by POST and responds with `{"storageId": ...}`.

        Args:
            expires_in: The lifetime of the URL.
        """
        return self._files.upload_url(self._site(), expires_in)

    def generate_direct_upload(
        self, content_type: str | None = None, *, expires_in: timedelta = timedelta(hours=1)
    ) -> DirectUpload:
        """Return URLs for an upload in two requests, which bypasses the app if the blob store takes uploads itself.

        Args:
            content_type: The media type of the file.
            expires_in: The time within which the upload must begin, at most 7 days in S3.
        """
        return self._files.direct_upload(self._site(), content_type, expires_in)

    def delete(self, file_id: Id[StoredFile], /) -> None:
        """Delete a file.

        Raises:
            BlobNotFoundError: The file does not exist.
        """
        self._files.delete_row(self._transaction, file_id)
        self._after_commit(lambda: self._files.blobs.delete(file_id))

    def revoke_urls(self, file_id: Id[StoredFile], /) -> None:
        """Invalidate all URLs of a file."""
        self._files.revoke_urls(self._transaction, file_id)


class StorageActions(StorageReader):
    """Reads and writes stored files; `ctx.storage` of an action. Each call is a transaction of its own."""

    def __init__(self, files: Files, site: Site) -> None:
        super().__init__(files, site, None)

    def store(self, data: Data, /, *, content_type: str | None = None) -> Id[StoredFile]:
        """Store a file. It is committed when this returns.

        Args:
            data: Bytes, a file object, or an iterable of bytes. It is read in pieces, never as a whole.
            content_type: The media type of the file.

        Returns:
            The id of the file.
        """
        return self._files.store(data, content_type)

    def get(self, file_id: Id[StoredFile], /) -> io.BufferedReader | None:
        """Return the bytes of a file as a file object, or None if the file does not exist."""
        file = self.get_metadata(file_id)
        return None if file is None else self._files.open(file)

    def generate_upload_url(self, *, expires_in: timedelta = timedelta(hours=1)) -> str:
        """Return a URL that takes the bytes of a file by POST and responds with `{"storageId": ...}`.

        Args:
            expires_in: The lifetime of the URL.
        """
        return self._files.upload_url(self._site(), expires_in)

    def generate_direct_upload(
        self, content_type: str | None = None, *, expires_in: timedelta = timedelta(hours=1)
    ) -> DirectUpload:
        """Return URLs for an upload in two requests, which bypasses the app if the blob store takes uploads itself.

        Args:
            content_type: The media type of the file.
            expires_in: The time within which the upload must begin, at most 7 days in S3.
        """
        return self._files.direct_upload(self._site(), content_type, expires_in)

    def delete(self, file_id: Id[StoredFile], /) -> None:
        """Delete a file.

        Raises:
            BlobNotFoundError: The file does not exist.
        """
        self._files.engine.write(lambda transaction: self._files.delete_row(transaction, file_id))
        try:
            self._files.blobs.delete(file_id)
        except ConvexHTTPError as error:  # the file is deleted all the same
            logger.warning("The bytes of %s could not be removed, and are left to the sweep: %s", file_id, error)

    def revoke_urls(self, file_id: Id[StoredFile], /) -> None:
        """Invalidate all URLs of a file."""
        self._files.engine.write(lambda transaction: self._files.revoke_urls(transaction, file_id))
