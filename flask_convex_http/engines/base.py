"""The port of a database engine: what every engine can do, in rows of neutral values.

All meaning is above it (`database`, `migrations`); an engine only says it in its own SQL. Rows are tuples: the
id, the creation time, then the columns in the table's order. An engine translates its driver's errors into
those of `errors` and lets none of them out raw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.migrations import Migration, Step

T = TypeVar("T")
Row = Sequence[Any]


class RestartError(ConvexHTTPError):
    """What was read before cannot be read again as it was; see `Engine.read`."""


class Snapshot(Protocol):
    """One consistent view of the database."""

    def get(self, table: Table[Any], document_id: str) -> Row | None:
        """The row of an id."""

    def select(self, table: Table[Any], segment: Segment, *, descending: bool, limit: int | None) -> list[Row]:
        """The rows of a segment in its order, all at once."""

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Row]:
        """The rows of a segment in its order, as they are fetched; what is written meanwhile is not seen."""

    def count(self, table: Table[Any]) -> int:
        """How many rows a table has."""


class Transaction(Snapshot, Protocol):
    """A view that can be written to; serialisable."""

    def insert(self, table: Table[Any], row: Row) -> None:
        """Add a row.

        Raises:
            UniqueConstraintError: A unique index has these values already.
        """

    def insert_all(self, table: Table[Any], rows: Sequence[Row]) -> None:
        """Add many rows at once.

        Raises:
            UniqueConstraintError: A unique index has the values of one of them already; some of them may be there.
        """

    def update(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> bool:
        """Set columns of a row; whether it exists.

        Raises:
            UniqueConstraintError: A unique index has these values already.
        """

    def delete(self, table: Table[Any], document_id: str) -> bool:
        """Remove a row; whether it existed."""

    def claim(self, table: Table[Any], segment: Segment, *, limit: int) -> list[Row]:
        """The first rows of a segment that no other transaction has claimed; they are this one's until it ends."""

    def savepoint(self) -> AbstractContextManager[None]:
        """A part that is undone alone if an exception leaves it."""


class Restore(Protocol):
    """Bringing a database back to a copy: looked into, and not begun."""

    @property
    def rows(self) -> int:
        """How many rows the copy has."""

    @property
    def replaces(self) -> int | None:
        """How many rows they replace; None if the database is damaged."""

    def run(self, progress: Callable[[int, int], None] | None = None) -> Path | None:
        """Do it: all or nothing, while others read. A damaged database is put aside; the answer is where.

        Raises:
            OverloadedError: The writer could not be had in time.
        """


class Listener(Protocol):
    """Where a worker waits for work."""

    def wait(self, timeout: float) -> None:
        """Sleep until something is notified, or for so many seconds; not at all if it was since the last time."""

    def wake(self) -> None:
        """Wake the one that waits here; from any thread of this process."""

    def close(self) -> None:
        """Stop listening."""


class Engine(Protocol):
    """A database.

    Attributes:
        is_concurrent: Whether transactions run side by side, and are run again when they conflict.
    """

    is_concurrent: bool

    def read(self, *, restartable: bool = False) -> AbstractContextManager[Snapshot]:
        """Open a snapshot.

        Args:
            restartable: Whether the caller begins anew when `RestartError` is raised by a read or at the end, and then
                without this. So an engine may save what it takes to keep a snapshot for a second read.

        Raises:
            MigrationRequiredError: The tables of the schema are not there.
        """

    def lookup(self, table: Table[Any], /, _patience: float | None = None, **values: Any) -> Row | None:
        """The row that has these values in the fields of a unique index, read on its own, without a snapshot for more.

        Args:
            table: The table.
            _patience: Seconds to wait for the database, if less than the engine would; no field has such a name.
            values: The values, by field.

        Raises:
            MigrationRequiredError: The tables of the schema are not there.
        """

    def write(self, work: Callable[[Transaction], T], *, patience: float | None = None) -> T:
        """Run work in one transaction, commit, and answer its result once the commit is durable.

        An engine may run the work again from the start when it must.

        Args:
            work: Gets the transaction.
            patience: Seconds to wait for the writer, if that is less than the engine would.

        Raises:
            OverloadedError: The writer could not be had in time.
            MigrationRequiredError: The tables of the schema are not there.
        """

    def migrate(self, plan: Callable[[Migration], Sequence[Step]], *, dry_run: bool) -> list[Step]:
        """Ask for the steps and apply them, all in one transaction; answer the steps."""

    def notify(self) -> None:
        """Wake whoever listens, in every process. That may fail unseen: they look by themselves once in a while."""

    def listen(self) -> Listener:
        """Begin to be woken."""

    def backup(self, path: Path, progress: Callable[[int, int], None] | None = None) -> None:
        """Write one consistent copy to a new file; `progress` is told pages done and pages in all."""

    def restore(self, path: Path) -> Restore:
        """Look into a copy, and answer what brings the database back to it.

        Raises:
            EngineError: It is not a sound copy of such a database.
        """

    def check(self) -> list[str]:
        """What is wrong with the database and its tables, a sentence each that says what to do; no writer waits.

        Raises:
            MigrationRequiredError: There is no database.
        """

    def close(self) -> None:
        """Let go of everything that is open."""
