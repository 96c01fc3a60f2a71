"""The tables of stored files."""

from __future__ import annotations

from flask_convex_http.schema.documents import Document, unique


class StoredFile(Document, table="_storage"):
    """The metadata of a stored file. Its bytes are in the blob store under the same id.

    Attributes:
        sha256: The SHA-256 digest of the bytes, base64.
        size: The number of bytes.
        content_type: The media type given when it was stored.
        revision: Part of every signed URL of the file. A higher revision revokes them.
        name: The name of the file for people, without folders and without characters that mislead.
    """

    sha256: str
    size: int
    content_type: str | None = None
    revision: int = 0
    name: str | None = None


class UsedUpload(Document, table="_used_uploads", indexes={"by_nonce": unique("nonce"), "by_expiry": ["expires"]}):
    """A use of an upload URL that works once.

    Attributes:
        nonce: The nonce of the URL.
        expires: The expiry of the URL, after which the row is purged.
    """

    nonce: str
    expires: float
