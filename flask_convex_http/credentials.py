"""The identity of a caller, and the built-in API keys and access tokens.

A key is a prefix, 256 random bits and a checksum. Only a keyed hash of it is stored. A slow password hash would not
make a random key safer. A text without a valid checksum is rejected without the database.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from flask_convex_http.database.db import CreationTimes, insert
from flask_convex_http.database.query import Query
from flask_convex_http.engines.base import Engine, Transaction
from flask_convex_http.errors import ConvexHTTPError, DocumentNotFoundError
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.system_tables import AccessToken, ApiKey
from flask_convex_http.signing import Signing

C = TypeVar("C", ApiKey, AccessToken)

logger = logging.getLogger("flask_convex_http")

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM = 43  # characters for 256 bits
_BODY = re.compile(r"[0-9A-Za-z]{43}[0-9a-f]{8}", re.ASCII)
#: Milliseconds between two records of the use of a key.
LAST_USED_INTERVAL = 60_000


class UserIdentity(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The identity of a caller.

    Attributes:
        subject: The caller, as the issuer names them.
        issuer: The authority that vouches for the identity.
        name: A name for people.
        email: The email address, if the issuer gives one.
        scopes: The scopes of the credential.
        claims: Further claims of the issuer.
    """

    subject: str
    issuer: str
    name: str | None = None
    email: str | None = None
    scopes: tuple[str, ...] = ()
    claims: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def token_identifier(self) -> str:
        """The identity as one text that no other issuer can produce."""
        return f"{self.issuer}|{self.subject}"


def make_credential(prefix: str) -> str:
    """Return a new key: `prefix_`, 43 random characters and 8 of checksum."""
    body = _base62(secrets.randbits(256), _RANDOM)
    return f"{prefix}_{body}{_checksum(prefix, body)}"


def is_credential(prefix: str, text: str) -> bool:
    """Return whether a text has the form of a key and a valid checksum. The key may still be unknown or revoked."""
    head, _, rest = text.partition("_")
    return head == prefix and _BODY.fullmatch(rest) is not None and _checksum(prefix, rest[:_RANDOM]) == rest[_RANDOM:]


class Credentials(Generic[C]):
    """The built-in keys of one kind.

    Args:
        document: The class of their documents.
        prefix: The start of every key.
    """

    def __init__(
        self,
        document: type[C],
        prefix: str,
        *,
        engine: Engine,
        schema: Schema,
        signing: Signing,
        clock: Callable[[], float],
    ) -> None:
        self.prefix = prefix
        self._table: Table[C] = schema.table_for(document)
        self._engine = engine
        self._signing = signing
        self._clock = clock
        self._used: dict[str, float] = {}
        self._recorded = 0.0
        self._lock = threading.Lock()

    def create(self, make: Callable[[str, str], C]) -> tuple[str, C]:
        """Create a key and store the document that `make(hint, hash)` returns.

        Returns:
            The key, which cannot be shown again, and the stored document.
        """
        key = make_credential(self.prefix)
        document = make(key[: len(self.prefix) + 5], self._hash(key))

        def work(transaction: Transaction) -> C:
            document_id = insert(transaction, self._table, document, CreationTimes(self._clock()))
            return self._table.read(_existing(transaction.get(self._table, document_id)))

        return key, self._engine.write(work)

    def verify(self, key: str) -> C | None:
        """Return the stored document of a key that is valid now, or None."""
        if not is_credential(self.prefix, key):
            return None
        row = self._engine.lookup(self._table, {"hash": self._hash(key)})
        if row is None:
            return None
        found = self._table.read(row)
        now = self._clock()
        if found.revoked_at is not None and found.revoked_at <= now:
            return None
        if found.expires_at is not None and found.expires_at <= now:
            return None
        self._used[found.id] = now  # without the lock: an entry that is lost in the swap was used a moment ago
        return found

    def all(self) -> list[C]:
        """Return all keys, the oldest first."""
        with self._engine.snapshot() as snapshot:
            return Query(snapshot, self._table, self._table.indexes["by_creation_time"]).collect()

    def change(self, document_id: str, **fields: Any) -> None:
        """Change the stored document of a key.

        Raises:
            DocumentNotFoundError: The key does not exist.
        """
        changes = {name: self._table.store(name, value) for name, value in fields.items()}
        if not self._engine.write(lambda transaction: transaction.update(self._table, document_id, changes)):
            raise DocumentNotFoundError(f"There is no {document_id}")

    def use_is_due(self) -> bool:
        """Return whether `record_use` would write now."""
        return self._clock() - self._recorded >= LAST_USED_INTERVAL

    def record_use(self) -> None:
        """Store the time of the last use of keys, at most once a minute.

        A write for each request would cost more than the request.
        """
        now = self._clock()
        with self._lock:
            if not self._used or now - self._recorded < LAST_USED_INTERVAL:
                return
            used, self._used, self._recorded = self._used, {}, now

        def work(transaction: Transaction) -> None:
            for document_id, time in list(used.items()):
                transaction.update(self._table, document_id, {"last_used_at": time})

        try:
            self._engine.write(work)
        except ConvexHTTPError as error:  # the request has its response; the next minute stores a newer time
            logger.warning("When keys were last used could not be written down: %s", error)

    def _hash(self, key: str) -> str:
        return self._signing.digest(self._table.name, key)


def _existing(row: Sequence[Any] | None) -> Sequence[Any]:
    if row is None:
        raise DocumentNotFoundError("The key was deleted while it was made")
    return row


def _checksum(prefix: str, body: str) -> str:
    return f"{zlib.crc32(f'{prefix}_{body}'.encode()):08x}"


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
