"""How many bytes of rows a function may still read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from flask_convex_http.errors import FunctionLimitError
from flask_convex_http.schema.tables import Table


class ReadBudget:
    """Counts the bytes of the rows that a function reads. A character of text counts as one byte.

    Args:
        limit: The largest number of bytes.
    """

    __slots__ = ("_left", "_limit")

    def __init__(self, limit: int) -> None:
        self._left = self._limit = limit

    def take(self, table: Table[Any], row: Sequence[Any]) -> None:
        """Count a row.

        Raises:
            FunctionLimitError: The function has read more than the limit.
        """
        self._left -= table.size(row)
        if self._left < 0:
            raise self._exceeded(table)

    def take_all(self, table: Table[Any], rows: Iterable[Sequence[Any]]) -> None:
        """Count rows that are in memory already.

        Raises:
            FunctionLimitError: The function has read more than the limit.
        """
        self._left -= sum(map(table.size, rows))
        if self._left < 0:
            raise self._exceeded(table)

    def collect(self, table: Table[Any], rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
        """Return rows as they are fetched, and stop at the limit.

        Raises:
            FunctionLimitError: The function has read more than the limit.
        """
        size, left = table.size, self._left
        collected = []
        for row in rows:
            left -= size(row)
            if left < 0:
                raise self._exceeded(table)
            collected.append(row)
        self._left = left
        return collected

    def through(self, table: Table[Any], rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        """Yield rows, and count each.

        Raises:
            FunctionLimitError: The function has read more than the limit.
        """
        for row in rows:
            self.take(table, row)
            yield row

    def _exceeded(self, table: Table[Any]) -> FunctionLimitError:
        return FunctionLimitError(
            f"A function reads at most {self._limit:,} bytes of documents (CONVEX_MAX_READ_BYTES); it was reading "
            f"{table.name}: read a range of an index, or pages with paginate()"
        )
