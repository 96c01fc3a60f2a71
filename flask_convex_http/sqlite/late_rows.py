"""Rows that the members of a group commit write and look for together, in few statements.

Some rows are written before its COMMIT, and some are looked for ahead, for the members that ask for them later.

A member that is rolled back takes its rows with it. They may have been written by then, since a member that reads their
table has all rows written first. So a mark holds the number of rows and the number of written ones, and a rollback to a
savepoint restores both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

#: Writes rows by a connection.
WriteRows = Callable[[Any, Sequence[Any]], None]


class LateRows:
    """The rows of the transaction of one connection.

    Attributes:
        waits: Whether some rows are not written yet.
        ids: The ids of rows that may not be written yet, where an id says what a row is.
        are_there: Whether there is a row with an id, for ids that were looked for ahead.
    """

    __slots__ = ("_rows", "_written", "are_there", "ids", "waits")

    def __init__(self) -> None:
        self.waits = False
        self.ids: set[str] = set()
        self.are_there: dict[str, bool] = {}
        self._rows: list[tuple[WriteRows, Any]] = []
        self._written = 0

    def add(self, row: Any, write: WriteRows) -> None:
        """Add a row.

        Args:
            row: The row.
            write: Writes rows. It is the same for all rows of a table.
        """
        self._rows.append((write, row))
        self.waits = True

    def write(self, connection: Any) -> None:
        """Write the rows that are not written yet, those of one table after those of another."""
        by_table: dict[WriteRows, list[Any]] = {}
        for write, row in self._rows[self._written :]:
            by_table.setdefault(write, []).append(row)
        for write, rows in by_table.items():
            write(connection, rows)
        self._written = len(self._rows)
        self.waits = False

    def mark(self) -> tuple[int, int]:
        """Return the present state, for `roll_back`."""
        return len(self._rows), self._written

    def roll_back(self, mark: tuple[int, int]) -> None:
        """Drop the rows since a mark, because the transaction was rolled back to a savepoint that was made there."""
        count, self._written = mark
        del self._rows[count:]
        self.waits = count > self._written

    def clear(self) -> None:
        """Drop all rows, because the transaction has ended."""
        self._rows.clear()
        self.ids.clear()
        self.are_there.clear()
        self._written, self.waits = 0, False
