"""The port of a database engine: what every engine must do.

Rules:

* Rows are tuples of neutral values (see `transaction`). Only the SQL of an engine is its own.
* An engine decides by itself whether transactions run one after another or side by side, and when work runs again.
* Errors of the driver become errors of the package. None leaves an engine untranslated.
* An optional capability is an attribute of the engine, which is None where the engine lacks it (see `capabilities`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

from flask_convex_http.engines.capabilities import Backups, KeyLocks, Mailbox, Notifications, StartMarker
from flask_convex_http.engines.readiness import UndescribedTable
from flask_convex_http.engines.transaction import Row, Snapshot, Transaction
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.migrations import Migration, MigrationStep

T = TypeVar("T")


class DatabaseSize(NamedTuple):
    """The bytes that a database takes.

    Attributes:
        data: Those of its tables and indexes.
        log: Those of its write-ahead log. None if the log belongs to a whole server.
    """

    data: int
    log: int | None


class Engine(Protocol):
    """A database.

    Attributes:
        notifications: Wakes workers that wait for jobs.
        backups: Makes and restores backup files. None where the database has tools of its own for that.
        start_marker: Marks the job that runs. None where transactions run side by side.
        mailbox: Keeps texts for other processes. None where writers do not wait for each other.
        key_locks: Locks keys before a transaction begins. None where a transaction does (`Transaction.try_lock`).
    """

    @property
    def notifications(self) -> Notifications:
        """What wakes workers that wait for jobs."""

    @property
    def backups(self) -> Backups | None:
        """What makes and restores backup files, or None."""

    @property
    def start_marker(self) -> StartMarker | None:
        """What marks the job that runs, or None."""

    @property
    def mailbox(self) -> Mailbox | None:
        """What keeps texts for other processes, or None."""

    @property
    def key_locks(self) -> KeyLocks | None:
        """What locks keys before a transaction begins, or None."""

    def read(self, query: Callable[[Snapshot], T]) -> T:
        """Run a query on one snapshot and return its result.

        The engine may run the query again from the start, on a new snapshot. A query that cannot be repeated needs
        `snapshot`.

        Args:
            query: Is called with the snapshot.

        Raises:
            MigrationRequiredError: The tables of the schema do not exist.
        """

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Open a snapshot that lasts as long as a `with` statement.

        Raises:
            MigrationRequiredError: The tables of the schema do not exist.
        """

    def lookup(self, table: Table[Any], values: Mapping[str, Any], *, timeout: float | None = None) -> Row | None:
        """Return the row that has these values in a unique index, or None.

        This is one read outside of any snapshot, the cheapest there is.

        Args:
            table: The table.
            values: The value of each field of the unique index.
            timeout: Seconds to wait for the database. The engine's own timeout is the default and the maximum.

        Raises:
            MigrationRequiredError: The tables of the schema do not exist.
        """

    def version(self) -> object | None:
        """Return a value that differs after each commit of any process, or None if a read has to be made.

        What was read after a call is current for as long as later calls return an equal value.
        """

    def write(self, work: Callable[[Transaction], T], *, timeout: float | None = None) -> T:
        """Run work in one transaction, commit it durably, and return the result of the work.

        The engine may run the work again from the start, in a new transaction.

        Args:
            work: Is called with the transaction.
            timeout: Seconds to wait for other writers. The engine's own timeout is the default and the maximum.

        Raises:
            OverloadedError: The timeout ended before the work could begin, or while it conflicted with others.
            MigrationRequiredError: The tables of the schema do not exist.
        """

    def settled_commit(self) -> int | None:
        """Return the number of a commit up to which every commit is visible to a snapshot that is opened afterwards.

        None if a snapshot has every commit up to the newest one in it.
        """

    def oldest_wait(self) -> float | None:
        """Return the seconds for which the oldest waiting write of this process has waited, or 0.

        None where writers do not wait for each other.
        """

    def is_read_only(self, *, timeout: float | None = None) -> bool:
        """Return whether the database takes no writes, without an attempt to write. The timeout is that of `lookup`."""

    def count(self, table: Table[Any], segment: Segment, limit: int, *, timeout: float | None = None) -> int:
        """Return the number of rows in a segment, or the limit if there are more. No row is read, only its index.

        Args:
            table: The table.
            segment: A run of one index.
            limit: The number at which counting stops.
            timeout: Seconds as for `lookup`.

        Raises:
            MigrationRequiredError: The tables of the schema do not exist.
        """

    def size(self, *, timeout: float | None = None) -> DatabaseSize:
        """Return the bytes that the database takes. The timeout is that of `lookup`."""

    def migrate(self, plan: Callable[[Migration], Sequence[MigrationStep]], *, dry_run: bool) -> list[MigrationStep]:
        """Apply the steps of a migration in one transaction, and return them.

        Args:
            plan: Returns the steps, after a look at the tables.
            dry_run: Whether to roll back at the end, so that only errors show.
        """

    def check(self) -> list[str]:
        """Return the problems of the database and its tables, without making writers wait.

        Returns:
            One sentence per problem, which also names the remedy.

        Raises:
            MigrationRequiredError: The database does not exist.
        """

    def undescribed_tables(self) -> list[UndescribedTable]:
        """Return the tables that earlier schemas had and that have rows, but no class now.

        Raises:
            MigrationRequiredError: The database does not exist.
        """

    def ordered_by_time(self) -> frozenset[str]:
        """Return the names of the tables whose rows are ordered by creation time, since their ids do not sort by it.

        All other tables are ordered by id, which begins with the creation time. The order of a table does not change
        while it is in use, except that a migration may find that its ids are in order.

        Raises:
            MigrationRequiredError: The tables of the schema do not exist.
        """

    def close(self) -> None:
        """Close all connections and files that are not in use. The engine can be used again afterwards."""
