"""The tables of API keys and access tokens."""

from __future__ import annotations

from flask_convex_http.schema.documents import Document, unique


class ApiKey(
    Document,
    table="api_keys",
    indexes={
        "by_hash": unique("hash"),
        "by_name": ["name"],
        "by_owner": ["owner"],
        "by_expiry": ["expires_at"],
        "by_revocation": ["revoked_at"],
    },
):
    """An API key. Only a keyed hash of it is stored.

    Attributes:
        name: A name for people.
        hint: The first characters of the key, to tell keys apart.
        hash: The keyed hash of the key, hexadecimal.
        scopes: The scopes it grants.
        expires_at: The expiry, None for never.
        revoked_at: The time it was revoked, None while it is valid.
        last_used_at: The time of its last use, updated about once a minute.
        owner: The subject of its identity, None for its own id.
    """

    name: str
    hint: str
    hash: str
    scopes: list[str]
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    owner: str | None = None


class AccessToken(
    Document,
    table="access_tokens",
    indexes={
        "by_hash": unique("hash"),
        "by_subject": ["subject"],
        "by_expiry": ["expires_at"],
        "by_revocation": ["revoked_at"],
    },
):
    """An opaque Bearer token of a subject. Only a keyed hash of it is stored. Fields as in `ApiKey`."""

    subject: str
    hint: str
    hash: str
    scopes: list[str]
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    name: str | None = None
