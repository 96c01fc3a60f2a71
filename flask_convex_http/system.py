"""The tables the package itself needs; they are documents like any other.

`_storage` can be read by applications through `ctx.db.system`; the others cannot be reached from functions.
"""

from __future__ import annotations

from flask_convex_http.schema import Document, unique


class StoredFile(Document, table="_storage"):
    """What is known of a stored file; its bytes are in the blob store under the same id.

    Attributes:
        sha256: The digest of the bytes, base64.
        size: Their number.
        content_type: The type given when it was stored.
        revision: Signed URLs carry it; raising it revokes them.
    """

    sha256: str
    size: int
    content_type: str | None = None
    revision: int = 0


class ApiKey(Document, table="api_keys", indexes={"by_hash": unique("hash"), "by_name": ["name"]}):
    """An API key; only a keyed hash of it is kept.

    Attributes:
        name: Whose key it is, for people.
        hint: The first characters of the key, to tell keys apart.
        hash: The keyed hash of the key, hexadecimal.
        scopes: What it may be used for.
        expires_at: Milliseconds since the epoch, None for never.
        revoked_at: Milliseconds since the epoch, None while it is valid.
        last_used_at: Milliseconds since the epoch, brought up to date about once a minute.
    """

    name: str
    hint: str
    hash: str
    scopes: list[str]
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None


class AccessToken(Document, table="access_tokens", indexes={"by_hash": unique("hash"), "by_subject": ["subject"]}):
    """An opaque Bearer token for a subject; only a keyed hash of it is kept. Times as in `ApiKey`."""

    subject: str
    hint: str
    hash: str
    scopes: list[str]
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None


class Setting(Document, table="_settings", indexes={"by_key": unique("key")}):
    """Something the deployment must remember, such as the shape of its tables or its secret."""

    key: str
    value: str


#: Tables that applications may read through `ctx.db.system`.
READABLE: tuple[type[Document], ...] = (StoredFile,)
DOCUMENTS: tuple[type[Document], ...] = (StoredFile, ApiKey, AccessToken, Setting)
