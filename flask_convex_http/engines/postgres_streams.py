"""Rows as they are fetched, some at a time, as they were when the first was asked for.

The first page is a plain statement, since most that is read in a loop is short: so it takes one round trip. What is
longer goes on with a cursor of the server's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flask_convex_http.engines.base import Row
from flask_convex_http.errors import EngineError

_FIRST_PAGE = 200
_PAGE = 1000

_OVER = "A query was read on after its function had ended; collect() it inside the function"

_numbers = itertools.count()


class Stream:
    """The rows of a SELECT, until the transaction ends.

    Args:
        fetch: Runs SQL with its values in the transaction, and answers its rows.
        sql: The SELECT.
        values: Its values.
    """

    def __init__(self, fetch: Callable[[str, Sequence[Any]], list[Row]], sql: str, values: Sequence[Any]) -> None:
        self._fetch = fetch
        self._sql = sql
        self._values = values
        self._cursor: str | None = None
        self._why: str | None = None
        page = fetch(f"{sql} LIMIT {_FIRST_PAGE}", values)
        self._is_all = len(page) < _FIRST_PAGE
        self._rows = iter(page)

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        if self._why is not None:
            raise EngineError(self._why)
        row = next(self._rows, None)
        if row is None and not self._is_all:
            self._rows = iter(self._next_page(_PAGE))
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
        if self._cursor is None:
            self._cursor = f"stream{next(_numbers)}"
            declare = f"DECLARE {self._cursor} NO SCROLL CURSOR FOR {self._sql} OFFSET {_FIRST_PAGE}"
            self._fetch(declare, self._values)
        page = self._fetch(f"FETCH {'ALL' if size is None else size} FROM {self._cursor}", ())
        self._is_all = size is None or len(page) < size
        return page
