"""Connections to PostgreSQL: a pool for each process, opened at its first use and never shared with a child of fork().

A connection that has died is found out when a transaction is begun, and replaced; until then nothing was read or
written, so nobody notices. What is lost later is the transaction's business.
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

from flask_convex_http.config import shown_url
from flask_convex_http.engines.postgres.errors import DRIVER_ERRORS, is_conflict, is_lost, translate
from flask_convex_http.engines.postgres.prepared import Prepared
from flask_convex_http.errors import (
    ConfigurationError,
    ConvexHTTPError,
    EngineError,
    OverloadedError,
    UnavailableError,
)

Connection = psycopg.Connection[tuple[Any, ...]]

#: What libpq is told unless the URL says otherwise. Of several hosts the one that takes writes is meant, which after a
#: failover is another one; who does not answer for ten seconds is gone.
_DEFAULTS = {
    "application_name": "flask_convex_http",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "target_session_attrs": "read-write",
}
#: Statements of one connection that the server keeps the plan of.
_PREPARED = 1000
#: Seconds after which who waits for a connection asks the pool anew, so that it tries again to make one.
_SLICE = 2.0
#: Seconds that the pool tries by itself to make one; then the next who asks makes it try.
_RECONNECT = 1.0
BEGIN_READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
#: How statements are planned. Once, since LIMIT $1 is planned each time else. And each is one run of an index: to read
#: all of a table that is small, or to sort, is never better, and who reads a whole table conflicts with all writers.
_PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
}
#: What a statement may take, and a transaction that waits for its application, in multiples of the write timeout.
_STATEMENT, _IDLE = 6, 6


class PooledConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection with its prepared statements.

    Attributes:
        pool: Where it is given back to, if it is of one.
        process: Who may use it.
    """

    pool: psycopg_pool.ConnectionPool[PooledConnection] | None = None
    process = 0
    _statements: Prepared | None = None

    @property
    def statements(self) -> Prepared:
        """Its statements with values."""
        if self._statements is None:
            self._statements = Prepared(self, _PREPARED)
        return self._statements

    @property
    def is_ours(self) -> bool:
        """Whether this process may use it; after fork() it is the parent's."""
        return self.process == os.getpid()

    def check_process(self) -> None:
        """See that this process may use it.

        Raises:
            EngineError: fork() was called meanwhile.
        """
        if not self.is_ours:
            raise EngineError("The process was forked while its parent was using the database; begin anew in the child")


