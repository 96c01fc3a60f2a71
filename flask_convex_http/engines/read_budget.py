"""How many bytes of rows a function may still read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from flask_convex_http.errors import FunctionLimitError
from flask_convex_http.schema.tables import Table


class ReadBudget(msgspec.Struct, eq=False):  # made for each call, and a class with __init__ takes three times as long
    """Counts the bytes of the rows that a function reads. A character of text counts as one byte.

    Args:
        limit: The largest number of bytes.
    """

    _limit: int
    _used: int = 0

    def take(self, table: Table[Any], row: Sequence[Any]) -> None:
        """Count a row.

        Raises:
            FunctionLimitError: The function has read more than the limit.
        """
        self._used += table.size(row)
        if self._used > self._limit:
            raise self._exceeded(table)

    def take_all(self, table: Table[Any], rows: Iterable[Sequence[Any]]) -> None:
        """Count rows that are in memory already.

        Raises:
            FunctionLimitError: The function has read more than the limit.
        """
        self._used += sum(map(table.size, rows))
        if self._used > self._limit:
            raise self._exceeded(table)

    def collect(self, table: Table[Any], rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
        """Return rows as they are fetched, and stop at the limit.

        Raises:
            FunctionLimitError: The function has read more than the limit.
        """
        size, used, limit = table.size, self._used, self._limit
        collected = []
        for row in rows:
            used += size(row)
            if used > limit:
                raise self._exceeded(table)
            collected.append(row)
        self._used = used
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
