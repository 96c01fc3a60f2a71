"""Read whole tables and write them in batches, in constant memory and without a long snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar

from flask_convex_http.engines import Engine, Row
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, Table
from flask_convex_http.schema.index_ranges import segments

T = TypeVar("T")

#: A page or batch ends with this many rows, or with about this many bytes.
_MAX_ROWS, _MAX_BYTES = 1000, 4 * 2**20
#: The size in bytes that is counted for each row besides its text and bytes.
_ROW_BYTES = 200


def pages(engine: Engine, table: Table[Any]) -> Iterator[list[Row]]:
    """Yield the rows of a table in pages, oldest first. Each page is read in a snapshot of its own."""
    by_time = table.name in engine.ordered_by_time()
    order = (TIME_COLUMN, ID_COLUMN) if by_time else (ID_COLUMN,)
    after: list[Any] | None = None
    while page := _read_page(engine, table, order, after):
        yield page
        after = [page[-1][1], page[-1][0]] if by_time else [page[-1][0]]


def batches(values: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Cut values into lists that fit in memory.

    Args:
        values: The values.
        size_of: Returns the approximate size of a value in bytes.
    """
    batch: list[T] = []
    size = 0
    for value in values:
        batch.append(value)
        size += size_of(value)
        if len(batch) >= _MAX_ROWS or size >= _MAX_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def row_size(row: Row) -> int:
    """Return the approximate size of a row in bytes."""
    return _ROW_BYTES + sum(len(value) for value in row if isinstance(value, (str, bytes)))


def _read_page(engine: Engine, table: Table[Any], order: tuple[str, ...], after: list[Any] | None) -> list[Row]:
    runs = segments(order, (), None, nullable=frozenset(), after=after)
    with engine.snapshot() as snapshot:
        rows = chain.from_iterable(snapshot.stream(table, run, descending=False) for run in runs)
        return next(batches(rows, row_size), [])
