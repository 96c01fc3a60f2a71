"""What a move writes down in the database it moves to, so that it can be told from everything else there.

Beside the rows it has brought lies how many they are and their checksum, changed in the same transactions. So whoever
comes later, after a crash say, can tell whether a database holds just that, or something that nobody may touch.
"""

from __future__ import annotations

from typing import Any

import msgspec

from flask_convex_http.engines.base import Engine, Row, Transaction
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.ids import new_id
from flask_convex_http.operations.move.checksums import Contents
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.migrations import Shape
from flask_convex_http.schema.system_tables import Setting

#: What the shape of the tables is kept under, by migrations; its id tells one database from another.
SHAPE = "shape"
_ROWS, _FILES = "moved_rows", "moved_files"
#: Settings that belong to one database and are not moved.
_STAYING = frozenset({SHAPE, _ROWS, _FILES})


class MoveRefusedError(ConvexHTTPError):
    """A move would lose or mix data, or cannot go on; what to do instead is said."""


class RowsRecord(msgspec.Struct, frozen=True):
    """Which rows a move has brought.

    Attributes:
        source: The id of the database they are from.
        tables: What each table holds: the number of rows and their checksum.
    """

    source: str
    tables: dict[str, tuple[int, str]]

    def of(self, table: Table[Any]) -> Contents:
        """What a table holds."""
        rows, checksum = self.tables.get(table.name, (0, "0"))
        return Contents(rows, int(checksum, 16))

    def with_contents(self, table: Table[Any], contents: Contents) -> RowsRecord:
        """The same with another content of a table."""
        return RowsRecord(self.source, {**self.tables, table.name: (contents.rows, contents.checksum)})


class MoveRecords:
    """The records of moves in one database.

    Args:
        engine: The database.
        schema: Its tables.
    """

    def __init__(self, engine: Engine, schema: Schema) -> None:
        self._engine = engine
        self._table = schema.table_for(Setting)

    def shape(self) -> Setting | None:
        """The shape of the tables, as the last migration has left it."""
        return self._find(SHAPE)

    def known_tables(self) -> Shape:
        """The tables that it knew."""
        found = self.shape()
        try:
            return {} if found is None else msgspec.json.decode(found.value, type=Shape)
        except (msgspec.MsgspecError, ValueError):  # somebody has changed it
            return {}

    def store(self) -> str | None:
        """The store of files that a move has begun to fill."""
        found = self._find(_FILES)
        return None if found is None else found.value

    def begin_store(self, url: str, now: float) -> None:
        """Write down that a store is to be filled."""
        found = self._find(_FILES)
        if found is None:
            self._insert(_FILES, url, now)
        else:
            self._engine.write(lambda transaction: transaction.update(self._table, found.id, {"value": url}))

    def rows(self) -> RowsRecord | None:
        """Which rows a move has brought; None if there was no move."""
        found = self._find(_ROWS)
        if found is None:
            return None
        try:
            return msgspec.json.decode(found.value, type=RowsRecord)
        except (msgspec.MsgspecError, ValueError):
            raise MoveRefusedError(
                f"What a move has written down in the database (`{_ROWS}` in _settings) cannot be read: name an empty "
                "database"
            ) from None

    def begin_rows(self, record: RowsRecord, now: float) -> None:
        """Write down that rows are to be brought, and what is there before."""
        self._insert(_ROWS, msgspec.json.encode(record).decode(), now)

    def change_rows(self, transaction: Transaction, table: Table[Any], before: Contents, after: Contents) -> None:
        """Write down a change of a table, in the transaction that makes it.

        Raises:
            MoveRefusedError: The table is not what was written down last: somebody else moves to this database.
        """
        order = self._table.indexes["by_key"].columns
        rows = transaction.select(self._table, Segment(order, (("key", _ROWS),)), descending=False, limit=1)
        found = self._table.read(rows[0]) if rows else None
        record = msgspec.json.decode(found.value, type=RowsRecord) if found is not None else None
        if found is None or record is None or record.of(table) != before:
            raise MoveRefusedError("Another move to the same database runs at the moment: let it end, or stop it")
        changed = record.with_contents(table, after)
        transaction.update(self._table, found.id, {"value": msgspec.json.encode(changed).decode()})

    def _find(self, key: str) -> Setting | None:
        row = self._engine.lookup(self._table, key=key)
        return None if row is None else self._table.read(row)

    def _insert(self, key: str, value: str, now: float) -> None:
        row = [new_id(self._table.name, now), now, *self._table.row(Setting(key=key, value=value))]
        self._engine.write(lambda transaction: transaction.insert(self._table, row))


def is_moved(table: Table[Any], row: Row) -> bool:
    """Whether a row is one that moves, and not of one database only."""
    return table.document is not Setting or row[2] not in _STAYING
