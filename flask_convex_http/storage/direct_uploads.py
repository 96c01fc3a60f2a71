"""Direct uploads: a client sends bytes to the blob store, and one request to the app makes a file of them.

The bytes wait under a key of their own. They are read once, when the upload is finished, and exactly the bytes read
then are the file. A client that still has the URL may send other bytes there, which the sweep deletes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

import msgspec

from flask_convex_http.errors import BlobNotFoundError, PayloadTooLargeError, RequestError
from flask_convex_http.ids import Id, new_id
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.storage.blobs.base import BlobExistsError, StoredBytes
from flask_convex_http.storage.blobs.streams import Data, at_most, chunks_of
from flask_convex_http.storage.files import PATH, TABLE, Files
from flask_convex_http.storage.headers import served
from flask_convex_http.storage.media_types import sendable
from flask_convex_http.storage.names import clean_name
from flask_convex_http.storage.upload_urls import UPLOAD_SETTING, checked_limit

#: Seconds by which an upload that began in time may be finished later.
_FINISH_TIME = 3600.0
_BUSY = "Another request is sending the bytes of this upload; try again when it has ended"


class DirectUpload(msgspec.Struct, frozen=True, rename="camel"):
    """The URLs of a file in two requests, which bypass the app if the blob store takes uploads itself.

    Attributes:
        upload_url: Takes the bytes as the body of a PUT, any number of times until the upload is finished.
        finish_url: Takes a POST after that and responds with `{"storageId": ...}`, the same one if repeated.
    """

    upload_url: str
    finish_url: str


class DirectTerms(msgspec.Struct, frozen=True):
    """What a URL of a direct upload permits, as the text of its query.

    Attributes:
        expires: The expiry, in seconds since the epoch.
        type: The media type of the file.
        name: Its name.
        max_bytes: Its maximum size, or nothing for the deployment's.
    """

    expires: str = ""
    type: str = ""
    name: str = ""
    max_bytes: str = ""

    def limit(self, most: int) -> int:
        """Return the maximum number of bytes, given the deployment's."""
        return min(int(self.max_bytes), most) if self.max_bytes else most

    @property
    def limited_by(self) -> str:
        """The options and settings that may have set the limit."""
        return f"max_bytes= of the direct upload or {UPLOAD_SETTING}" if self.max_bytes else UPLOAD_SETTING

    def signed_text(self, file_id: str) -> str:
        """Return the text that is signed, with the same number of line breaks for all files."""
        return "\n".join((file_id, *msgspec.structs.astuple(self)))


@dataclass(frozen=True, slots=True)
class DirectUploads:
    """The direct uploads of a deployment.

    Attributes:
        files: The files that they become.
    """

    files: Files

    def make(
        self,
        site: str,
        content_type: str | None,
        expires_in: timedelta,
        *,
        name: str | None = None,
        max_bytes: int | None = None,
    ) -> DirectUpload:
        """Return the URLs of a new file. Nothing is stored for them."""
        files = self.files
        file_id, until = new_id(TABLE, files.clock()), int(files.clock() / 1000 + expires_in.total_seconds())
        limit, path = checked_limit(max_bytes), f"{site}{PATH}/uploads/{file_id}"
        put = DirectTerms(str(until), max_bytes=limit)
        terms = DirectTerms(str(until + int(_FINISH_TIME)), sendable(content_type) or "", clean_name(name) or "", limit)
        elsewhere = files.blobs.signed_url("PUT", _upload_key(file_id), expires_in)
        return DirectUpload(
            upload_url=elsewhere or self._url(path, "direct upload", file_id, put),
            finish_url=self._url(path, "direct finish", file_id, terms),
        )

    def is_valid(self, purpose: str, file_id: str, terms: DirectTerms, signature: str) -> bool:
        """Return whether a URL of a direct upload has a valid signature and is not expired.

        Args:
            purpose: `direct upload` or `direct finish`.
            file_id: The id of the new file.
            terms: The terms in the URL.
            signature: The signature in the URL.
        """
        is_ours = self.files.signing.verify(purpose, terms.signed_text(file_id), signature)
        return is_ours and int(terms.expires) > self.files.clock() / 1000

    def take(self, file_id: str, data: Data) -> None:
        """Store the bytes of a direct upload that the app receives, in place of earlier ones.

        A later request replaces one that has not ended, so that a client can send again after a lost connection.

        Raises:
            RequestError: The upload is finished, or another request sends its bytes (409).
        """
        files, key = self.files, _upload_key(file_id)
        if files.metadata(file_id) is not None:
            raise RequestError("This upload is finished; ask for another one", 409)
        files.blobs.delete(key)
        try:
            files.blobs.write(key, chunks_of(data))
        except (BlobExistsError, BlobNotFoundError):
            raise RequestError(_BUSY, 409) from None

    def finish(self, file_id: str, terms: DirectTerms, most: int) -> Id[StoredFile]:
        """Make a file of directly uploaded bytes. Idempotent.

        Args:
            file_id: The id of the new file.
            terms: The terms in the URL.
            most: The deployment's maximum number of bytes.

        Raises:
            PayloadTooLargeError: The upload is larger. It is deleted.
            RequestError: Nothing was uploaded, or another request is finishing it.
        """
        files, content_type, name = self.files, terms.type or None, terms.name or None
        if files.metadata(file_id) is None:
            stored = self._adopted(file_id, content_type, name, terms.limit(most))
            files.insert(file_id, stored, content_type, name, may_exist=True)
        files.blobs.delete(_upload_key(file_id))
        return Id(file_id)

    def _url(self, path: str, purpose: str, file_id: str, terms: DirectTerms) -> str:
        given = {name: value for name, value in msgspec.structs.asdict(terms).items() if value}
        signature = self.files.signing.sign(purpose, terms.signed_text(file_id))
        return f"{path}?{urlencode({**given, 'signature': signature}, safe='/')}"

    def _adopted(self, file_id: str, content_type: str | None, name: str | None, most: int) -> StoredBytes:
        """Return the bytes of an upload as those of a file, also if an earlier request was interrupted half-way."""
        upload, blobs = _upload_key(file_id), self.files.blobs
        try:
            return blobs.write(file_id, at_most(blobs.read(upload), most), served(file_id, content_type, name))
        except PayloadTooLargeError:
            blobs.delete(upload)
            raise
        except (BlobExistsError, BlobNotFoundError) as error:
            return self._measured(file_id, error)

    def _measured(self, file_id: str, error: Exception) -> StoredBytes:
        """Return size and digest of bytes that another or an interrupted request wrote before."""
        digest, size = hashlib.sha256(), 0
        try:
            for chunk in self.files.blobs.read(file_id):
                digest.update(chunk)
                size += len(chunk)
        except BlobNotFoundError:
            if isinstance(error, BlobExistsError):
                raise RequestError("This upload is being finished; ask again in a moment", 409) from None
            raise RequestError("Nothing was uploaded; PUT the bytes to the upload URL first", 409) from None
        return StoredBytes(size, digest.digest())


def _upload_key(file_id: str) -> str:
    """Return the key of a direct upload's bytes, which no id of a file equals."""
    return f"upload:{file_id}"
