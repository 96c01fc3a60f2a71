"""Write transactions of SQLite. Each holds the write lock from its start, so nothing that it has read can change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import msgspec

from flask_convex_http.engines.read_budget import ReadBudget
from flask_convex_http.engines.sqlite.commit_log import check_texts, write_commits
from flask_convex_http.engines.sqlite.readers import ClosedConnection, SQLiteReader, Translate
from flask_convex_http.engines.sqlite.statements import ROWS_AT_ONCE, SQLiteStatements
from flask_convex_http.engines.transaction import Row
from flask_convex_http.schema.history_tables import COMMITS
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.tables import IDEMPOTENCY_KEYS, Table
from flask_convex_http.sqlite.connections import DRIVER_ERRORS

#: The tables whose rows may be written late.
_LATE = (COMMITS, IDEMPOTENCY_KEYS)
#: The characters from which on a commit is written at once. Its transaction may have none of them in memory.
_LARGE = 1_000_000


class SQLiteTransaction(SQLiteReader):
    """A write transaction, on a connection on which it has begun."""

    __slots__ = ("_late_rows", "_pending")

    def __init__(self, connection: Any, statements: SQLiteStatements, translate: Translate) -> None:
        super().__init__(connection, statements, translate)
        #: The savepoints whose blocks have begun, and have not written anything.
        self._pending: list[SQLiteSavepoint] = []
        self._late_rows = connection.late_rows

    def get(self, table: Table[Any], document_id: str) -> Row | None:
        """Return the row with this id, or None."""
        if self._late_rows.waits and table.name in _LATE:
            self._write_late_rows()
        return super().get(table, document_id)

    def select(
        self,
        table: Table[Any],
        segment: Segment,
        *,
        descending: bool,
        limit: int | None,
        budget: ReadBudget | None = None,
    ) -> list[Row]:
        """Return the rows of a segment, in its order."""
        if self._late_rows.waits and table.name in _LATE:
            self._write_late_rows()
        return super().select(table, segment, descending=descending, limit=limit, budget=budget)

    def count(self, table: Table[Any]) -> int:
        """Return the number of rows in a table."""
        if self._late_rows.waits and table.name in _LATE:
            self._write_late_rows()
        return super().count(table)

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        """Yield the rows of a segment, in its order, as they are fetched."""
        if self._late_rows.waits and table.name in _LATE:
            self._write_late_rows()
        return super().stream(table, segment, descending=descending)

    def insert(self, table: Table[Any], row: Row) -> None:
        """Insert a row."""
        self._write(self._statements.insert(table), row)

    def insert_late(self, table: Table[Any], row: Row) -> None:
        """Insert a row whose id no other row has, together with those of the other members of a group commit."""
        self._close_if_rolled_back()
        late_rows = self._late_rows
        late_rows.add(row, self._statements.writer(table))
        late_rows.ids.add(row[0])

    def insert_all(self, table: Table[Any], rows: Sequence[Row]) -> None:
        """Insert rows."""
        self._begin_savepoints()
        self._execute(self._statements.insert(table), rows, many=True)

    def update(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> bool:
        """Set columns of a row and return whether it exists."""
        sql = self._statements.update(table, tuple(changes))
        return self._write(sql, (*changes.values(), document_id)) > 0

    def delete(self, table: Table[Any], document_id: str) -> bool:
        """Delete a row and return whether it existed."""
        return self._write(self._statements.delete(table), (document_id,)) > 0

    def replace_values(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> Row | None:
        """Set columns of a row, and return their previous values; None without a row."""
        names = tuple(changes)
        try:
            sql = self._statements.values(table, names)
            previous: Row | None = self._connection.execute(sql, (document_id,)).fetchone()
        except DRIVER_ERRORS as error:
            raise self._translate(error) from error
        if previous is not None:
            self._write(self._statements.update(table, names), (*changes.values(), document_id))
        return previous

    def take_row(self, table: Table[Any], document_id: str) -> Row | None:
        """Delete a row and return it, or None if it did not exist."""
        self._begin_savepoints()
        return self._fetch_one(self._statements.take(table), (document_id,))

    def delete_all(self, table: Table[Any], document_ids: Sequence[str]) -> None:
        """Delete the rows with these ids, as far as they exist, with one statement."""
        ids = msgspec.json.encode(document_ids).decode()
        self._write(f'DELETE FROM "{table.name}" WHERE "_id" IN (SELECT value FROM json_each(?))', (ids,))

    def delete_before(self, table: Table[Any], document_id: str, limit: int) -> int:
        """Delete the first rows in the order of their ids, and return their number."""
        first = f'SELECT "_id" FROM "{table.name}" WHERE "_id" < ? ORDER BY "_id" LIMIT ?'
        return self._write(f'DELETE FROM "{table.name}" WHERE "_id" IN ({first})', (document_id, limit))

    def append_commit(self, now: float, values: Row) -> None:
        """Write a commit to the log, together with those of the other members of a group commit."""
        self._close_if_rolled_back()
        row = (now, *values)
        try:
            check_texts(row)
        except UnicodeEncodeError as error:
            raise self._translate(error) from error
        self._late_rows.add(row, write_commits)
        if len(values[0]) > _LARGE:
            self._write_late_rows()

    def resume_commit_numbers(self) -> None:
        """Do nothing, since the next number always follows the newest commit."""

    def lookup_again(self, table: Table[Any], values: Mapping[str, Any]) -> Row | None:
        """Return the row that has these values in a unique index, or None."""
        sql = self._statements.lookup(table, tuple(values))
        try:
            row: Row | None = self._connection.execute(sql, tuple(values.values())).fetchone()
        except DRIVER_ERRORS as error:
            raise self._translate(error) from error
        return row

    def get_again(self, table: Table[Any], document_id: str, others: Callable[[], Sequence[str]]) -> Row | None:
        """Return the row with this id, or None, and see which rows other members of a group commit will find."""
        late_rows = self._late_rows
        if document_id in late_rows.ids:
            return self.get(table, document_id)
        are_there = late_rows.are_there
        if document_id not in are_there:
            unknown = [each for each in others() if each not in are_there and each != document_id]
            self._look_ahead(table, [document_id, *unknown[: ROWS_AT_ONCE - 1]])
        # Each answer serves once, since the member may insert or delete the row now.
        return super().get(table, document_id) if are_there.pop(document_id) else None

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
        savepoint.mark = self._late_rows.mark()
        self._pending.append(savepoint)

    def release(self, savepoint: SQLiteSavepoint) -> None:
        """End a savepoint, whose writes become a part of the transaction."""
        if not self._is_pending(savepoint):
            self._write("RELEASE nested", ())

    def roll_back(self, savepoint: SQLiteSavepoint) -> None:
        """Roll back the writes since a savepoint, and end it."""
        self._late_rows.roll_back(savepoint.mark)
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
        self._begin_savepoints()
        count: int = self._execute(sql, values).rowcount
        return count

    def _look_ahead(self, table: Table[Any], ids: Sequence[str]) -> None:
        """See which rows there are, without their values: a group may end before their members ask for them."""
        try:
            rows = self._connection.execute(self._statements.present(table, len(ids)), ids).fetchall()
        except DRIVER_ERRORS as error:
            raise self._translate(error) from error
        present = {row_id for (row_id,) in rows}
        self._late_rows.are_there.update({row_id: row_id in present for row_id in ids})  # all of them or none

    def _write_late_rows(self) -> None:
        """Write the rows that are left for the end, before their table is read."""
        self._begin_savepoints()
        try:
            for stream in self._streams or ():
                stream.detach()
            self._late_rows.write(self._connection)
        except DRIVER_ERRORS as error:
            self._close_if_rolled_back()
            raise self._translate(error) from error

    def _begin_savepoints(self) -> None:
        """Make the savepoints whose blocks write now."""
        while self._pending:  # the outermost first, and none is forgotten if that fails
            self._execute("SAVEPOINT nested", ())
            del self._pending[0]

    def _fetch_one(self, sql: str, values: Sequence[Any]) -> Row | None:
        """Return the row of a statement, or None."""
        cursor = self._execute(sql, values)
        try:
            row: Row | None = cursor.fetchone()
            cursor.close()
        except DRIVER_ERRORS as error:
            raise self._translate(error) from error
        return row

    def _execute(self, sql: str, values: Sequence[Any], *, many: bool = False) -> Any:
        """Execute a statement, or one for each of many values, and return its cursor."""
        try:
            for stream in self._streams or ():  # whether an active SELECT shows a write is undefined in SQLite
                stream.detach()
            self._close_if_rolled_back()
            connection = self._connection
            return connection.executemany(sql, values) if many else connection.execute(sql, values)
        except DRIVER_ERRORS as error:
            self._close_if_rolled_back()
            raise self._translate(error) from error

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

    __slots__ = ("_transaction", "mark")

    def __init__(self, transaction: SQLiteTransaction) -> None:
        self._transaction = transaction
        self.mark = (0, 0)

    def __enter__(self) -> None:
        self._transaction.expect(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._transaction.release(self)
        else:
            self._transaction.roll_back(self)