class Connections:
    """The connections of a deployment.

    Args:
        url: The database, as libpq takes it.
        most: How many connections a process has at most.
        queue: How many threads of a process may wait for one.
        timeout: Seconds that they wait, and that a write waits for a row.
        is_durable: Whether a commit is to be on the disk when it returns.

    Raises:
        ConfigurationError: The URL is none.
    """

    def __init__(self, url: str, *, most: int, queue: int, timeout: float, is_durable: bool) -> None:
        self._conninfo = _conninfo(url)
        self._place = shown_url(url).partition("://")[2]
        self._most = most
        self._queue = queue
        self.timeout = timeout
        self._is_durable = is_durable
        self._pools: dict[int, psycopg_pool.ConnectionPool[PooledConnection]] = {}
        self._opening = threading.Lock()
        self._lent = threading.local()
        self._failures = 0
        self._tried: tuple[float, UnavailableError | None] = (0.0, None)
        self._finalizer = weakref.finalize(self, _close, self._pools)

    def take(self, timeout: float | None = None) -> PooledConnection:
        """A connection that nobody else has until it is given back.

        Args:
            timeout: Seconds to wait; the deployment's if not given.

        Raises:
            OverloadedError: All are in use.
            UnavailableError: The server cannot be reached.
        """
        if getattr(self._lent, "count", 0):  # this thread has one: to wait for another could be to wait for itself
            connection = self.connect()
        else:
            connection = self._take(time.monotonic() + (self.timeout if timeout is None else timeout))
        self._lent.count = getattr(self._lent, "count", 0) + 1
        return connection

    def give(self, connection: PooledConnection) -> None:
        """Give a connection back; one that cannot be used any more is replaced."""
        self._lent.count -= 1
        if not connection.is_ours:
            return
        if connection.pool is None:
            connection.close()
        else:
            connection.pool.putconn(connection)

    @contextlib.contextmanager
    def lend(self) -> Iterator[PooledConnection]:
        """A connection for a with statement, in a snapshot that is only read."""
        connection = self.begin(BEGIN_READ)
        try:
            yield connection
        except DRIVER_ERRORS as error:
            raise translate(error) from error
        finally:
            end(connection, b"ROLLBACK")
            self.give(connection)

    def begin(self, command: bytes, timeout: float | None = None) -> PooledConnection:
        """Take a connection, and begin a transaction on it.

        Args:
            command: What begins it.
            timeout: Seconds to wait for a connection that works.
        """
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            connection = self.take(max(end - time.monotonic(), 0.0))
            try:
                run(connection, command)
            except psycopg.Error as error:
                self.discard(connection)
                if not is_lost(error, connection) or time.monotonic() > end:
                    raise translate(error) from error
            else:
                return connection

    def read(self, sql: str, values: Sequence[Any], timeout: float | None = None) -> tuple[PooledConnection, list[Any]]:
        """Take a connection and run one statement on it, outside of a transaction; answers both."""
        end = time.monotonic() + (self.timeout if timeout is None else min(timeout, self.timeout))
        while True:
            connection = self.take(max(end - time.monotonic(), 0.0))
            try:
                return connection, connection.statements.rows(sql, values)
            except DRIVER_ERRORS as error:
                lost = is_lost(error, connection) or is_conflict(error)
                self.discard(connection)
                if not lost or time.monotonic() > end:
                    raise translate(error) from error
            except BaseException:
                self.discard(connection)
                raise

    def discard(self, connection: PooledConnection) -> None:
        """Give a connection back that is not to be used again."""
        connection.close()
        self.give(connection)

    def connect(self) -> PooledConnection:
        """A connection of one's own.

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
        """Close those of this process."""
        _close(self._pools)

    def _take(self, end: float) -> PooledConnection:
        pool = self._pools.get(os.getpid()) or self._open()
        while True:
            try:
                connection = pool.getconn(min(_SLICE, max(end - time.monotonic(), 0.001)))
                connection.pool, connection.process = pool, os.getpid()
                return connection
            except psycopg_pool.PoolTimeout:
                if time.monotonic() >= end:
                    raise self._none_left() from None
            except psycopg_pool.TooManyRequests:
                raise OverloadedError(
                    "Too many threads wait for a connection to the database; try again in a moment"
                ) from None
            except psycopg_pool.PoolClosed:  # by another thread, a moment ago
                pool = self._open()

    def _none_left(self) -> ConvexHTTPError:
        if self._failures_now() > self._failures:
            return UnavailableError("The database cannot be reached at the moment", by_engine=True)
        return OverloadedError(
            f"No connection to the database was free in time, of {self._most} (CONVEX_DATABASE_CONNECTIONS); "
            "try again in a moment"
        )

    def _failures_now(self) -> int:
        """How often a connection could not be made."""
        pool = self._pools.get(os.getpid())
        return pool.get_stats().get("connections_errors", 0) if pool else 0

    def _open(self) -> psycopg_pool.ConnectionPool[PooledConnection]:
        with self._opening:
            pool = self._pools.get(os.getpid())
            if pool is None or pool.closed:
                self._try()
                pool = self._pools[os.getpid()] = self._new_pool()
            return pool

    def _try(self) -> None:
        """See at the first use that there is such a database: what is wrong with a setting does not mend by waiting.

        Raises:
            UnavailableError: There is none, or was none a moment ago.
        """
        tried_at, error = self._tried
        if error is not None and time.monotonic() < tried_at + _RECONNECT:
            raise error
        try:
            self.connect().close()
        except UnavailableError as found:
            self._tried = time.monotonic(), found
            raise
        self._tried = time.monotonic(), None

    def _new_pool(self) -> psycopg_pool.ConnectionPool[PooledConnection]:
        return psycopg_pool.ConnectionPool(
            self._conninfo,
            connection_class=PooledConnection,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=self._most,
            max_waiting=self._queue,
            configure=self._configure,
            reconnect_timeout=_RECONNECT,
            num_workers=1,
            name=f"PostgreSQL at {self._place}",  # as it is called in its log
            open=True,
        )

    def _configure(self, connection: psycopg.Connection[Any]) -> None:
        """Prepare a new connection, in one round trip."""
        connection.prepare_threshold = None  # its own cursors are used for what is rare
        connection.adapters.register_loader("json", TextBinaryLoader)
        milliseconds = self.timeout * 1000
        limits = {
            "lock_timeout": milliseconds / 2,  # one statement may wait twice: for those who wait, then for who holds
            "statement_timeout": milliseconds * _STATEMENT,
            "idle_in_transaction_session_timeout": milliseconds * _IDLE,
        }
        settings = [f"set_config('{name}', '{max(int(value), 1)}', false)" for name, value in limits.items()]
        settings += [f"set_config('{name}', '{value}', false)" for name, value in _PLANS.items()]
        if not self._is_durable:
            settings.append("set_config('synchronous_commit', 'off', false)")
        command = f"SELECT {', '.join(settings)}"
        if self._is_durable:  # stricter kinds stay as they are
            command += (
                "; SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
            )
        run(connection, command.encode())
        self._failures = self._failures_now()


def run(connection: psycopg.Connection[Any], command: bytes) -> bytes:
    """Run SQL that has no values; answers what the server says was done.

    By libpq alone, which takes a quarter of the time of a cursor.
    """
    result = connection.pgconn.exec_(command)
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        raise psycopg.errors.error_from_result(result)
    return result.command_status or b""


def end(connection: PooledConnection, command: bytes) -> None:
    """End a transaction of which nothing is to be kept; a connection that cannot is closed, the parent's left alone."""
    if not connection.is_ours:
        return
    try:
        run(connection, command)
    except DRIVER_ERRORS:
        connection.close()


def _conninfo(url: str) -> str:
    """What libpq is told.

    Raises:
        ConfigurationError: The URL is none.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error as error:
        if "URI query parameter" in str(error):
            raise ConfigurationError(f"CONVEX_DATABASE_URL: {str(error).strip()}") from None
        given = {"host": "@"}  # the message repeats what may be a password
    if url.partition("?")[0].count("@") > 1 or "@" in f"{given.get('host')}{given.get('dbname')}":
        # a part of the password, which would be logged as a host
        raise ConfigurationError(
            "CONVEX_DATABASE_URL must be a URL that libpq takes, such as postgresql://user@host/database; characters "
            "such as @ or / in a password are written %40 and %2F"
        )
    return make_conninfo(url, **{name: value for name, value in _DEFAULTS.items() if name not in given})


def _close(pools: dict[int, psycopg_pool.ConnectionPool[PooledConnection]]) -> None:
    pool = pools.get(os.getpid())  # a child of fork() leaves the parent's alone
    if pool is not None:
        pool.close()
