"""Rows that are fetched page by page, as they were when the first page was read.

The first page is a plain SELECT with a LIMIT, because most streams are short: one round trip. A longer stream goes on
with a server-side cursor, in pages that are smaller the larger the rows are. A SELECT without an ORDER BY uses the
cursor from the start, because two statements may return its rows in two orders.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from flask_convex_http.engines.transaction import Row
from flask_convex_http.errors import EngineError

_FIRST_PAGE = 20
#: Maximum number of rows per page, and about how many bytes they may have together.
_MAX_ROWS, _MAX_BYTES = 1000, 2 * 2**20

_OVER = "A query was read on after its function had ended; collect() it inside the function"

_cursor_numbers = itertools.count()


class Fetch(Protocol):
    """Runs SQL with its values and returns the rows. SQL that runs only `once` is not prepared."""

    def __call__(self, sql: str, values: Sequence[Any], *, once: bool = False) -> list[Row]:
        """Run the SQL."""


class CursorStream:
    """The rows of a SELECT, readable until the transaction ends.

    Args:
        fetch: Runs SQL in the transaction.
        sql: The SELECT.
        values: Its values.
        first_page: The number of rows of the first page.
    """

    def __init__(self, fetch: Fetch, sql: str, values: Sequence[Any], *, first_page: int = _FIRST_PAGE) -> None:
        self._fetch = fetch
        self._sql = sql
        self._values = values
        self._cursor: str | None = None
        self._closed_because: str | None = None
        self._first_page_rows = first_page if "ORDER BY" in sql else 0
        self._page_rows = _FIRST_PAGE
        self._has_first_page, self._is_complete = not self._first_page_rows, False
        self._rows: Iterator[Row] = iter(())

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        if self._closed_because is not None:
            raise EngineError(self._closed_because)
        row = next(self._rows, None)
        if row is None and not self._is_complete:
            self._rows = iter(self._next_page(self._page_rows))
            row = next(self._rows, None)
        if row is None:
            raise StopIteration
        return row

    def detach(self) -> None:
        """Fetch all remaining rows, so that later writes do not show in them."""
        if not self._is_complete and self._closed_because is None:
            self._rows = itertools.chain(list(self._rows), self._next_page(None))

    def close(self, reason: str = _OVER) -> None:
        """Make every further read raise an EngineError with this reason."""
        self._closed_because = reason

    def _next_page(self, limit: int | None) -> list[Row]:
        if not self._has_first_page and limit is not None:
            return self._first_page()
        if self._cursor is None:
            self._cursor = f"stream{next(_cursor_numbers)}"
            offset = self._first_page_rows if self._has_first_page else 0
            declare = f"DECLARE {self._cursor} NO SCROLL CURSOR FOR {self._sql} OFFSET {offset}"
            self._fetch(declare, self._values, once=True)
        page = self._fetch(f"FETCH {'ALL' if limit is None else limit} FROM {self._cursor}", (), once=True)
        self._is_complete = limit is None or len(page) < limit
        self._page_rows = _rows_per_page(page)
        return page

    def _first_page(self) -> list[Row]:
        """Fetch the first page, when its first row is needed: most segments of a query are never read."""
        page = self._fetch(f"{self._sql} LIMIT {self._first_page_rows}", self._values)
        self._has_first_page, self._is_complete = True, len(page) < self._first_page_rows
        self._page_rows = _rows_per_page(page)
        return page


def _rows_per_page(page: Sequence[Row]) -> int:
    """Return how many rows of this size make the next page."""
    if not page:
        return _FIRST_PAGE
    size = sum(len(value) for row in page for value in row if isinstance(value, (str, bytes)))
    return max(1, min(_MAX_ROWS, _MAX_BYTES * len(page) // max(size, 1)))
