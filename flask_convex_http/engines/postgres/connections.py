"""Connections to PostgreSQL: one pool per process, opened at the first use and never shared with a child of fork().

A dead connection is noticed when a transaction begins on it, and replaced. Nothing was read or written until then, so
the replacement is invisible. A connection that is lost later is the transaction's concern.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import psycopg_pool
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ExecStatus
from psycopg.types.string import TextBinaryLoader

from flask_convex_http.config import hide_password
from flask_convex_http.engines.postgres.errors import DRIVER_ERRORS, is_conflict, is_lost, translate
from flask_convex_http.engines.postgres.prepared import PreparedStatements
from flask_convex_http.errors import (
    ConfigurationError,
    ConvexHTTPError,
    EngineError,
    OverloadedError,
    UnavailableError,
)

#: Parameters for libpq that the URL does not set. Of several hosts the one that takes writes is used, which is another
#: one after a failover. A host that does not respond for ten seconds counts as dead.
_DEFAULTS = {
    "application_name": "flask_convex_http",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "target_session_attrs": "read-write",
}
#: Maximum number of prepared statements per connection.
_MAX_STATEMENTS = 1000
#: Seconds after which a thread that waits for a connection asks the pool again, so that the pool tries again to open
#: one.
_WAIT_SLICE = 2.0
#: Seconds for which the pool retries to open a connection by itself. Afterwards the next request for one starts it
#: again.
_RECONNECT_TIMEOUT = 1.0
BEGIN_READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
#: Planner settings. Plans are generic, because LIMIT $1 would be planned at each execution otherwise. Every SELECT here
#: is one run of an index. Reading all of a small table or sorting is never better, and a transaction that reads a whole
#: table conflicts with all its writers.
_PLANNER = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
}
#: How long a statement may run, and a transaction wait for its application, in multiples of the write timeout.
_STATEMENT_TIMEOUTS, _IDLE_TIMEOUTS = 6, 6


class PooledConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection with its prepared statements.

    Attributes:
        pool: The pool that it belongs to, or None.
        process: The id of the process that may use it.
    """

    pool: psycopg_pool.ConnectionPool[PooledConnection] | None = None
    process = 0
    _statements: PreparedStatements | None = None

    @property
    def statements(self) -> PreparedStatements:
        """The statements with values that are prepared on this connection."""
        if self._statements is None:
            self._statements = PreparedStatements(self, _MAX_STATEMENTS)
        return self._statements

    @property
    def is_ours(self) -> bool:
        """Whether this process may use it. In a child of fork() it belongs to the parent."""
        return self.process == os.getpid()

    def check_process(self) -> None:
        """Verify that this process may use it.

        Raises:
            EngineError: The process was forked since the connection was acquired.
        """
        if not self.is_ours:
            raise EngineError(
                "The process was forked while its parent was using the database; start again in the child"
            )


