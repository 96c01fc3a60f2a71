"""The settings by which a move recognizes its own rows and files in the target.

The record of the rows has their number and checksum for each table, and changes in the transactions that write the
rows. So after a crash the next run can tell rows of a move from rows of an application that has started on the target.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.engines import Engine, Row, Transaction
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.migrations import Shape
from flask_convex_http.schema.system_tables import Setting

#: The key under which a migration stores the shape of the tables. The row's id identifies the database.
_SHAPE = "shape"
_ROWS, _FILES = "moved_rows", "moved_files"
#: Settings of one database, which do not move.
_LOCAL_SETTINGS = frozenset({_SHAPE, _ROWS, _FILES})
_DIGEST_BYTES = 16


class MoveRefusedError(ConvexHTTPError):
    """A move would lose or mix data, or cannot continue. The message says what to do instead."""


class Contents(NamedTuple):
    """The row count and checksum of a table. They do not depend on the engine and the order of the rows.

    Attributes:
        rows: The number of rows.
        checksum: The sum of the rows' digests, as 32 hexadecimal digits.
    """

    rows: int = 0
    checksum: str = "0" * 2 * _DIGEST_BYTES

    def changed(self, removed: Sequence[Row], added: Sequence[Row]) -> Contents:
        """Return the contents as they are after some rows were removed and others added."""
        total = int(self.checksum, 16) - sum(map(_digest, removed)) + sum(map(_digest, added))
        width = 2 * _DIGEST_BYTES
        return Contents(self.rows - len(removed) + len(added), f"{total % 16**width:0{width}x}")


class RowsRecord(msgspec.Struct, frozen=True):
    """The rows that moves have written to a database.

    Attributes:
        source: The id of the database that they come from.
        tables: Their contents by table; a table that is not here has no rows.
    """

    source: str
    tables: dict[str, Contents]


class MoveRecords:
    """The records of moves in one database.

    Args:
        engine: The database.
        schema: Its tables.
    """

    def __init__(self, engine: Engine, schema: Schema) -> None:
        self._engine = engine
        self._table = schema.table_for(Setting)

    def database_id(self) -> str | None:
        """Return the id of the database, which its copies share, or None before its first migration."""
        shape = self._find(_SHAPE)
        return None if shape is None else shape.id

    def shape(self) -> Shape:
        """Return the tables and columns of the last migration."""
        shape = self._find(_SHAPE)
        try:
            return {} if shape is None else msgspec.json.decode(shape.value, type=Shape)
        except msgspec.MsgspecError:  # the row was changed by hand
            return {}

    def store(self) -> str | None:
        """Return the URL of the blob store that a move has begun to fill, or None before the first move of files."""
        record = self._find(_FILES)
        return None if record is None else record.value

    def set_store(self, url: str, now: float) -> None:
        """Record the blob store that a move is about to fill."""
        record = self._find(_FILES)
        if record is None:
            self._insert(_FILES, url, now)
        else:
            self._engine.write(lambda transaction: transaction.update(self._table, record.id, {"value": url}))

    def rows(self) -> RowsRecord | None:
        """Return the rows that moves have written, or None before the first move.

        Raises:
            MoveRefusedError: The record cannot be read.
        """
        record = self._find(_ROWS)
        try:
            return None if record is None else msgspec.json.decode(record.value, type=RowsRecord)
        except msgspec.MsgspecError:
            raise MoveRefusedError(
                f"The record of earlier moves in the target (`{_ROWS}` in _settings) cannot be read: name an empty "
                "database"
            ) from None

    def begin_rows(self, record: RowsRecord, now: float) -> None:
        """Record the first move, with the rows that are in the target before it."""
        self._insert(_ROWS, msgspec.json.encode(record).decode(), now)

    def change_rows(self, transaction: Transaction, table: str, before: Contents, after: Contents) -> None:
        """Record new contents of a table, in the transaction that writes them.

        Raises:
            MoveRefusedError: The record has other contents than `before`, because another move writes to this database.
        """
        key = Segment(self._table.indexes["by_key"].columns, (("key", _ROWS),))
        for row in transaction.select(self._table, key, descending=False, limit=1):
            setting = self._table.read(row)
            record = msgspec.json.decode(setting.value, type=RowsRecord)
            if record.tables.get(table, Contents()) == before:
                record.tables[table] = after
                transaction.update(self._table, setting.id, {"value": msgspec.json.encode(record).decode()})
                return
        raise MoveRefusedError("Another move writes to the same database now: wait for it to end, or stop it")

    def _find(self, key: str) -> Setting | None:
        row = self._engine.lookup(self._table, {"key": key})
        return None if row is None else self._table.read(row)

    def _insert(self, key: str, value: str, now: float) -> None:
        setting = Setting(key=key, value=value)
        self._engine.write(lambda transaction: insert(transaction, self._table, setting, CreationTimes(now)))


def is_moved(table: Table[Any], row: Row) -> bool:
    """Return whether a row moves. Settings of one database do not."""
    return table.document is not Setting or row[2] not in _LOCAL_SETTINGS


def _digest(row: Row) -> int:
    return int.from_bytes(hashlib.blake2b(msgspec.msgpack.encode(row), digest_size=_DIGEST_BYTES).digest())
