"""Write transactions of PostgreSQL.

A transaction that conflicts with another, or whose connection is lost, cannot go on. Nothing of it is committed, even
if its function has caught the error, and `conflict` says that it may run again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flask_convex_http.engines.postgres.commit_log import INSERT_COMMIT, RESUME
from flask_convex_http.engines.postgres.connections import PooledConnection, end_transaction, execute
from flask_convex_http.engines.postgres.errors import DRIVER_ERRORS, is_conflict, is_lost, translate
from flask_convex_http.engines.postgres.readers import PostgresReader, ReaderTools
from flask_convex_http.engines.postgres.statements import guard_values
from flask_convex_http.engines.postgres.values import check_index_sizes, decoded, encoded
from flask_convex_http.engines.sql import quoted_columns
from flask_convex_http.engines.transaction import Row
from flask_convex_http.errors import ConvexHTTPError, EngineError, UnavailableError
from flask_convex_http.schema.history_tables import COMMITS
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.tables import ID_COLUMN, TIME_COLUMN, Table, unique_violation

#: Seconds to wait until the server has received the interrupt of a statement.
_CANCEL_TIMEOUT = 5.0


class PostgresTransaction(PostgresReader):
    """A serializable transaction.

    Args:
        tools: What all readers of the engine share.
        connection: A connection on which the transaction has begun.
        locks_rows: Whether to lock the rows it reads, so that other writers wait for it.
        is_retry: Whether its work has run before, and conflicted.

    Attributes:
        conflict: The error that prevents the commit but may not occur when the transaction runs again, or None.
    """

    def __init__(self, tools: ReaderTools, connection: PooledConnection, *, locks_rows: bool, is_retry: bool) -> None:
        super().__init__(tools)
        self._connection = connection
        self.conflict: ConvexHTTPError | None = None
        self._locking_clause = " FOR UPDATE" if locks_rows else ""
        self._is_retry = is_retry
        #: The server's error after which it takes no statement until a rollback to a savepoint before it.
        self._error: ConvexHTTPError | None = None
        self._depth = 0
        self._is_interrupted = False
        #: RELEASE statements that are sent along with the next command.
        self._pending_releases = b""
        #: The row of a commit of the log that is sent along with COMMIT.
        self._pending_row: Row | None = None

    def insert(self, table: Table[Any], row: Row) -> None:
        """Insert a row."""
        names = column_names(table)
        check_index_sizes(table, names, row)
        if not self._write(self._statements.insert(table), row):
            raise self._collision(table, str(row[0]), dict(zip(names, row, strict=True)))

    def insert_all(self, table: Table[Any], rows: Sequence[Row]) -> None:
        """Insert rows, with one round trip for many."""
        names = column_names(table)
        for row in rows:
            check_index_sizes(table, names, row)
        self._detach_streams()
        cursor = self._live().cursor()
        try:
            cursor.executemany(self._statements.insert(table), [encoded(row) for row in rows])
        except DRIVER_ERRORS as error:
            raise self._translated(error) from error
        if cursor.rowcount < len(rows):
            raise unique_violation(table, table.name, ("_id",))

    def insert_late(self, table: Table[Any], row: Row) -> None:
        """Insert a row whose id no other row has."""
        self.insert(table, row)

    def update(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> bool:
        """Set columns of a row and return whether it exists."""
        check_index_sizes(table, changes, tuple(changes.values()))
        sql = self._statements.update(table, tuple(changes))
        guards = guard_values(table, document_id, dict(changes))
        if self._write(sql, (*changes.values(), document_id, *guards)):
            return True
        row = self.get(table, document_id) if guards else None
        if row is None:
            return False
        stored = dict(zip(column_names(table), row, strict=True))
        raise self._collision(table, document_id, {**stored, **changes})

    def delete(self, table: Table[Any], document_id: str) -> bool:
        """Delete a row and return whether it existed."""
        return self._write(self._statements.delete(table), (document_id,)) > 0

    def replace_values(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> Row | None:
        """Set columns of a row, and return their previous values; None without a row."""
        check_index_sizes(table, changes, tuple(changes.values()))
        sql = self._statements.replace_values(table, tuple(changes))
        guards = guard_values(table, document_id, dict(changes))
        self._detach_streams()
        rows = self._rows(sql, (*changes.values(), document_id, *guards))
        if rows:
            return [decoded(value) for value in rows[0]]
        row = self.get(table, document_id) if guards else None
        if row is None:
            return None
        stored = dict(zip(column_names(table), row, strict=True))
        raise self._collision(table, document_id, {**stored, **changes})

    def take_row(self, table: Table[Any], document_id: str) -> Row | None:
        """Delete a row and return it, or None if it did not exist."""
        self._detach_streams()
        rows = self._fetch(table, f"{self._statements.delete(table)} RETURNING {quoted_columns(table)}", (document_id,))
        return rows[0] if rows else None

    def delete_all(self, table: Table[Any], document_ids: Sequence[str]) -> None:
        """Delete the rows with these ids, as far as they exist, with one statement."""
        ids = ",".join(document_ids)  # an id has no comma
        self._write(f'DELETE FROM "{table.name}" WHERE "_id" = ANY(string_to_array(%s, \',\'))', (ids,))

    def delete_before(self, table: Table[Any], document_id: str, limit: int) -> int:
        """Delete the first rows in the order of their ids, and return their number."""
        first = f'SELECT "_id" FROM "{table.name}" WHERE "_id" < %s ORDER BY "_id" LIMIT %s'
        return self._write(f'DELETE FROM "{table.name}" WHERE "_id" IN ({first})', (document_id, limit))

    def append_commit(self, now: float, values: Row) -> None:
        """Write a commit to the log, together with COMMIT if it is the last one."""
        self._write_pending_row()
        self._pending_row = (now, *values)

    def resume_commit_numbers(self) -> None:
        """Make the next number follow those of all commits, which another database may have written."""
        self._rows(RESUME, ())

    def lookup_again(self, table: Table[Any], values: Mapping[str, Any]) -> Row | None:
        """Return the row that has these values in a unique index, or None.

        The first attempt returns None without a read. A serializable transaction that has read an absent row conflicts
        with every insert beside it, and the unique index rejects a second row anyway.
        """
        if not self._is_retry:
            return None
        rows = self._fetch(table, self._statements.lookup(table, tuple(values)), tuple(values.values()))
        return rows[0] if rows else None

    def get_again(self, table: Table[Any], document_id: str, others: Callable[[], Sequence[str]]) -> Row | None:
        """Return the row with this id, or None, as `lookup_again` does."""
        return self.lookup_again(table, {"_id": document_id})

    def claim(self, table: Table[Any], segment: Segment, *, limit: int) -> list[Row]:
        """Lock and return the first rows of a segment that no other transaction has locked."""
        return self._fetch(table, *self._statements.claim(table, segment, limit))

    def try_lock(self, number: int) -> bool:
        """Lock a number until the end of the transaction, and return whether no other transaction has locked it."""
        return bool(self._rows("SELECT pg_try_advisory_xact_lock(%s)", (number,))[0][0])

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Roll back the writes of the `with` block, and only those, if an exception leaves it."""
        self._write_pending_row()
        self._depth += 1
        name = f"nested{self._depth}".encode()
        try:
            self._command(b"SAVEPOINT " + name)
            yield
        except BaseException:
            if not self._is_over:
                self._roll_back_to(name)
            raise
        else:
            self._pending_releases += b"RELEASE " + name + b"; "
        finally:
            self._depth -= 1

    def commit(self) -> None:
        """Commit durably.

        Raises:
            UnavailableError: The connection was lost, so whether the commit was made is not known.
        """
        if self._error is not None:  # its function has caught it, but the server has rolled everything back
            raise self._error
        if self._connection is not None and not self._connection.is_ours:  # a child of fork(): the parent commits
            return
        connection = self._live()
        try:
            status = self._commit_with_row(connection)
        except DRIVER_ERRORS as error:
            if is_conflict(error):
                raise self._translated(error) from error
            raise _outcome_unknown(error) from error
        if status != b"COMMIT":
            raise EngineError(f"The database responded to COMMIT with {status.decode()}")

    def interrupt(self) -> None:
        """Stop the statement that runs."""
        connection = self._connection
        if connection is not None and connection.is_ours:
            self._is_interrupted = True
            with contextlib.suppress(*DRIVER_ERRORS):
                connection.cancel_safe(timeout=_CANCEL_TIMEOUT)

    def roll_back(self) -> None:
        """Roll everything back."""
        if self._connection is not None and self._is_interrupted and self._connection.is_ours:
            self._connection.close()  # an interrupt that arrives late would stop the statement of the next user
        elif self._connection is not None:
            end_transaction(self._connection, b"ROLLBACK")

    def _commit_with_row(self, connection: PooledConnection) -> bytes:
        """Commit, and return the server's status."""
        if self._pending_row is None:
            return execute(connection, self._pending_releases + b"COMMIT")
        row = encoded(self._pending_row)
        return connection.statements.change_between(INSERT_COMMIT, row, self._pending_releases, b"COMMIT")

    def _write_pending_row(self) -> None:
        row, self._pending_row = self._pending_row, None
        if row is not None:
            self._write(INSERT_COMMIT, row)

    def _fetch(self, table: Table[Any], sql: str, values: Sequence[Any], *, once: bool = False) -> list[Row]:
        if table.name == COMMITS:
            self._write_pending_row()
        return super()._fetch(table, sql, values, once=once)

    def _write(self, sql: str, values: Sequence[Any]) -> int:
        self._detach_streams()
        connection = self._live()
        try:
            return connection.statements.change(sql, encoded(values))
        except DRIVER_ERRORS as error:
            raise self._translated(error) from error

    def _detach_streams(self) -> None:
        for stream in self._streams or ():
            stream.detach()

    def _command(self, command: bytes) -> None:
        connection = self._live()
        try:
            execute(connection, self._pending_releases + command)
        except DRIVER_ERRORS as error:
            raise self._translated(error) from error
        self._pending_releases = b""

    def _roll_back_to(self, savepoint: bytes) -> None:
        if self.conflict is not None:
            return
        for stream in self._streams or ():
            if self._error is None:
                stream.detach()
            else:  # its cursor may go with the savepoint
                stream.close("A query was read on after a part of its function had failed; collect() it before")
        # what is pending was made since the savepoint, and goes with it
        self._error, self._pending_releases, self._pending_row = None, b"", None
        self._command(b"ROLLBACK TO " + savepoint + b"; RELEASE " + savepoint)

    def _live(self) -> PooledConnection:
        connection = super()._live()
        if self._error is not None:
            raise self._error
        return connection

    def _translated(self, error: Exception) -> ConvexHTTPError:
        assert self._connection is not None
        self._error = translate(error)
        lost = is_lost(error, self._connection)
        if lost:
            self._connection.close()  # a server that no longer takes writes may keep it open
        if lost or is_conflict(error):
            self.conflict = self._error
        return self._error

    def _collision(self, table: Table[Any], document_id: str, values: Mapping[str, Any]) -> ConvexHTTPError:
        """Return the error that names the unique index in which another row has these values."""
        for index in table.indexes.values():
            fields = index.fields if index.unique else ()
            wanted = tuple(values[name] for name in fields)
            if not fields or None in wanted:
                continue
            rows = self._fetch(table, self._statements.lookup(table, fields), wanted)
            if any(row[0] != document_id for row in rows):
                return unique_violation(table, table.name, fields)
        return unique_violation(table, table.name, ("_id",))


def column_names(table: Table[Any]) -> tuple[str, ...]:
    """Return the names of a table's columns, in the order of its rows."""
    return (ID_COLUMN, TIME_COLUMN, *table.columns)


def _outcome_unknown(error: Exception) -> ConvexHTTPError:
    translated = translate(error)
    if not isinstance(translated, UnavailableError):
        return translated
    return UnavailableError(f"{translated}. Whether the last write was made is not known", by_engine=True)
