"""The port of a database engine: what every engine must do, and what some can do besides.

Rules:

* Rows are tuples of neutral values: the id, the creation time, then the columns in the table's order. The packages
  `database` and `schema` give them their meaning. An engine only expresses it in its own SQL.
* An engine decides by itself whether transactions run one after another or side by side, and when work runs again.
* Errors of the driver become errors of the package. None leaves an engine untranslated.
* An optional capability is an attribute of the engine, which is None where the engine lacks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from flask_convex_http.engines.read_budget import ReadBudget
from flask_convex_http.engines.readiness import UndescribedTable
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.migrations import Migration, MigrationStep

T = TypeVar("T")
Row = Sequence[Any]
#: Is called with the number of units that are done, and of all units.
Progress = Callable[[int, int], None]


class DatabaseSize(NamedTuple):
    """The bytes that a database takes.

    Attributes:
        data: Those of its tables and indexes.
        log: Those of its write-ahead log. None if the log belongs to a whole server.
    """

    data: int
    log: int | None


class Snapshot(Protocol):
    """One consistent view of the database."""

    def get(self, table: Table[Any], document_id: str) -> Row | None:
        """Return the row with this id, or None."""

    def select(
        self,
        table: Table[Any],
        segment: Segment,
        *,
        descending: bool,
        limit: int | None,
        budget: ReadBudget | None = None,
    ) -> list[Row]:
        """Return the rows of a segment, in its order.

        Args:
            table: The table.
            segment: A run of one index.
            descending: Whether to read the segment backwards.
            limit: Maximum number of rows, or None for all.
            budget: Counts the bytes of the rows, and stops the read at its limit.

        Raises:
            FunctionLimitError: The rows are over the budget.
        """

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        """Yield the rows of a segment, in its order, as they are fetched. Later writes do not show in them."""

    def count(self, table: Table[Any]) -> int:
        """Return the number of rows in a table."""

    def is_ordered_by_time(self, table: Table[Any]) -> bool:
        """Return whether the rows of a table are ordered by creation time; see `Engine.ordered_by_time`."""


class Transaction(Snapshot, Protocol):
    """A serializable transaction: a view that can be written to, and that shows its own writes."""

    def insert(self, table: Table[Any], row: Row) -> None:
        """Insert a row.

        Raises:
            UniqueConstraintError: Another row has the same values in a unique index.
        """

    def insert_all(self, table: Table[Any], rows: Sequence[Row]) -> None:
        """Insert rows, in fewer steps than one after another.

        Raises:
            UniqueConstraintError: Another row has the same values in a unique index. Some rows may be inserted.
        """

    def update(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> bool:
        """Set columns of a row and return whether it exists.

        Args:
            table: The table.
            document_id: The id of the row.
            changes: The new value of each column to change.

        Raises:
            UniqueConstraintError: Another row has the same values in a unique index.
        """

    def delete(self, table: Table[Any], document_id: str) -> bool:
        """Delete a row and return whether it existed."""

    def replace_values(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> Row | None:
        """Set columns of a row, and return their previous values in the same order; None if it does not exist.

        Raises:
            UniqueConstraintError: Another row has the same values in a unique index.
        """

    def take_row(self, table: Table[Any], document_id: str) -> Row | None:
        """Delete a row and return it, or None if it did not exist."""

    def delete_all(self, table: Table[Any], document_ids: Sequence[str]) -> None:
        """Delete the rows with these ids, as far as they exist, with one statement."""

    def delete_before(self, table: Table[Any], document_id: str, limit: int) -> int:
        """Delete the first rows in the order of their ids, and return their number.

        Args:
            table: The table.
            document_id: The id of the first row that stays.
            limit: The largest number of rows to delete.
        """

    def append_commit(self, now: float, values: Row) -> None:
        """Write a commit to the log.

        Numbers grow in an order in which each commit comes after those whose writes it has seen.

        Args:
            now: The time of the transaction, in milliseconds since the epoch.
            values: The stored values of the commit's columns after its number.
        """

    def resume_commit_numbers(self) -> None:
        """Make the next number follow those of all commits, which another database may have written."""

    def lookup_again(self, table: Table[Any], values: Mapping[str, Any]) -> Row | None:
        """Return the row that has these values in a unique index, or None, after a lookup has found none.

        The result of `Engine.lookup` may be outdated within the transaction. This call reads again, unless a read of
        absent rows would make transactions conflict. In that case the engine returns None without a read, and inserting
        the same values raises a UniqueConstraintError if such a row exists by now.

        Args:
            table: The table.
            values: The value of each field of the unique index.
        """

    def claim(self, table: Table[Any], segment: Segment, *, limit: int) -> list[Row]:
        """Return the first rows of a segment that no other transaction has claimed, and claim them until the end."""

    def try_lock(self, number: int) -> bool:
        """Lock a number until the end of the transaction, and return whether no other transaction has locked it.

        Always True where `Engine.key_locks` does that among processes.

        Args:
            number: A digest of 64 bits, signed.
        """

    def savepoint(self) -> AbstractContextManager[None]:
        """Roll back the writes of a `with` block, and only those, if an exception leaves it."""

    def interrupt(self) -> None:
        """Stop the statement that runs, which fails. The transaction must be rolled back then. Thread-safe."""


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
        """Return the names of the tables whose rows are ordered by creation time, since their ids sort otherwise.

        All other tables are ordered by id, which has the creation time. Which it is does not change while a table is in
        use, except that a migration may find the ids in order.

        Raises:
            MigrationRequiredError: The tables of the schema do not exist.
        """

    def close(self) -> None:
        """Close all connections and files that are not in use. The engine can be used again afterwards."""


class Notifications(Protocol):
    """Wakes the workers of all processes that share the database."""

    def notify(self) -> None:
        """Wake every listener. Best effort: workers poll as well."""

    def listen(self) -> Listener:
        """Start to listen.

        Raises:
            OSError: The process has no file descriptor left, or the file system does not support named pipes.
        """


class Listener(Protocol):
    """Waits for notifications."""

    def wait(self, timeout: float) -> None:
        """Sleep until a notification or the timeout. Return at once if one came since the last call.

        Args:
            timeout: Seconds.
        """

    def wake(self) -> None:
        """End the current or the next `wait`. Thread-safe, and safe in a signal handler."""

    def close(self) -> None:
        """Stop listening."""


class StartMarker(Protocol):
    """The id of the job that runs, which survives the death of its process. Used inside of write transactions only."""

    def read(self) -> str | None:
        """Return the id of the job whose process has died while it ran, or None."""

    def write(self, job_id: str) -> None:
        """Mark a job before it starts."""

    def clear(self) -> None:
        """Remove the mark."""


class Mailbox(Protocol):
    """Small texts for other processes that are stored without a wait for the write lock."""

    def add(self, text: str) -> None:
        """Add a text durably.

        Raises:
            EngineError: The disk cannot be written to.
        """

    def read(self) -> dict[str, str]:
        """Return the texts by their names, oldest first."""

    def remove(self, name: str) -> None:
        """Remove a text."""


class KeyLocks(Protocol):
    """Locks on keys among processes. Best effort: a lock may be free although another process holds it."""

    def acquire(self, number: int) -> bool:
        """Acquire the lock of a key without a wait, and return whether no other process holds it.

        Args:
            number: A digest of the key. Within a process, one thread at a time may use it.
        """

    def release(self, number: int) -> None:
        """Release the lock of a key that this process has acquired."""


class Backups(Protocol):
    """Makes and restores backups, each of which is one file.

    Attributes:
        path: The file of the database, which may not exist yet. None if the database is temporary.
    """

    @property
    def path(self) -> Path | None:
        """The file of the database, or None."""

    def create(self, path: Path, progress: Progress | None = None) -> None:
        """Write a consistent backup to a new file, while others read and write.

        Args:
            path: The new file.
            progress: Is called with the number of pages that are written, and of all pages.

        Raises:
            ConfigurationError: The file exists already.
        """

    def prepare_restore(self, path: Path) -> PreparedRestore:
        """Inspect a backup and return what restores it.

        Args:
            path: The backup.

        Raises:
            EngineError: The file is damaged, or not a backup of such a database.
        """

    def remove_unfinished(self) -> None:
        """Remove the parts of backups and restores whose processes were killed."""


class PreparedRestore(Protocol):
    """A backup that was inspected and can be restored.

    Attributes:
        rows: The number of rows in the backup.
        replaces: The number of rows in the database, which the restore replaces. None if the database is damaged.
    """

    @property
    def rows(self) -> int:
        """The number of rows in the backup."""

    @property
    def replaces(self) -> int | None:
        """The number of rows in the database, or None."""

    def run(self, progress: Progress | None = None) -> Path | None:
        """Restore the backup completely or not at all, while others read.

        Args:
            progress: Is called with the number of pages that are written, and of all pages.

        Returns:
            Where a damaged database was moved to, or None.

        Raises:
            OverloadedError: Other writers did not stop within the timeout.
        """
