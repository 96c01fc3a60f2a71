"""The log store in a PostgreSQL database: two unlogged tables, which all machines share.

Unlogged tables are not written to the server's log, so they cost little, and are empty after a crash of the server. One
transaction after another adds records, so that their numbers become visible in order and readers miss none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from flask_convex_http.engines.log_store import LogSegment, LogSegmentFilter, select
from flask_convex_http.engines.postgres.connections import (
    PooledConnection,
    PostgresConnections,
    end_transaction,
    execute,
)
from flask_convex_http.engines.postgres.errors import DRIVER_ERRORS, translate
from flask_convex_http.telemetry.records import CounterKey

#: The number that is locked while records are added. It comes from nothing but must differ from others'.
_LOCK = 7_223_405_102_311
#: The commit does not wait for the disk.
_BEGIN = f"BEGIN; SET LOCAL synchronous_commit = off; SELECT pg_advisory_xact_lock({_LOCK})".encode()
_CREATE = (
    'CREATE UNLOGGED TABLE IF NOT EXISTS "_log_segments" (last bigint PRIMARY KEY, size integer NOT NULL, level integer'
    " NOT NULL, content bytea NOT NULL)",
    'CREATE UNLOGGED TABLE IF NOT EXISTS "_log_counters" (minute bigint NOT NULL, name text NOT NULL, label text NOT'
    " NULL, value double precision NOT NULL, PRIMARY KEY (minute, name, label))",
    'DROP TABLE IF EXISTS "_log_records"',  # of an earlier release
)
_NEWEST = 'SELECT coalesce(max(last), 0) FROM "_log_segments"'
_INSERT = f'INSERT INTO "_log_segments" (last, size, level, content) VALUES (({_NEWEST}) + %s, %s, %s, %s)'
_COUNT = (
    'INSERT INTO "_log_counters" AS known (minute, name, label, value) VALUES (%s, %s, %s, %s)'
    " ON CONFLICT (minute, name, label) DO UPDATE SET value = known.value + excluded.value"
)


class PostgresLogStore:
    """Log records in the tables of a PostgreSQL database.

    Args:
        connections: The connections of the deployment.
    """

    def __init__(self, connections: PostgresConnections) -> None:
        self._connections = connections
        self._exists = False

    def create(self) -> None:
        """See `LogStore`."""
        with self._transaction() as connection:
            for statement in _CREATE:
                connection.execute(statement)
        self._exists = True

    def append(
        self, segment: LogSegment | None, counters: Mapping[CounterKey, float], *, keep: int, since: int
    ) -> None:
        """See `LogStore`."""
        if not self._has_tables():
            self.create()
        with self._transaction() as connection, connection.cursor() as cursor:
            if segment is not None:
                cursor.execute(_INSERT, (segment.size, *segment[1:]))
                cursor.execute(f'DELETE FROM "_log_segments" WHERE last <= ({_NEWEST}) - %s', (keep,))
            cursor.executemany(_COUNT, [(*key, value) for key, value in sorted(counters.items())])
            cursor.execute('DELETE FROM "_log_counters" WHERE minute < %s', (since,))

    def read(self, wanted: LogSegmentFilter) -> list[LogSegment]:
        """See `LogStore`."""
        sql, values = select('"_log_segments"', wanted, "%s", "position(%s in content) > 0")
        return [LogSegment(*row) for row in self._read(sql, values)]

    def newest(self) -> int:
        """See `LogStore`."""
        rows = self._read(_NEWEST, ())
        return int(rows[0][0]) if rows else 0

    def counters(self, since: int, until: int) -> list[tuple[int, str, str, float]]:
        """See `LogStore`."""
        sql = (
            'SELECT minute, name, label, value FROM "_log_counters" WHERE minute >= %s AND minute < %s ORDER BY minute'
        )
        return [(minute, name, label, value) for minute, name, label, value in self._read(sql, (since, until))]

    def close(self) -> None:
        """Do nothing: the connections are the engine's."""

    def _has_tables(self) -> bool:
        if not self._exists:
            with self._connections.borrow() as connection:
                found = connection.execute("SELECT to_regclass('\"_log_segments\"')").fetchone()
            self._exists = found is not None and found[0] is not None
        return self._exists

    def _read(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """Return rows. A database without the tables has none."""
        if not self._has_tables():
            return []
        with self._connections.borrow() as connection:
            return connection.execute(sql, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[PooledConnection]:
        """Begin a transaction that no other one of this store overlaps, and commit it at the end of the block."""
        connection = self._connections.begin(_BEGIN)
        try:
            yield connection
            execute(connection, b"COMMIT")
        except DRIVER_ERRORS as error:
            end_transaction(connection, b"ROLLBACK")
            raise translate(error) from error
        except BaseException:
            end_transaction(connection, b"ROLLBACK")
            raise
        finally:
            self._connections.give_back(connection)
