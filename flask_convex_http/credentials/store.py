"""The built-in API keys and access tokens.

A key is a prefix, 256 random bits and a checksum. Only a keyed hash of it is stored. A slow password hash would not
make a random key safer. A text without a valid checksum is rejected without the database.
"""

from __future__ import annotations

import re
import secrets
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.database.listings import Listing, list_documents
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, Snapshot, Transaction
from flask_convex_http.errors import ConvexHTTPError, DocumentNotFoundError
from flask_convex_http.log import logger_of
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.index_ranges import between
from flask_convex_http.schema.system_tables import AccessToken, ApiKey
from flask_convex_http.signing import Signing

C = TypeVar("C", ApiKey, AccessToken)

logger = logger_of()

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM = 43  # characters for 256 bits
_BODY = re.compile(r"[0-9A-Za-z]{43}[0-9a-f]{8}", re.ASCII)
#: Milliseconds between two records of the use of a key.
LAST_USED_INTERVAL = 60_000
#: Milliseconds that a key is still listed after it has expired or was revoked. The worker's cleanup deletes it then.
RETENTION = 30 * 86_400_000
#: Keys that are kept in memory.
_MOST_KNOWN = 1000


def without_hash(stored: ApiKey | AccessToken) -> dict[str, Any]:
    """Return a stored document as a JSON value, without the hash of its key."""
    fields: dict[str, Any] = msgspec.to_builtins(stored)
    return {name: value for name, value in fields.items() if name != "hash"}


def make_credential(prefix: str) -> str:
    """Return a new key: `prefix_`, 43 random characters and 8 of checksum."""
    body = _base62(secrets.randbits(256), _RANDOM)
    return f"{prefix}_{body}{_checksum(prefix, body)}"


def is_credential(prefix: str, text: str) -> bool:
    """Return whether a text has the form of a key and a valid checksum. The key may still be unknown or revoked."""
    head, _, rest = text.partition("_")
    return head == prefix and _BODY.fullmatch(rest) is not None and _checksum(prefix, rest[:_RANDOM]) == rest[_RANDOM:]


