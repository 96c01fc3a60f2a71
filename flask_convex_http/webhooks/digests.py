"""Digests that stand for the id or the content of an event."""

from __future__ import annotations

import hashlib

from flask_convex_http.error_texts import plain


def digest(event_type: str, body: bytes) -> str:
    """Return the SHA-256 digest of a type and a body."""
    # A type contains no line feed, or two pairs could give the same bytes.
    return hashlib.sha256(plain(event_type).replace("\n", "\\n").encode() + b"\n" + body).hexdigest()
