"""Admin keys: credentials with which operators call every function, as any user.

A key is shown once. `_settings` has its keyed hash, so that every process on the database knows it, and none could be
made from a copy of the database alone without the deployment's secret. An operator who suspects a leak revokes it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from flask_convex_http.credentials.store import is_credential, make_credential
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, Snapshot, Transaction
from flask_convex_http.errors import DocumentNotFoundError
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.index_ranges import between
from flask_convex_http.schema.system_tables import Setting
from flask_convex_http.signing import Signing

PREFIX = "admin"
_PURPOSE = "admin keys"
_ROW = "admin_key:"
_HINT = len(PREFIX) + 7


class AdminKey(msgspec.Struct, frozen=True, kw_only=True):
    """A stored admin key, without the key.

    Attributes:
        hint: The first characters of the key, by which it is revoked.
        name: A name for people.
        created: The time it was created, in milliseconds since the epoch.
        read_only: Whether it opens the dashboard for reading, and nothing else.
    """

    hint: str
    name: str
    created: float
    read_only: bool = False


class AdminKeys:
    """The admin keys of a deployment.

    Args:
        engine: The database.
        schema: Its tables.
        signing: Hashes the keys.
        clock: Returns the current time in milliseconds since the epoch.
    """

    def __init__(self, engine: Engine, schema: Schema, signing: Signing, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._table = schema.table_for(Setting)
        self._signing = signing
        self._clock = clock

    def create(self, name: str = "", *, read_only: bool = False) -> tuple[str, AdminKey]:
        """Create a key.

        Args:
            name: A name for people.
            read_only: Whether it opens the dashboard for reading, and nothing else.

        Returns:
            The key, which cannot be read again, and its description.
        """
        key = make_credential(PREFIX)
        made = AdminKey(hint=key[:_HINT], name=name, created=self._clock(), read_only=read_only)
        row = Setting(key=self._row_key(key), value=msgspec.json.encode(made).decode())
        self._engine.write(lambda write: insert(write, self._table, row, CreationTimes(made.created)))
        return key, made

    def is_valid(self, key: str) -> bool:
        """Return whether a text is a key that was not revoked, and that may call functions."""
        found = self.find(key)
        return found is not None and not found.read_only

    def find(self, key: str) -> AdminKey | None:
        """Return the key with a text, or None. Most other texts are rejected without the database."""
        if not key.isascii() or not is_credential(PREFIX, key):
            return None
        row = self._engine.lookup(self._table, {"key": self._row_key(key)})
        return None if row is None else msgspec.json.decode(self._table.read(row).value, type=AdminKey)

    def fingerprint(self, key: str) -> str:
        """Return the keyed hash of a key, by which `knows` recognises it."""
        return self._signing.digest(_PURPOSE, key)

    def knows(self, fingerprint: str) -> bool:
        """Return whether the key with a fingerprint was not revoked."""
        return self._engine.lookup(self._table, {"key": _ROW + fingerprint}) is not None

    def all(self) -> list[AdminKey]:
        """Return the keys that were not revoked, oldest first."""
        with self._engine.snapshot() as snapshot:
            found = [msgspec.json.decode(row.value, type=AdminKey) for row in self._rows(snapshot)]
        return sorted(found, key=lambda stored: stored.created)

    def revoke(self, hint: str | None) -> list[AdminKey]:
        """Revoke keys for good.

        Args:
            hint: The first characters of a key; None for all keys.

        Returns:
            The revoked keys.

        Raises:
            DocumentNotFoundError: No key begins like that.
        """
        revoked = self._engine.write(lambda write: self._delete(write, hint))
        if hint is not None and not revoked:
            raise DocumentNotFoundError(f"No admin key begins with {hint}")
        return revoked

    def _delete(self, transaction: Transaction, hint: str | None) -> list[AdminKey]:
        found = [(row.id, msgspec.json.decode(row.value, type=AdminKey)) for row in self._rows(transaction)]
        chosen = [(row_id, stored) for row_id, stored in found if hint is None or stored.hint == hint[:_HINT]]
        for row_id, _ in chosen:
            transaction.delete(self._table, row_id)
        return [stored for _, stored in chosen]

    def _rows(self, snapshot: Snapshot) -> list[Setting]:
        start: Query[Setting] = Query(snapshot, self._table, self._table.indexes["by_creation_time"])
        return start.with_index("by_key", key=between(_ROW, f"{_ROW}~")).collect()

    def _row_key(self, key: str) -> str:
        return _ROW + self.fingerprint(key)