class PostgresConnections:
    """The connections of a deployment.

    Args:
        url: The database, as a libpq URL.
        limit: Maximum number of connections per process.
        queue: Maximum number of threads per process that wait for a connection.
        timeout: Seconds to wait for a connection, and for a row that another write has locked.
        mutation_timeout: Seconds that a mutation may run.
        is_durable: Whether a commit must be on disk when it returns.

    Raises:
        ConfigurationError: libpq does not accept the URL.
    """

    def __init__(
        self, url: str, *, limit: int, queue: int, timeout: float, mutation_timeout: float, is_durable: bool
    ) -> None:
        self._conninfo = _conninfo(url)
        self._place = hide_password(url).partition("://")[2]
        self._limit = limit
        self._queue = queue
        self.timeout = timeout
        self._mutation_timeout = mutation_timeout
        self._is_durable = is_durable
        self._pools: dict[int, psycopg_pool.ConnectionPool[PooledConnection]] = {}
        self._opening = threading.Lock()
        self._held = threading.local()
        self._failures = 0
        self._last_probe: tuple[float, UnavailableError | None] = (0.0, None)
        self._finalizer = weakref.finalize(self, _close, self._pools)

    def acquire(self, timeout: float | None = None) -> PooledConnection:
        """Return a connection for exclusive use until `give_back` or `discard`.

        A thread that holds one already gets one outside of the pool, because waiting for the pool could mean waiting
        for itself.

        Args:
            timeout: Seconds to wait. The deployment's timeout by default.

        Raises:
            OverloadedError: All connections are in use.
            UnavailableError: The server cannot be reached.
        """
        if getattr(self._held, "count", 0):
            connection = self.connect()
        else:
            connection = self._acquire(time.monotonic() + (self.timeout if timeout is None else timeout))
        self._held.count = getattr(self._held, "count", 0) + 1
        return connection

    def give_back(self, connection: PooledConnection) -> None:
        """Return a connection to the pool, which replaces a broken one."""
        self._held.count -= 1
        if not connection.is_ours:
            return
        if connection.pool is None:
            connection.close()
        else:
            connection.pool.putconn(connection)

    def discard(self, connection: PooledConnection) -> None:
        """Close a connection and return it to the pool, which replaces it."""
        connection.close()
        self.give_back(connection)

    @contextlib.contextmanager
    def borrow(self) -> Iterator[PooledConnection]:
        """Acquire a connection in a read-only snapshot for a `with` statement."""
        connection = self.begin(BEGIN_READ)
        try:
            yield connection
        except DRIVER_ERRORS as error:
            raise translate(error) from error
        finally:
            end_transaction(connection, b"ROLLBACK")
            self.give_back(connection)

    def begin(self, command: bytes, timeout: float | None = None) -> PooledConnection:
        """Acquire a connection and begin a transaction on it. A dead connection is replaced.

        Args:
            command: The SQL that begins it.
            timeout: Seconds to wait for a connection that works. The deployment's timeout by default.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            connection = self.acquire(max(deadline - time.monotonic(), 0.0))
            try:
                execute(connection, command)
            except psycopg.Error as error:
                self.discard(connection)
                if not is_lost(error, connection) or time.monotonic() > deadline:
                    raise translate(error) from error
            else:
                return connection

    def read(self, sql: str, values: Sequence[Any], timeout: float | None = None) -> tuple[PooledConnection, list[Any]]:
        """Acquire a connection and run one SELECT on it, outside of a transaction.

        Returns:
            The connection, which the caller gives back, and the rows.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else min(timeout, self.timeout))
        while True:
            connection = self.acquire(max(deadline - time.monotonic(), 0.0))
            try:
                return connection, connection.statements.rows(sql, values)
            except DRIVER_ERRORS as error:
                retryable = is_lost(error, connection) or is_conflict(error)
                self.discard(connection)
                if not retryable or time.monotonic() > deadline:
                    raise translate(error) from error
            except BaseException:
                self.discard(connection)
                raise

    def connect(self) -> PooledConnection:
        """Open a connection outside of the pool.

        Raises:
            UnavailableError: The server cannot be reached.
        """
        try:
            connection = PooledConnection.connect(self._conninfo, autocommit=True)
            self._configure(connection)
        except psycopg.Error as error:
            raise translate(error) from error
        connection.process = os.getpid()
        return connection

    def close(self) -> None:
        """Close the pool of this process."""
        _close(self._pools)

    def _acquire(self, deadline: float) -> PooledConnection:
        pool = self._pools.get(os.getpid()) or self._open()
        while True:
            try:
                connection = pool.getconn(min(_WAIT_SLICE, max(deadline - time.monotonic(), 0.001)))
                connection.pool, connection.process = pool, os.getpid()
                return connection
            except psycopg_pool.PoolTimeout:
                if time.monotonic() >= deadline:
                    raise self._none_free() from None
            except psycopg_pool.TooManyRequests:
                raise OverloadedError(
                    "Too many threads wait for a connection to the database; try again in a moment"
                ) from None
            except psycopg_pool.PoolClosed:  # another thread closed it after the lookup above
                pool = self._open()

    def _none_free(self) -> ConvexHTTPError:
        if self._count_failures() > self._failures:
            return UnavailableError("The database cannot be reached at the moment", by_engine=True)
        return OverloadedError(
            f"No connection to the database was free in time, of {self._limit} (CONVEX_DATABASE_CONNECTIONS); "
            "try again in a moment"
        )

    def _count_failures(self) -> int:
        """Return how often the pool could not open a connection."""
        pool = self._pools.get(os.getpid())
        return pool.get_stats().get("connections_errors", 0) if pool else 0

    def _open(self) -> psycopg_pool.ConnectionPool[PooledConnection]:
        with self._opening:
            pool = self._pools.get(os.getpid())
            if pool is None or pool.closed:
                self._probe()
                pool = self._pools[os.getpid()] = self._new_pool()
            return pool

    def _probe(self) -> None:
        """Connect once before the pool is opened, because a wrong setting is not fixed by waiting for the pool.

        Raises:
            UnavailableError: The database cannot be reached, now or at a probe within the last second.
        """
        probed_at, error = self._last_probe
        if error is not None and time.monotonic() < probed_at + _RECONNECT_TIMEOUT:
            raise error
        try:
            self.connect().close()
        except UnavailableError as found:
            self._last_probe = time.monotonic(), found
            raise
        self._last_probe = time.monotonic(), None

    def _new_pool(self) -> psycopg_pool.ConnectionPool[PooledConnection]:
        return psycopg_pool.ConnectionPool(
            self._conninfo,
            connection_class=PooledConnection,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=self._limit,
            max_waiting=self._queue,
            configure=self._configure,
            reconnect_timeout=_RECONNECT_TIMEOUT,
            num_workers=1,
            name=f"PostgreSQL at {self._place}",  # shown in the pool's log lines
            open=True,
        )

    def _configure(self, connection: psycopg.Connection[Any]) -> None:
        """Configure a new connection, in one round trip."""
        connection.prepare_threshold = None  # psycopg's own cursors are used for rare statements only
        connection.adapters.register_loader("json", TextBinaryLoader)
        milliseconds = self.timeout * 1000
        longest = self._mutation_timeout * 1000  # the server ends a transaction whose process hangs as a whole
        timeouts = {
            # Half: one statement may wait twice, for those who wait for the row and then for the one that holds it.
            "lock_timeout": milliseconds / 2,
            "statement_timeout": max(milliseconds * _STATEMENT_TIMEOUTS, longest),
            "idle_in_transaction_session_timeout": max(milliseconds * _IDLE_TIMEOUTS, longest),
        }
        settings = [f"set_config('{name}', '{max(int(value), 1)}', false)" for name, value in timeouts.items()]
        settings += [f"set_config('{name}', '{value}', false)" for name, value in _PLANNER.items()]
        if not self._is_durable:
            settings.append("set_config('synchronous_commit', 'off', false)")
        command = f"SELECT {', '.join(settings)}"
        if self._is_durable:  # a stricter setting of the server stays
            command += (
                "; SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
            )
        execute(connection, command.encode())
        self._failures = self._count_failures()


