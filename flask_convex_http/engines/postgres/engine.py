"""The PostgreSQL engine: serializable transactions over the rows of one database, which many machines share.

A mutation is a SERIALIZABLE transaction, retried while it conflicts with others. A query reads a snapshot. All SQL of
rows is in `statements`, tables and indexes are made in `schema`. No error of the driver leaves this folder.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from flask_convex_http.engines.base import DatabaseSize
from flask_convex_http.engines.postgres.commit_log import LAST_VALUE, LOCKED_VALUES, settled
from flask_convex_http.engines.postgres.connections import PostgresConnections
from flask_convex_http.engines.postgres.log_store import PostgresLogStore
from flask_convex_http.engines.postgres.notifications import PostgresNotifications
from flask_convex_http.engines.postgres.readers import PostgresReader, ReaderTools
from flask_convex_http.engines.postgres.retries import ConflictRetries, ConflictRetryError
from flask_convex_http.engines.postgres.snapshots import OptimisticSnapshot, PostgresSnapshot, SnapshotChangedError
from flask_convex_http.engines.postgres.statements import PostgresStatements
from flask_convex_http.engines.postgres.transactions import PostgresTransaction
from flask_convex_http.engines.postgres.values import RowDecoder, encoded
from flask_convex_http.engines.readiness import UndescribedTable, check_tables, pending_steps, undescribed_tables
from flask_convex_http.engines.transaction import Row
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.migrations import Migration, MigrationStep

T = TypeVar("T")


class PostgresEngine:
    """One PostgreSQL database.

    Args:
        url: The database, as a libpq URL.
        schema: The tables that must exist.
        durability: "full": a commit is on disk when it returns. "normal": a power cut of the server may undo the
            commits of the last moments.
        timeout: Seconds that a mutation may wait for a connection, for rows that others have locked, and for the end
            of conflicts.
        mutation_timeout: Seconds that a mutation may run.
        connections: Maximum number of connections per process.
        queue: Maximum number of threads per process that wait for a connection.

    Attributes:
        notifications: Wakes the workers of all processes and machines.
        backups: None, because PostgreSQL has pg_dump, pg_restore and standbys.
        start_marker: None, because many jobs run at the same time.
        mailbox: None, because writers do not wait for each other.
        key_locks: None, because transactions lock keys.
    """

    backups = None
    start_marker = None
    mailbox = None
    key_locks = None

    def __init__(
        self,
        url: str,
        schema: Schema,
        *,
        durability: str = "full",
        timeout: float = 10.0,
        mutation_timeout: float = 30.0,
        connections: int = 10,
        queue: int = 1000,
    ) -> None:
        self.schema = schema
        self._timeout = timeout
        self._connections = PostgresConnections(
            url,
            limit=connections,
            queue=queue,
            timeout=timeout,
            mutation_timeout=mutation_timeout,
            is_durable=durability == "full",
        )
        self.notifications = PostgresNotifications(self._connections)
        self._retries = ConflictRetries(timeout)
        self._tools = ReaderTools(self._connections, PostgresStatements(), RowDecoder())
        self._is_ready = False

    def read(self, query: Callable[[PostgresReader], T]) -> T:
        """Run a query on one snapshot and return its result.

        The query runs again if the rows of its first read changed before its second; see `OptimisticSnapshot`.
        """
        self._check_ready()
        with contextlib.suppress(SnapshotChangedError), OptimisticSnapshot(self._tools) as optimistic:
            return query(optimistic)
        with self.snapshot() as snapshot:
            return query(snapshot)

    def snapshot(self) -> PostgresSnapshot:
        """Open a snapshot that lasts as long as a `with` statement."""
        self._check_ready()
        return PostgresSnapshot(self._tools)

    def lookup(self, table: Table[Any], values: Mapping[str, Any], *, timeout: float | None = None) -> Row | None:
        """Return the row that has these values in a unique index, or None, in one round trip."""
        self._check_ready()
        sql = self._tools.statements.lookup(table, tuple(values))
        connection, rows = self._connections.read(sql, encoded(values.values()), timeout)
        self._connections.give_back(connection)
        return self._tools.decoder.decode(table, rows)[0] if rows else None

    def version(self) -> None:
        """Return None, since only a round trip to the server can tell whether something was committed."""

    def write(self, work: Callable[[PostgresTransaction], T], *, timeout: float | None = None) -> T:
        """Run work in one transaction and commit it durably. Retry it while it conflicts with others."""
        self._check_ready()
        has_short_timeout = timeout is not None and timeout < self._timeout
        runs = itertools.count()

        def attempt(seconds: float, locks_rows: bool) -> T:
            begin = _begin_write(seconds if has_short_timeout else None)
            connection = self._connections.begin(begin, seconds)
            is_retry = next(runs) > 0
            return _run(work, PostgresTransaction(self._tools, connection, locks_rows=locks_rows, is_retry=is_retry))

        return self._retries.run(attempt, timeout)

    def settled_commit(self) -> int:
        """Return the number of a commit up to which every commit is visible to a snapshot that is opened afterwards."""
        self._check_ready()
        last, key = self._read(LAST_VALUE, ())[0]
        return settled(last, [value for (value,) in self._read(LOCKED_VALUES, (key,))])

    def log_store(self) -> PostgresLogStore:
        """Return the log store in this database."""
        return PostgresLogStore(self._connections)

    def oldest_wait(self) -> None:
        """Return None, because writers do not wait for each other."""

    def is_read_only(self, *, timeout: float | None = None) -> bool:
        """Return whether the server is a standby, or transactions are read only by its configuration."""
        sql = "SELECT current_setting('transaction_read_only') = 'on'"
        connection, rows = self._connections.read(sql, (), timeout)
        self._connections.give_back(connection)
        return bool(rows[0][0])

    def count(self, table: Table[Any], segment: Segment, limit: int, *, timeout: float | None = None) -> int:
        """Return the number of rows in a segment, or the limit."""
        self._check_ready()
        sql, values = self._tools.statements.count(table, segment, limit)
        connection, rows = self._connections.read(sql, encoded(values), timeout)
        self._connections.give_back(connection)
        return int(rows[0][0])

    def size(self, *, timeout: float | None = None) -> DatabaseSize:
        """Return the bytes of the database. The log is the server's."""
        connection, rows = self._connections.read("SELECT pg_database_size(current_database())", (), timeout)
        self._connections.give_back(connection)
        return DatabaseSize(int(rows[0][0]), None)

    def migrate(self, plan: Callable[[Migration], Sequence[MigrationStep]], *, dry_run: bool) -> list[MigrationStep]:
        """Apply the steps that `plan` returns in one transaction, and return them."""
        from flask_convex_http.engines.postgres.schema import migrate

        steps = migrate(self._connections, self.schema, plan, dry_run=dry_run)
        self._is_ready = self._is_ready and dry_run  # the order of rows may have changed
        return steps

    def check(self) -> list[str]:
        """Return the problems of the tables. The server itself verifies the pages."""
        from flask_convex_http.engines.postgres.tables import PostgresTables

        with self._connections.borrow() as connection:
            return pending_steps(PostgresTables(connection, self.schema), self.schema)

    def undescribed_tables(self) -> list[UndescribedTable]:
        """Return the tables that earlier schemas had and that have rows, but no class now."""
        from flask_convex_http.engines.postgres.tables import PostgresTables

        with self._connections.borrow() as connection:
            return undescribed_tables(PostgresTables(connection, self.schema), self.schema)

    def ordered_by_time(self) -> frozenset[str]:
        """Return the names of the tables whose rows are ordered by creation time."""
        self._check_ready()
        return self._tools.statements.by_time

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def _read(self, sql: str, values: Sequence[Any]) -> list[Any]:
        connection, rows = self._connections.read(sql, values)
        self._connections.give_back(connection)
        return rows

    def _check_ready(self) -> None:
        """Check once per engine, at its first use, that the tables exist."""
        if self._is_ready:
            return
        from flask_convex_http.engines.postgres.tables import PostgresTables

        with self._connections.borrow() as connection:
            by_time = check_tables(PostgresTables(connection, self.schema), self.schema)
        self._tools.statements.order_by_time(by_time)
        self._is_ready = True


def _begin_write(timeout: float | None) -> bytes:
    """Return the SQL that begins a write transaction, with a limit on its waits if there is a timeout."""
    begin = b"BEGIN ISOLATION LEVEL SERIALIZABLE"
    if timeout is None:
        return begin
    # Half: a statement may wait twice, for those that wait for the row and then for the one that holds it.
    return begin + f"; SET LOCAL lock_timeout = {max(int(timeout * 500), 1)}".encode()


def _run(work: Callable[[PostgresTransaction], T], transaction: PostgresTransaction) -> T:
    """Run work in a transaction and commit it.

    Raises:
        ConflictRetryError: It has conflicted with others and was rolled back, even if the work has caught that error.
    """
    try:
        result = work(transaction)
        transaction.commit()
    except Exception as error:
        transaction.roll_back()
        if transaction.conflict is not None:
            raise ConflictRetryError(transaction.conflict) from error
        raise
    except BaseException:
        transaction.roll_back()
        raise
    finally:
        transaction.end()
    return result
