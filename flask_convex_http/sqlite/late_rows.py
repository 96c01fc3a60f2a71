"""Rows that the members of a group commit leave to be written in one statement before its COMMIT.

A member that is rolled back takes its rows with it. They may have been written by then, since a member that reads the
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
    """

    __slots__ = ("_rows", "_write", "_written", "waits")

    def __init__(self) -> None:
        self.waits = False
        self._rows: list[Any] = []
        self._written = 0
        self._write: WriteRows | None = None

    def add(self, row: Any, write: WriteRows) -> None:
        """Add a row.

        Args:
            row: The row.
            write: Writes rows. It is the same for all rows of a transaction.
        """
        self._rows.append(row)
        self._write = write
        self.waits = True

    def write(self, connection: Any) -> None:
        """Write the rows that are not written yet."""
        if self.waits and self._write is not None:
            self._write(connection, self._rows[self._written :])
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
        self._written, self.waits = 0, False