def execute(connection: psycopg.Connection[Any], command: bytes) -> bytes:
    """Run SQL without values and return the server's status, such as `COMMIT`.

    It uses libpq directly, which takes a quarter of the time of a cursor.
    """
    result = connection.pgconn.exec_(command)
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        raise psycopg.errors.error_from_result(result)
    return result.command_status or b""


def end_transaction(connection: PooledConnection, command: bytes) -> None:
    """End a transaction that has nothing to keep, and close the connection if that fails.

    In a child of fork() nothing happens, because the connection is the parent's.
    """
    if not connection.is_ours:
        return
    try:
        execute(connection, command)
    except DRIVER_ERRORS:
        connection.close()


def _conninfo(url: str) -> str:
    """Return the connection string for libpq.

    Raises:
        ConfigurationError: libpq does not accept the URL.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error as error:
        if "URI query parameter" in str(error):
            raise ConfigurationError(f"CONVEX_DATABASE_URL: {str(error).strip()}") from None
        given = {"host": "@"}  # libpq's message may repeat the password
    if url.partition("?")[0].count("@") > 1 or "@" in f"{given.get('host')}{given.get('dbname')}":
        # part of the password, which would be logged as a host
        raise ConfigurationError(
            "CONVEX_DATABASE_URL must be a URL that libpq takes, such as postgresql://user@host/database; characters "
            "such as @ or / in a password are written %40 and %2F"
        )
    return make_conninfo(url, **{name: value for name, value in _DEFAULTS.items() if name not in given})


def _close(pools: dict[int, psycopg_pool.ConnectionPool[PooledConnection]]) -> None:
    pool = pools.get(os.getpid())  # a child of fork() must not close the parent's
    if pool is not None:
        pool.close()
