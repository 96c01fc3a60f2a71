"""Cursors of paginated queries: sealed positions, which clients can neither read nor change.

A position has the values of an index, which may be secret. It is encrypted, and authenticated together with the query
that it belongs to. The construction is SIV (RFC 5297) with hashes of the standard library: the tag is a keyed BLAKE2b
of the query and the position, and the position is masked with SHAKE-256 of a second key and the tag. It needs no random
nonce, so a query returns the same cursor for the same position.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

import msgspec

from flask_convex_http.errors import InvalidCursorError
from flask_convex_http.signing import Signing

_TAG_BYTES = 16


class PageCursors:
    """Seals and opens the cursors of a deployment.

    Args:
        signing: Derives the keys from the deployment's secret.
    """

    def __init__(self, signing: Signing) -> None:
        self._signing = signing

    def seal(self, query: bytes, position: list[Any] | None) -> str:
        """Return the cursor of a position.

        Args:
            query: The query that alone accepts the cursor.
            position: A row's values of the columns that the query is ordered by, or None for its start.
        """
        text = msgspec.msgpack.encode(position)
        tag = self._tag(query, text)
        return base64.urlsafe_b64encode(tag + self._masked(tag, text)).decode().rstrip("=")

    def open(self, query: bytes, cursor: str) -> list[Any] | None:
        """Return the position of a cursor.

        Raises:
            InvalidCursorError: The cursor was not made for this query with the deployment's secret.
        """
        try:
            sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise InvalidCursorError("The cursor is not one that paginate() has returned") from None
        tag = sealed[:_TAG_BYTES]
        text = self._masked(tag, sealed[_TAG_BYTES:])
        if not hmac.compare_digest(tag, self._tag(query, text)):
            raise InvalidCursorError(
                "The cursor was changed, or belongs to another query, an older version of the query or another secret; "
                "start again with cursor=None"
            )
        position: list[Any] | None = msgspec.msgpack.decode(text)
        return position

    def _tag(self, query: bytes, text: bytes) -> bytes:
        key = self._signing.key("cursor tags")
        return hashlib.blake2b(len(query).to_bytes(8) + query + text, key=key, digest_size=_TAG_BYTES).digest()

    def _masked(self, tag: bytes, text: bytes) -> bytes:
        mask = hashlib.shake_256(self._signing.key("cursor contents") + tag).digest(len(text))
        return (int.from_bytes(text) ^ int.from_bytes(mask)).to_bytes(len(text))
