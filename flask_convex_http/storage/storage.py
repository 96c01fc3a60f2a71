"""`ctx.storage`: stored files as queries, mutations and actions see them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

from flask_convex_http.attributes import explain_missing
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.engines import Snapshot, Transaction
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.ids import Id
from flask_convex_http.log import logger_of
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.storage.blobs.streams import Data, FormFile, is_form_file
from flask_convex_http.storage.direct_uploads import DirectUpload, DirectUploads
from flask_convex_http.storage.files import PATH, Files, Site
from flask_convex_http.storage.new_files import NewFiles

logger = logger_of()

_HINTS = dict.fromkeys(
    ("store", "delete", "generate_upload_url", "generate_direct_upload", "revoke_urls"),
    "a query only reads; call it in a mutation, an action or a handler",
) | {
    "get": (
        "a query or a mutation must not wait for bytes; read the file in a handler or an action, and pass what the "
        "function needs as an argument, or give clients ctx.storage.get_url(id)"
    )
}


class StorageReader:
    """Reads stored files; `ctx.storage` of a query."""

    def __init__(self, files: Files, site: Site, snapshot: Snapshot | None) -> None:
        self._files = files
        self._site = site
        self._snapshot = snapshot

    def get_url(
        self, file_id: Id[StoredFile], /, *, expires_in: timedelta | None = None, inline: bool = False
    ) -> str | None:
        """Return a URL from which anyone who has it can read the file, or None if the file does not exist.

        Args:
            file_id: The id of the file.
            expires_in: The shortest lifetime of the URL, by default unlimited. From a minute on it is rounded up, to at
                most twice as long and at most a day longer, so that repeated calls return the same URL and browsers
                find the file in their cache. `revoke_urls` ends it sooner.
            inline: Whether a browser may also show PDF. Images, audio, video and plain text are always shown, and other
                types are always downloads.

        Raises:
            ConfigurationError: There is no request whose address could begin the URL, as in a job, and CONVEX_SITE_URL
                is not set.
        """
        file = self.get_metadata(file_id)
        if file is None:
            return None
        until = None if expires_in is None else self._files.stable_expiry(expires_in)
        return self._files.url(self._files.origin or self._site(), file, until, inline=inline)

    def get_metadata(self, file_id: Id[StoredFile], /) -> StoredFile | None:
        """Return digest, size and type of a file, or None if the file does not exist."""
        with self._view() as snapshot:
            return self._files.find(snapshot, file_id)

    def _view(self) -> AbstractContextManager[Snapshot]:
        return self._files.engine.snapshot() if self._snapshot is None else nullcontext(self._snapshot)


class _Uploads(StorageReader):
    """The upload URLs of mutations and actions."""

    def generate_upload_url(
        self,
        *,
        expires_in: timedelta = timedelta(hours=1),
        max_bytes: int | None = None,
        content_types: Sequence[str] | None = None,
        once: bool = False,
    ) -> str:
        """Return a URL that takes the bytes of a file by POST and responds with `{"storageId": ...}`.

        Args:
            expires_in: The lifetime of the URL.
            max_bytes: The maximum size of the file, by default CONVEX_MAX_UPLOAD_BYTES. The response to a larger one is
                413.
            content_types: The accepted media types, such as `["image/*", "application/pdf"]`, by default all. The
                client claims the type; the bytes are not inspected. The response to another one is 415.
            once: Whether the URL stores one file. The response to a second one is 409.

        Raises:
            ArgumentValidationError: A limit is no number of bytes, or a type is no media type.
        """
        path = f"{self._site()}{PATH}/upload"
        return self._files.upload_urls.make(path, expires_in, max_bytes, content_types, once=once)

    def generate_direct_upload(
        self,
        content_type: str | None = None,
        *,
        name: str | None = None,
        max_bytes: int | None = None,
        expires_in: timedelta = timedelta(hours=1),
    ) -> DirectUpload:
        """Return URLs for an upload in two requests, which bypasses the app if the blob store takes uploads itself.

        Args:
            content_type: The media type of the file.
            name: The name of the file.
            max_bytes: The maximum size of the file, by default CONVEX_MAX_UPLOAD_BYTES. A larger one is rejected when
                it is finished, at the latest.
            expires_in: The time within which the upload must begin, at most 7 days in S3.

        Raises:
            ArgumentValidationError: The limit is no number of bytes.
        """
        uploads = DirectUploads(self._files)
        return uploads.make(self._site(), content_type, expires_in, name=name, max_bytes=max_bytes)


class StorageWriter(_Uploads):
    """Stores, reads and deletes files; `ctx.storage` of a mutation. Files change if and when it commits.

    Args:
        files: The files of the deployment.
        site: Returns the start of absolute URLs.
        transaction: The transaction of the mutation.
        after_commit: Adds a step after the commit.
        new_files: Returns the files that the mutation stores.
        times: Assigns creation times.
    """

    def __init__(
        self,
        files: Files,
        site: Site,
        transaction: Transaction,
        after_commit: Callable[[Callable[[], None]], None],
        new_files: Callable[[Files], NewFiles],
        times: CreationTimes,
    ) -> None:
        super().__init__(files, site, transaction)
        self._transaction = transaction
        self._after_commit = after_commit
        self._new_files = new_files
        self._times = times

    def store(
        self, data: Data | FormFile, /, *, content_type: str | None = None, name: str | None = None
    ) -> Id[StoredFile]:
        """Store a file as a part of the transaction: if the mutation fails, there is neither a row nor bytes.

        The bytes are in memory until the commit. With files in S3 the mutation runs again after they were uploaded, so
        it must store the same bytes in each run: make them of arguments, documents, ids and `ctx.now`.

        Args:
            data: Bytes, a file that can seek, a list of bytes, or a file of a form such as `request.files["photo"]`.
                All files of a mutation have at most 64 MiB.
            content_type: The media type of the file, by default that of the form.
            name: The name of the file for people, by default that of the form. Folders, control characters and marks
                that change the direction of text are removed.

        Returns:
            The id of the file, which a document of the same mutation may refer to.

        Raises:
            FunctionCallError: The data can be read only once, or with files in S3 every run has stored other bytes.
            PayloadTooLargeError: The files of the mutation are larger than 64 MiB.
        """
        data, content_type, name = _form_data(data, content_type, name)
        return self._new_files(self._files).add(self._transaction, self._times, data, content_type, name)

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


class StorageActions(_Uploads):
    """Reads and writes stored files; `ctx.storage` of an action. Each call is a transaction of its own."""

    def __init__(self, files: Files, site: Site) -> None:
        super().__init__(files, site, None)

    def store(
        self, data: Data | FormFile, /, *, content_type: str | None = None, name: str | None = None
    ) -> Id[StoredFile]:
        """Store a file. It is committed when this returns.

        Args:
            data: Bytes, a file object, an iterable of bytes, or a file of a form such as `request.files["photo"]`. It
                is read in pieces, never as a whole.
            content_type: The media type of the file, by default that of the form.
            name: The name of the file for people, by default that of the form. Folders, control characters and marks
                that change the direction of text are removed.

        Returns:
            The id of the file.
        """
        data, content_type, name = _form_data(data, content_type, name)
        return self._files.store(data, content_type, name=name)

    def get(self, file_id: Id[StoredFile], /) -> io.BufferedReader | None:
        """Return the bytes of a file as a seekable file object, or None if the file does not exist.

        A handler may return it in a response, as `Response(file)` or with `flask.send_file`. The response then has a
        length, and the client may ask for a range.
        """
        file = self.get_metadata(file_id)
        return None if file is None else self._files.open(file)

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


def _form_data(
    data: Data | FormFile, content_type: str | None, name: str | None
) -> tuple[Data, str | None, str | None]:
    """Return data, media type and name. Those of a form's file are the defaults."""
    if not is_form_file(data):
        return data, content_type, name
    return data.stream, content_type or data.content_type, name or data.filename


for _kind in (StorageReader, StorageWriter, StorageActions):
    explain_missing(_kind, "ctx.storage", _HINTS)
