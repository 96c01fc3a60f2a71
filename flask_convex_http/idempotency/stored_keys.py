"""The rows of idempotency keys, each with its response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, Row, Snapshot, Transaction
from flask_convex_http.idempotency.keyed_request import KeyedRequest
from flask_convex_http.ids import new_id
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, Schema, Table
from flask_convex_http.schema.index_ranges import lte
from flask_convex_http.schema.system_tables import IdempotencyKey, StoredResponse


@dataclass(slots=True)
class StoredKeys:
    """The idempotency keys of an application.

    Attributes:
        schema: The tables.
    """

    schema: Schema
    table: Table[IdempotencyKey] = field(init=False)
    _columns: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.table = self.schema.table_for(IdempotencyKey)
        self._columns = (ID_COLUMN, TIME_COLUMN, *self.table.columns)

    def lookup(self, engine: Engine, request: KeyedRequest) -> IdempotencyKey | None:
        """Return the row of a request's key, or None, read outside a transaction. It may have expired."""
        return self._read(engine.lookup(self.table, {"digest": request.digest}))

    def find_again(self, transaction: Transaction, request: KeyedRequest) -> IdempotencyKey | None:
        """Return the row of a key that `lookup` did not find, or None; see `Transaction.lookup_again`."""
        return self._read(transaction.lookup_again(self.table, {"digest": request.digest}))

    def find(self, transaction: Transaction, request: KeyedRequest) -> IdempotencyKey | None:
        """Return the row of a key, or None, inside a transaction."""
        return self._start(transaction).with_index("by_digest", digest=request.digest).unique()

    def add(
        self,
        transaction: Transaction,
        times: CreationTimes,
        now: float,
        request: KeyedRequest,
        response: StoredResponse,
    ) -> None:
        """Insert the row of a key.

        Raises:
            UniqueConstraintError: The key has a row.
        """
        time = times.take()
        values = {  # as a stored row, since validating it takes longer than writing it
            ID_COLUMN: new_id(self.table.name, time),
            TIME_COLUMN: time,
            "digest": request.digest,
            "fingerprint": request.fingerprint,
            "key": request.key,
            "identity": request.identity,
            "method": request.method,
            "path": request.path,
            "request_id": request.request_id,
            "expires": now + request.keep,
            "status": response.status,
            "headers": msgspec.json.encode(response.headers).decode(),
            "body": response.body,
        }
        transaction.insert(self.table, [values[name] for name in self._columns])

    def delete(self, transaction: Transaction, rows: Sequence[IdempotencyKey]) -> int:
        """Delete rows, and return how many existed."""
        return sum(transaction.delete(self.table, row.id) for row in rows)

    def purge(self, transaction: Transaction, now: float, limit: int) -> int:
        """Delete expired rows, at most `limit`, and return their number."""
        return self.delete(transaction, self._start(transaction).with_index("by_expiry", expires=lte(now)).take(limit))

    def newest(self, snapshot: Snapshot) -> Query[IdempotencyKey]:
        """Return the rows, newest first."""
        return self._start(snapshot).order("desc")

    def _read(self, row: Row | None) -> IdempotencyKey | None:
        return None if row is None else self.table.read(row)

    def _start(self, snapshot: Snapshot) -> Query[IdempotencyKey]:
        return Query(snapshot, self.table, self.table.indexes["by_creation_time"])
