"""Rows as they are fetched, some at a time, as they were when the first was asked for.

The first page is a plain statement, since most that is read in a loop is short: so it takes one round trip. What is
longer goes on with a cursor of the server's, in pages that are smaller the larger the rows are. What has no order
begins with the cursor: two statements may read it in two orders.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from flask_convex_http.engines.base import Row
from flask_convex_http.errors import EngineError

_FIRST_PAGE = 20
#: Rows of a page at most, and what they take together, about.
_MOST, _BYTES = 1000, 2 * 2**20

_OVER = "A query was read on after its function had ended; collect() it inside the function"

_numbers = itertools.count()


class Fetch(Protocol):
    """Runs SQL with its values, and answers its rows; what is run once is not prepared."""

    def __call__(self, sql: str, values: Sequence[Any], *, once: bool = False) -> list[Row]: ...


class Stream:
    """The rows of a SELECT, until the transaction ends.

    Args:
        fetch: Runs SQL with its values in the transaction, and answers its rows.
        sql: The SELECT.
        values: Its values.
    """

    def __init__(self, fetch: Fetch, sql: str, values: Sequence[Any]) -> None:
        self._fetch = fetch
        self._sql = sql
        self._values = values
        self._cursor: str | None = None
        self._why: str | None = None
        self._read = _FIRST_PAGE if "ORDER BY" in sql else 0
        self._size = _FIRST_PAGE
        self._is_begun, self._is_all = not self._read, False
        self._rows: Iterator[Row] = iter(())

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        if self._why is not None:
            raise EngineError(self._why)
        row = next(self._rows, None)
        if row is None and not self._is_all:
            self._rows = iter(self._next_page(self._size))
            row = next(self._rows, None)
        if row is None:
            raise StopIteration
        return row

    def detach(self) -> None:
        """Fetch what is left, so that nothing that is written from now on is among it."""
        if not self._is_all and self._why is None:
            self._rows = itertools.chain(list(self._rows), self._next_page(None))

    def close(self, why: str = _OVER) -> None:
        """Answer no more rows."""
        self._why = why

    def _next_page(self, size: int | None) -> list[Row]:
        if not self._is_begun and size is not None:
            return self._first_page()
        if self._cursor is None:
            self._cursor = f"stream{next(_numbers)}"
            declare = (
                f"DECLARE {self._cursor} NO SCROLL CURSOR FOR {self._sql} OFFSET {self._read if self._is_begun else 0}"
            )
            self._fetch(declare, self._values, once=True)
        page = self._fetch(f"FETCH {'ALL' if size is None else size} FROM {self._cursor}", (), once=True)
        self._is_all = size is None or len(page) < size
        self._size = _fitting(page)
        return page

    def _first_page(self) -> list[Row]:
        """Not before it is asked for: of the segments of a query most are behind the end of what is wanted."""
        page = self._fetch(f"{self._sql} LIMIT {self._read}", self._values)
        self._is_begun, self._is_all = True, len(page) < self._read
        self._size = _fitting(page)
        return page


def _fitting(page: Sequence[Row]) -> int:
    """How many rows like these make the next page."""
    if not page:
        return _FIRST_PAGE
    size = sum(len(value) for row in page for value in row if isinstance(value, (str, bytes)))
    return max(1, min(_MOST, _BYTES * len(page) // max(size, 1)))
