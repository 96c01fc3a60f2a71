"""Upload URLs: signed permissions to store one file by a POST, with limits of their own.

Everything that a URL permits is in its query and signed. A URL for one use is recorded in the transaction that stores
the file. The record is kept until the URL has expired.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn
from urllib.parse import urlencode

import msgspec

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, Transaction
from flask_convex_http.errors import ArgumentValidationError, RequestError, UniqueConstraintError
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.index_ranges import lte
from flask_convex_http.schema.system_tables import UsedUpload
from flask_convex_http.signing import Signing
from flask_convex_http.storage.media_types import is_pattern, matches

#: The setting of the deployment's limit.
UPLOAD_SETTING = "CONVEX_MAX_UPLOAD_BYTES"
_PURPOSE = "upload"
_NONCE_BYTES = 12


class UploadTerms(msgspec.Struct, frozen=True):
    """The permission of an upload URL, as the text of its query.

    Attributes:
        expires: The expiry, in seconds since the epoch.
        nonce: A random text, so that no two URLs are equal.
        max_bytes: The maximum size of the file, or nothing for the deployment's.
        types: The accepted media types, or nothing for all.
        once: "1" if the URL works once.
    """

    expires: str = ""
    nonce: str = ""
    max_bytes: str = ""
    types: str = ""
    once: str = ""

    def limit(self, most: int) -> int:
        """Return the maximum number of bytes, given the deployment's."""
        return min(int(self.max_bytes), most) if self.max_bytes else most

    @property
    def limited_by(self) -> str:
        """The options and settings that may have set the limit."""
        return f"max_bytes= of the upload URL or {UPLOAD_SETTING}" if self.max_bytes else UPLOAD_SETTING

    def check_type(self, media_type: str | None) -> None:
        """Check the media type of an upload.

        Raises:
            RequestError: The URL does not accept it (415).
        """
        if self.types and not matches(media_type, self.types.split(",")):
            raise RequestError(f"This upload URL takes {self.types.replace(',', ', ')}", 415)

    @property
    def text(self) -> str:
        """The text that is signed. Each text has the same number of line breaks, so that its parts are unambiguous."""
        return "\n".join(msgspec.structs.astuple(self))


@dataclass(frozen=True, slots=True)
class UploadUrls:
    """The upload URLs of a deployment.

    Attributes:
        engine: The database.
        schema: The tables.
        signing: Signs the URLs.
        clock: Returns the time in milliseconds since the epoch.
    """

    engine: Engine
    schema: Schema
    signing: Signing
    clock: Callable[[], float]

    def make(
        self,
        path: str,
        expires_in: timedelta,
        max_bytes: int | None = None,
        content_types: Sequence[str] | None = None,
        *,
        once: bool = False,
    ) -> str:
        """Return a new upload URL.

        Args:
            path: The URL without a query.
            expires_in: Its lifetime.
            max_bytes: The maximum size of the file.
            content_types: The accepted media types, such as `image/*`.
            once: Whether it works once.

        Raises:
            ArgumentValidationError: A limit is no number of bytes, or a type is no media type.
        """
        terms = UploadTerms(
            expires=str(int(self.clock() / 1000 + expires_in.total_seconds())),
            nonce=secrets.token_urlsafe(_NONCE_BYTES),
            max_bytes=checked_limit(max_bytes),
            types=_checked_types(content_types),
            once="1" if once else "",
        )
        given = {name: value for name, value in msgspec.structs.asdict(terms).items() if value}
        return f"{path}?{urlencode({**given, 'signature': self.signing.sign(_PURPOSE, terms.text)}, safe='*/,')}"

    def read(self, query: Mapping[str, str]) -> UploadTerms | None:
        """Return the permission in the query of an upload URL, or None if it is not signed or has expired."""
        terms = UploadTerms(*(query.get(name, "") for name in UploadTerms.__struct_fields__))
        if not self.signing.verify(_PURPOSE, terms.text, query.get("signature", "")):
            return None
        return terms if int(terms.expires) > self.clock() / 1000 else None

    def check_unused(self, terms: UploadTerms) -> None:
        """Check that a URL for one use was not used. The check is repeated when the file is stored.

        Raises:
            RequestError: It was used (409).
        """
        if terms.once and self.engine.lookup(self.schema.table_for(UsedUpload), {"nonce": terms.nonce}) is not None:
            _refuse_used()

    def use(self, transaction: Transaction, terms: UploadTerms) -> None:
        """Record the use of a URL for one use, in the transaction that stores the file.

        Raises:
            RequestError: It was used (409).
        """
        if not terms.once:
            return
        row = UsedUpload(nonce=terms.nonce, expires=float(terms.expires) * 1000)
        try:
            insert(transaction, self.schema.table_for(UsedUpload), row, CreationTimes(self.clock()))
        except UniqueConstraintError:
            _refuse_used()

    def purge(self, transaction: Transaction, now: float, most: int) -> int:
        """Delete the records of URLs that have expired, at most `most`, and return how many were deleted."""
        table = self.schema.table_for(UsedUpload)
        query = Query(transaction, table, table.indexes["by_creation_time"])
        expired = query.with_index("by_expiry", expires=lte(now)).take(most)
        for row in expired:
            transaction.delete(table, row.id)
        return len(expired)


def checked_limit(max_bytes: int | None) -> str:
    """Return a limit as the text of a query.

    Raises:
        ArgumentValidationError: It is no number of bytes.
    """
    if max_bytes is None:
        return ""
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 0:
        raise ArgumentValidationError(f"max_bytes={max_bytes!r} must be a number of bytes, such as 10 * 2**20")
    return str(max_bytes)


def _checked_types(content_types: Sequence[str] | None) -> str:
    if content_types is None:
        return ""
    if isinstance(content_types, str) or not content_types:
        raise ArgumentValidationError(f'content_types={content_types!r} must be a list, such as ["image/*"]')
    for pattern in content_types:
        if not isinstance(pattern, str) or not is_pattern(pattern):
            raise ArgumentValidationError(f"content_types: {pattern!r} is no media type; write image/png or image/*")
    return ",".join(content_types)


def _refuse_used() -> NoReturn:
    raise RequestError("This upload URL was used; ask for another one", 409)
