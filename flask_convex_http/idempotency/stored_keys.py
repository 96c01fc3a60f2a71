"""The rows of idempotency keys, each with its response."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.engines import Engine, Row, Transaction
from flask_convex_http.idempotency.keyed_request import KeyedRequest
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, Schema, Table
from flask_convex_http.schema.index_ranges import Bound, Segment
from flask_convex_http.schema.system_tables import IdempotencyKey, StoredResponse

ALL = Segment(())
#: The bytes from which on a response is written at once, so that a group of commits never has many of them in memory.
_LARGE = 250_000


def expired_by(now: float) -> Segment:
    """Return the rows that have expired by a time."""
    return Segment((), column="expires", upper=Bound(now, True))


def with_key(key: str) -> Segment:
    """Return the rows of a key of all callers."""
    return Segment(("key",), (("key", key),))


@dataclass(slots=True)
class StoredKeys:
    """The idempotency keys of an application.

    Attributes:
        schema: The tables.
    """

    schema: Schema
    table: Table[IdempotencyKey] = field(init=False)

    def __post_init__(self) -> None:
        self.table = self.schema.table_for(IdempotencyKey)

    def lookup(self, engine: Engine, request: KeyedRequest) -> IdempotencyKey | None:
        """Return the row of a request's key, or None, read outside a transaction. It may have expired."""
        return self._read(engine.lookup(self.table, {ID_COLUMN: request.row_id}))

    def find_again(
        self, transaction: Transaction, request: KeyedRequest, others: Callable[[], Sequence[str]]
    ) -> IdempotencyKey | None:
        """Return the row of a key that `lookup` did not find, or None; see `Transaction.get_again`."""
        return self._read(transaction.get_again(self.table, request.row_id, others))

    def find(self, transaction: Transaction, request: KeyedRequest) -> IdempotencyKey | None:
        """Return the row of a key, or None, inside a transaction."""
        return self._read(transaction.get(self.table, request.row_id))

    def add(
        self,
        transaction: Transaction,
        times: CreationTimes,
        now: float,
        request: KeyedRequest,
        response: StoredResponse,
    ) -> None:
        """Insert the row of a key.

        Args:
            transaction: The transaction.
            times: Assigns the creation time of the row.
            now: The time of the transaction.
            request: The request with the key.
            response: The response to it.

        Raises:
            UniqueConstraintError: The key has a row.
        """
        headers = msgspec.json.encode(response.headers).decode()
        row = (  # a stored row, since validating a document takes longer than writing it
            request.row_id,
            times.take(),
            request.fingerprint,
            request.key,
            request.identity,
            request.method,
            request.path,
            request.request_id,
            now + request.keep,
            response.status,
            headers,
            response.body,
        )
        if len(headers) + len(response.body) <= _LARGE:
            transaction.insert_late(self.table, row)
        else:
            transaction.insert(self.table, row)

    def newest(self, engine: Engine, key: str | None, limit: int) -> list[IdempotencyKey]:
        """Return rows, newest first, after a look at all of them.

        Args:
            engine: The database.
            key: Only those of this key, None for all.
            limit: The maximum number to return.
        """
        equal = () if key is None else (("key", key),)
        segment = Segment((*[name for name, _ in equal], TIME_COLUMN, ID_COLUMN), equal)
        with engine.snapshot() as snapshot:
            rows = snapshot.select(self.table, segment, descending=True, limit=limit)
        return [self.table.read(row) for row in rows]

    def ids(self, engine: Engine, which: Segment, limit: int) -> list[str]:
        """Return the ids of some rows, at most `limit`, after a look at all rows."""
        with engine.snapshot() as snapshot:
            rows = snapshot.stream(self.table, which, descending=False)
            return [row[0] for row in itertools.islice(rows, limit)]

    def delete(self, transaction: Transaction, ids: Sequence[str], now: float = math.inf) -> int:
        """Delete the rows with these ids that have expired by a time, and return their number."""
        return sum(self._delete(transaction, each, now) for each in ids)

    def _delete(self, transaction: Transaction, row_id: str, now: float) -> bool:
        row = self._read(transaction.get(self.table, row_id))
        return row is not None and row.expires <= now and transaction.delete(self.table, row_id)

    def _read(self, row: Row | None) -> IdempotencyKey | None:
        return None if row is None else self.table.read(row)
