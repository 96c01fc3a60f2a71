"""The snapshots and transactions of an engine, and the rows that they read and write.

Rows are tuples of neutral values: the id, the creation time, then the columns in the table's order. The packages
`database` and `schema` give them their meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from flask_convex_http.engines.read_budget import ReadBudget
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.index_ranges import Segment

Row = Sequence[Any]


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

    def insert_late(self, table: Table[Any], row: Row) -> None:
        """Insert a row whose id no other row has, perhaps together with those of other transactions before the commit.

        Args:
            table: One of the package's own tables.
            row: The row. A lookup of its id has found none, its texts have no lone surrogates, and it is small enough
                for a group of commits to have many in memory.

        Raises:
            UniqueConstraintError: Another row has the id by now.
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

    def get_again(self, table: Table[Any], document_id: str, others: Callable[[], Sequence[str]]) -> Row | None:
        """Return the row with this id, or None, as `lookup_again` does.

        Args:
            table: One of the package's own tables.
            document_id: The id.
            others: Returns ids that other transactions of this process ask for next. None of their rows is inserted
                before that. The engine may look for them now, for transactions of the same group commit.
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