class Credentials(Generic[C]):
    """The built-in API keys, or the access tokens. "Key" stands for both here.

    Args:
        document: The class of their documents.
        prefix: The start of every key.
        engine: The database.
        schema: Its tables.
        signing: Hashes the keys.
        clock: Returns the current time in milliseconds since the epoch.
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
        self._document: Callable[..., C] = document
        self._table: Table[C] = schema.table_for(document)
        self._engine = engine
        self._signing = signing
        self._clock = clock
        self._used: dict[str, float] = {}
        self._recorded = 0.0
        #: The version of the database at which a document was read, and the document, by the hash of the key.
        self._known: dict[str, tuple[object, C]] = {}
        self._lock = threading.Lock()

    def create(self, *, scopes: Sequence[str] = (), expires_at: float | None = None, **fields: Any) -> tuple[str, C]:
        """Create a key and store its hash.

        Args:
            scopes: What the key may be used for.
            expires_at: When it expires, in milliseconds since the epoch; None for never.
            fields: The other fields of the stored document: `name` of an API key, `subject` of an access token.

        Returns:
            The key, which cannot be read again, and the stored document.
        """
        return self._engine.write(
            lambda transaction: self.create_in(transaction, self._times(), list(scopes), expires_at, fields)
        )

    def create_in(
        self,
        transaction: Transaction,
        times: CreationTimes,
        scopes: list[str],
        expires_at: float | None,
        fields: Mapping[str, Any],
    ) -> tuple[str, C]:
        """Create a key in a transaction; see `create`."""
        key, secret_fields = self._generate()
        document = self._document(scopes=scopes, expires_at=expires_at, **fields, **secret_fields)
        return key, self._insert(transaction, document, times)

    def rotate(self, document_id: str, *, old_expires_at: float, expires_at: float | None) -> tuple[str, C, C]:
        """Create a key with the owner and the scopes of another one, which expires soon.

        Args:
            document_id: The id of the old key.
            old_expires_at: When the old key expires at the latest, in milliseconds since the epoch.
            expires_at: When the new key expires; None for never.

        Returns:
            The new key, which cannot be read again, and the stored documents of the new and the old key.

        Raises:
            DocumentNotFoundError: There is no such key.
        """
        return self._engine.write(
            lambda transaction: self.rotate_in(
                transaction, self._times(), self.get_in(transaction, document_id), old_expires_at, expires_at
            )
        )

    def rotate_in(
        self, transaction: Transaction, times: CreationTimes, old: C, old_expires_at: float, expires_at: float | None
    ) -> tuple[str, C, C]:
        """Rotate a key in a transaction; see `rotate`."""
        key, secret_fields = self._generate()
        changes: dict[str, Any] = {"id": UNSET, "creation_time": UNSET, "last_used_at": None, "expires_at": expires_at}
        new = msgspec.structs.replace(old, **changes, **secret_fields)  # type: ignore[type-var]  # see `Document`
        end = old_expires_at if old.expires_at is None else min(old_expires_at, old.expires_at)
        transaction.update(self._table, old.id, {"expires_at": end})
        return key, self._insert(transaction, new, times), self.get_in(transaction, old.id)

    def revoke(self, document_id: str) -> C:
        """Revoke a key for good. A key that was revoked before keeps the time of the first revocation.

        Returns:
            The stored document.

        Raises:
            DocumentNotFoundError: There is no such key.
        """
        return self._engine.write(lambda transaction: self.revoke_in(transaction, document_id, self._clock()))

    def revoke_in(self, transaction: Transaction, document_id: str, now: float) -> C:
        """Revoke a key in a transaction; see `revoke`."""
        if self.get_in(transaction, document_id).revoked_at is None:
            transaction.update(self._table, document_id, {"revoked_at": now})
        return self.get_in(transaction, document_id)

    def status(self, stored: C) -> Literal["valid", "expired", "revoked"]:
        """Return whether a key is valid now."""
        return _status(stored, self._clock())

    def verify(self, key: str) -> C | None:
        """Return the stored document of a key that is valid now, or None."""
        if not is_credential(self.prefix, key):
            return None
        found = self._find(self._hash(key))
        if found is None:
            return None
        now = self._clock()
        if _status(found, now) != "valid":
            return None
        self._used[found.id] = now  # without the lock: a use that is lost in a swap was a moment ago
        return found

    def _find(self, digest: str) -> C | None:
        """Return the stored document of a key, from memory if nothing was committed since it was read."""
        version = self._engine.version()
        known = self._known.get(digest)
        if known is not None and version is not None and known[0] == version:
            return known[1]
        row = self._engine.lookup(self._table, {"hash": digest})
        if row is None:
            return None
        found = self._table.read(row)
        if version is not None:  # of before the read, so that a commit in between counts
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[digest] = (version, found)
        return found

    def all(self, owner: str | None = None) -> list[C]:
        """Return the stored documents of all keys, or of an owner's, oldest first."""
        with self._engine.snapshot() as snapshot:
            return self.stored_in(snapshot, owner)

    def stored_in(self, snapshot: Snapshot, owner: str | None = None) -> list[C]:
        """Return the stored documents of all keys, or of an owner's, oldest first."""
        return self._of_owner(snapshot, owner).collect()

    def newest(self, limit: int, after: Sequence[Any] | None = None, *, owner: str | None = None) -> Listing[C]:
        """Return a page of the stored documents, newest first.

        Args:
            limit: The largest number of documents.
            after: The place at which the previous page of this list ended; None for the first page.
            owner: Only those of this owner.
        """
        with self._engine.snapshot() as snapshot:
            return list_documents(self._of_owner(snapshot, owner).order("desc"), limit, after)

    def _of_owner(self, snapshot: Snapshot, owner: str | None) -> Query[C]:
        query: Query[C] = Query(snapshot, self._table, self._table.indexes["by_creation_time"])
        if owner is None:
            return query
        index, field = ("by_owner", "owner") if "by_owner" in self._table.indexes else ("by_subject", "subject")
        return query.with_index(index, **{field: owner})

    def purge(self, transaction: Transaction, now: float, limit: int) -> int:
        """Delete keys that ended before the retention, at most `limit`, and return their number."""
        ended = between(0.0, now - RETENTION)  # from 0, since a key that never ends has None, which comes first
        start: Query[C] = Query(transaction, self._table, self._table.indexes["by_creation_time"])
        expired: list[C] = start.with_index("by_expiry", expires_at=ended).take(limit)
        revoked: list[C] = start.with_index("by_revocation", revoked_at=ended).take(limit)
        ids = list(dict.fromkeys(stored.id for stored in (*expired, *revoked)))[:limit]
        for document_id in ids:
            transaction.delete(self._table, document_id)
        return len(ids)

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
            logger.warning("The times of the last use of keys could not be stored: %s", error)

    def _generate(self) -> tuple[str, dict[str, str]]:
        """Return a new key, and the fields of its document that are derived from it."""
        key = make_credential(self.prefix)
        return key, {"hint": key[: len(self.prefix) + 5], "hash": self._hash(key)}

    def _hash(self, key: str) -> str:
        return self._signing.digest(self._table.name, key)

    def _times(self) -> CreationTimes:
        return CreationTimes(self._clock())

    def _insert(self, transaction: Transaction, document: C, times: CreationTimes) -> C:
        return self.get_in(transaction, insert(transaction, self._table, document, times))

    def find(self, document_id: str) -> C | None:
        """Return the stored document with an id, or None."""
        with self._engine.snapshot() as snapshot:
            row = snapshot.get(self._table, document_id)
        return None if row is None else self._table.read(row)

    def get_in(self, snapshot: Snapshot, document_id: str) -> C:
        """Return the stored document with an id.

        Raises:
            DocumentNotFoundError: There is no such key.
        """
        row = snapshot.get(self._table, document_id)
        if row is None:
            raise DocumentNotFoundError(f"There is no {document_id}")
        return self._table.read(row)


def _status(stored: ApiKey | AccessToken, now: float) -> Literal["valid", "expired", "revoked"]:
    if stored.revoked_at is not None and stored.revoked_at <= now:
        return "revoked"
    return "expired" if stored.expires_at is not None and stored.expires_at <= now else "valid"


def _checksum(prefix: str, body: str) -> str:
    return f"{zlib.crc32(f'{prefix}_{body}'.encode()):08x}"


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
