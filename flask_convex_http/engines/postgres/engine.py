"""Documents in PostgreSQL: serialisable transactions over the rows of one database, which many machines share.

A mutation is a SERIALIZABLE transaction, run again while it conflicts with others; a query reads a snapshot. The hot
path is plain SQL; tables and indexes are made in `postgres_schema`. The driver's errors end here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from flask_convex_http.engines.base import Restore, Row
from flask_convex_http.engines.postgres.connections import Connections
from flask_convex_http.engines.postgres.notifications import Listener, notify
from flask_convex_http.engines.postgres.retries import Attempts, RunAgainError
from flask_convex_http.engines.postgres.statements import PostgresStatements
from flask_convex_http.engines.postgres.transactions import PostgresSnapshot, PostgresTransaction, Shared
from flask_convex_http.engines.postgres.values import Loading, stored
from flask_convex_http.engines.readiness import check_tables, waiting
from flask_convex_http.errors import EngineError
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.migrations import Migration, Step

T = TypeVar("T")

_BEGIN_WRITE = b"BEGIN ISOLATION LEVEL SERIALIZABLE"
_NO_FILE = "PostgreSQL is backed up with its own tools: pg_dump and pg_restore, or a standby and an archive of its log"


class PostgresEngine:
    """One PostgreSQL database.

    Args:
        url: The database, as libpq takes it.
        schema: The tables to be there.
        durability: "full": a commit is on disk when it returns. "normal": a power cut of the server may undo the
            last moments.
        timeout: Seconds a mutation waits for a connection, for the rows of others, and until it has not conflicted.
        connections: How many connections a process has at most.
        queue: How many threads of a process may wait for one.
    """

    is_concurrent = True

    def __init__(
        self,
        url: str,
        schema: Schema,
        *,
        durability: str = "full",
        timeout: float = 10.0,
        connections: int = 10,
        queue: int = 1000,
    ) -> None:
        self.schema = schema
        self._timeout = timeout
        self._connections = Connections(
            url, most=connections, queue=queue, timeout=timeout, is_durable=durability == "full"
        )
        self._attempts = Attempts(timeout)
        self._shared = Shared(self._connections, PostgresStatements(), Loading())
        self._ready = False

    def read(self, *, restartable: bool = False) -> PostgresSnapshot:
        """Open a snapshot, to be used in a with statement."""
        self._check_ready()
        return PostgresSnapshot(self._shared, restartable=restartable)

    def lookup(self, table: Table[Any], /, _patience: float | None = None, **values: Any) -> Row | None:
        """The row that has these values in a unique index: one statement, which is a snapshot by itself."""
        self._check_ready()
        sql = self._shared.statements.lookup(table, tuple(values))
        connection, rows = self._connections.read(sql, stored(values.values()), _patience)
        self._connections.give(connection)
        return self._shared.loading.rows(table, rows)[0] if rows else None

    def write(self, work: Callable[[PostgresTransaction], T], *, patience: float | None = None) -> T:
        """Run work in one transaction and commit it durably; again, while it conflicts with others."""
        self._check_ready()
        is_hurried = patience is not None and patience < self._timeout

        def attempt(seconds: float, locks: bool) -> T:
            return self._write_once(work, seconds, is_hurried=is_hurried, locks=locks)

        return self._attempts.run(attempt, patience)

    def migrate(self, plan: Callable[[Migration], Sequence[Step]], *, dry_run: bool) -> list[Step]:
        """Ask for the steps and apply them, all in one transaction; answer the steps."""
        from flask_convex_http.engines.postgres.schema import migrate

        steps = migrate(self._connections, self.schema, plan, dry_run=dry_run)
        self._ready = self._ready or not dry_run
        return steps

    def notify(self) -> None:
        """Wake the workers of all processes and machines."""
        notify(self._connections)

    def listen(self) -> Listener:
        """Begin to be woken."""
        return Listener(self._connections)

    def backup(self, path: Path, progress: Callable[[int, int], None] | None = None) -> NoReturn:
        """Refuse: the server has better ways."""
        raise EngineError(_NO_FILE)

    def restore(self, path: Path) -> Restore:
        """Refuse: the server has better ways."""
        raise EngineError(_NO_FILE)

    def check(self) -> list[str]:
        """What is wrong with the tables, a sentence each; the pages are the server's business."""
        from flask_convex_http.engines.postgres.schema import PostgresSchema

        with self._connections.lend() as connection:
            return waiting(PostgresSchema(connection, self.schema), self.schema)

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def _write_once(
        self, work: Callable[[PostgresTransaction], T], seconds: float, *, is_hurried: bool, locks: bool
    ) -> T:
        begin = _BEGIN_WRITE
        if is_hurried:
            # Half: who waits for a row that others wait for waits for them first, and then for whoever holds it.
            begin += f"; SET LOCAL lock_timeout = {max(int(seconds * 500), 1)}".encode()
        transaction = PostgresTransaction(self._shared, self._connections.begin(begin, seconds), locks=locks)
        try:
            result = work(transaction)
            transaction.commit()
        except Exception as error:
            transaction.undo()
            if transaction.conflict is not None:  # whatever the function has made of it
                raise RunAgainError(transaction.conflict) from error
            raise
        except BaseException:
            transaction.undo()
            raise
        finally:
            transaction.end()
        return result

    def _check_ready(self) -> None:
        """Once a process: are the tables there? Asked at the first use, not when the app is made."""
        if self._ready:
            return
        from flask_convex_http.engines.postgres.schema import PostgresSchema

        with self._connections.lend() as connection:
            check_tables(PostgresSchema(connection, self.schema), self.schema)
        self._ready = True
