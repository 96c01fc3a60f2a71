"""The table of idempotent requests."""

from __future__ import annotations

from flask_convex_http.schema.documents import Document


class IdempotencyKey(Document, table="_idempotency_keys"):
    """The key of an idempotent request, with the response that its handler has returned.

    Its id is a part of a keyed digest of the caller and the key, by which a retry is recognised. It has no other index,
    since each one would cost a request a page more of writing.

    Attributes:
        fingerprint: A keyed digest of method, path, query string and body, which a retry must have too.
        key: The key, as the client sent it.
        identity: The caller, None for an anonymous one.
        method: The method.
        path: The path.
        request_id: The id of the request whose effects are committed.
        expires: The time after which the row is purged. A later request with the key runs again.
        status: The HTTP status of the response.
        headers: The names and values of its headers, in order.
        body: Its body.
    """

    fingerprint: str
    key: str
    identity: str | None
    method: str
    path: str
    request_id: str
    expires: float
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
