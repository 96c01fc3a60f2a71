"""Write transactions of SQLite. Each holds the write lock from its start, so nothing that it has read can change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from flask_convex_http.engines.base import Row
from flask_convex_http.engines.sqlite.readers import ClosedConnection, SQLiteReader, Translate
from flask_convex_http.engines.sqlite.statements import SQLiteStatements
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.tables import Table
from flask_convex_http.sqlite.connections import DRIVER_ERRORS


class SQLiteTransaction(SQLiteReader):
    """A write transaction, on a connection on which it has begun."""

    __slots__ = ("_pending",)

    def __init__(self, connection: Any, statements: SQLiteStatements, translate: Translate) -> None:
        super().__init__(connection, statements, translate)
        #: The savepoints whose blocks have begun, and have not written anything.
        self._pending: list[SQLiteSavepoint] = []

    def insert(self, table: Table[Any], row: Row) -> None:
        """Insert a row."""
        self._write(self._statements.insert(table), row)

    def insert_all(self, table: Table[Any], rows: Sequence[Row]) -> None:
        """Insert rows."""
        for row in rows:
            self.insert(table, row)

    def update(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> bool:
        """Set columns of a row and return whether it exists."""
        sql = self._statements.update(table, tuple(changes))
        return self._write(sql, (*changes.values(), document_id)) > 0

    def delete(self, table: Table[Any], document_id: str) -> bool:
        """Delete a row and return whether it existed."""
        return self._write(self._statements.delete(table), (document_id,)) > 0

    def lookup_again(self, table: Table[Any], values: Mapping[str, Any]) -> Row | None:
        """Return the row that has these values in a unique index, or None."""
        sql = self._statements.lookup(table, tuple(values))
        try:
            row: Row | None = self._connection.execute(sql, tuple(values.values())).fetchone()
        except DRIVER_ERRORS as error:
            raise self._translate(error) from error
        return row

    def claim(self, table: Table[Any], segment: Segment, *, limit: int) -> list[Row]:
        """Return the first rows of a segment. There is one writer at a time, so all of them are unclaimed."""
        return self.select(table, segment, descending=False, limit=limit)

    def try_lock(self, number: int) -> bool:
        """Return True, since there is one writer at a time."""
        return True

    def savepoint(self) -> SQLiteSavepoint:
        """Roll back the writes of the `with` block, and only those, if an exception leaves it."""
        return SQLiteSavepoint(self)

    def expect(self, savepoint: SQLiteSavepoint) -> None:
        """Make a savepoint before the next write."""
        if isinstance(self._connection, ClosedConnection):
            self._connection.execute()  # raises
        self._pending.append(savepoint)

    def release(self, savepoint: SQLiteSavepoint) -> None:
        """End a savepoint, whose writes become a part of the transaction."""
        if not self._is_pending(savepoint):
            self._write("RELEASE nested", ())

    def roll_back(self, savepoint: SQLiteSavepoint) -> None:
        """Roll back the writes since a savepoint, and end it."""
        self._close_if_rolled_back()
        if self._is_pending(savepoint) or isinstance(self._connection, ClosedConnection):
            return
        self._write("ROLLBACK TO nested", ())
        self._write("RELEASE nested", ())

    def interrupt(self) -> None:
        """Stop the statement that runs. SQLite then rolls the whole transaction back, if the statement writes."""
        connection = self._connection
        if not isinstance(connection, ClosedConnection):
            connection.interrupt()

    def _is_pending(self, savepoint: SQLiteSavepoint) -> bool:
        """Return whether nothing was written since a savepoint, which is then forgotten."""
        if self._pending and self._pending[-1] is savepoint:
            self._pending.pop()
            return True
        return False

    def _write(self, sql: str, values: Sequence[Any]) -> int:
        while self._pending:  # the outermost first, and none is forgotten if that fails
            self._execute("SAVEPOINT nested", ())
            del self._pending[0]
        return self._execute(sql, values)

    def _execute(self, sql: str, values: Sequence[Any]) -> int:
        try:
            for stream in self._streams or ():  # whether an active SELECT shows a write is undefined in SQLite
                stream.detach()
            self._close_if_rolled_back()
            count: int = self._connection.execute(sql, values).rowcount
        except DRIVER_ERRORS as error:
            self._close_if_rolled_back()
            raise self._translate(error) from error
        return count

    def _close_if_rolled_back(self) -> None:
        """Refuse all further use once SQLite has rolled the whole transaction back.

        It does so by itself when the disk is full or memory runs out. Later statements would be committed one by one,
        even though the function has caught the error.
        """
        if not self._connection.in_transaction:
            self._connection = ClosedConnection("The database has rolled back the whole transaction")


class SQLiteSavepoint:
    """A savepoint around a `with` block, which is made at the first write of the block.

    Args:
        transaction: The transaction.
    """

    __slots__ = ("_transaction",)

    def __init__(self, transaction: SQLiteTransaction) -> None:
        self._transaction = transaction

    def __enter__(self) -> None:
        self._transaction.expect(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._transaction.release(self)
        else:
            self._transaction.roll_back(self)
