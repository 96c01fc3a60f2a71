"""Make a table of the target equal to the table of the source.

Rules:

* Both tables are read oldest first, page by page, and merged. Memory does not grow with the tables, and no snapshot
  stays open.
* Each batch of differences is one transaction, which also changes the record of the move. A run may thus be killed at
  any point. The next run skips the rows that are equal.
* The source may be written while a run reads it. The next run copies the rows that this one missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from flask_convex_http.engines import Engine, Row, Transaction
from flask_convex_http.errors import (
    DocumentValidationError,
    EngineError,
    UnavailableError,
    UniqueConstraintError,
)
from flask_convex_http.operations.move.records import Contents, MoveRecords, MoveRefusedError, is_moved
from flask_convex_http.operations.pages import batches, pages, row_size
from flask_convex_http.schema.documents import Table


class RowDifference(NamedTuple):
    """A row that is not the same in both databases.

    Attributes:
        old: The row in the target, or None.
        new: The row in the source, or None.
    """

    old: Row | None
    new: Row | None


class TableCopy:
    """Makes one table of the target equal to the source's.

    Args:
        table: The table.
        source: The database to read.
        target: The database to write.
        records: The records of moves in the target.
        contents: The row count and checksum of the target's table before the run.
    """

    def __init__(
        self, table: Table[Any], source: Engine, target: Engine, records: MoveRecords, contents: Contents
    ) -> None:
        self._table = table
        self._source = source
        self._target = target
        self._records = records
        self._contents = contents
        self._has_conflicts = False

    def run(self, advance: Callable[[int], None]) -> None:
        """Write all differences to the target.

        A row may violate a unique index because a row of the target, which a later batch deletes or replaces, still has
        its values. The first pass leaves such rows out, and a second pass inserts them.

        Args:
            advance: Called with the number of the source's rows that were compared since the last call.

        Raises:
            MoveRefusedError: A row cannot be stored in the target, or another process writes to the target.
        """
        self._write_differences(advance)
        if self._has_conflicts:
            self._write_differences(lambda count: None)

    def _write_differences(self, advance: Callable[[int], None]) -> None:
        for batch in batches(self._differences(advance), _difference_size):
            self._apply(batch)

    def _differences(self, advance: Callable[[int], None]) -> Iterator[RowDifference]:
        """Yield the differences, oldest row first."""
        source, target = moving_rows(self._source, self._table), moving_rows(self._target, self._table)
        place = _place if self._table.name in self._target.ordered_by_time() else _id
        for new, old in _merge(source, target, place):
            advance(new is not None)
            if new != old:
                yield RowDifference(old, new)

    def _apply(self, batch: list[RowDifference]) -> None:
        """Write a batch. If that fails, write its differences one by one to find the row that does not fit."""
        try:
            self._write(batch)
        except UnavailableError:
            raise
        except (DocumentValidationError, EngineError, UniqueConstraintError) as error:
            if len(batch) > 1:
                self._apply_one_by_one(batch)
            elif isinstance(error, UniqueConstraintError):
                self._has_conflicts = True
                self._write([RowDifference(batch[0].old, None)])
            else:
                raise self._not_stored(batch[0], error) from error

    def _apply_one_by_one(self, batch: list[RowDifference]) -> None:
        for difference in batch:
            self._apply([difference])

    def _write(self, batch: list[RowDifference]) -> None:
        removed = [difference.old for difference in batch if difference.old is not None]
        added = [difference.new for difference in batch if difference.new is not None]
        after = self._contents.changed(removed, added)

        def work(transaction: Transaction) -> None:
            for row in removed:
                transaction.delete(self._table, row[0])
            transaction.insert_all(self._table, added)
            self._records.change_rows(transaction, self._table.name, self._contents, after)

        self._target.write(work)
        self._contents = after

    def _not_stored(self, difference: RowDifference, error: Exception) -> MoveRefusedError:
        row = difference.new or difference.old or ("?",)
        return MoveRefusedError(
            f"The row {row[0]} of {self._table.name} cannot be stored in the target: {error}. Change or delete it in "
            "the source, and run the same command again"
        )


def moving_pages(engine: Engine, table: Table[Any]) -> Iterator[list[Row]]:
    """Yield pages of the rows that a move copies, oldest first.

    Booleans are True and False on every engine, so that rows of two engines compare equal.
    """
    booleans = [place for place, column in enumerate(table.columns.values(), 2) if column.type.kind == "boolean"]
    for page in pages(engine, table):
        rows = [_with_booleans(row, booleans) if booleans else tuple(row) for row in page]
        yield [row for row in rows if is_moved(table, row)]


def moving_rows(engine: Engine, table: Table[Any]) -> Iterator[Row]:
    """Yield the rows of `moving_pages` one by one."""
    return chain.from_iterable(moving_pages(engine, table))


def _with_booleans(row: Row, booleans: list[int]) -> Row:
    """Return a row with True and False where SQLite has 1 and 0."""
    values = list(row)
    for place in booleans:
        values[place] = None if values[place] is None else bool(values[place])
    return tuple(values)


def _merge(
    source: Iterator[Row], target: Iterator[Row], place: Callable[[Row], Any]
) -> Iterator[tuple[Row | None, Row | None]]:
    """Yield the rows of both tables in order, as pairs of a source row and a target row.

    Rows of one place form a pair. Any other row is paired with None.
    """
    new, old = next(source, None), next(target, None)
    while new is not None or old is not None:
        if old is None or (new is not None and place(new) < place(old)):
            yield new, None
            new = next(source, None)
        elif new is None or place(old) < place(new):
            yield None, old
            old = next(target, None)
        else:
            yield new, old
            new, old = next(source, None), next(target, None)


def _place(row: Row) -> tuple[float, str]:
    return row[1], row[0]


def _id(row: Row) -> str:
    document_id: str = row[0]
    return document_id


def _difference_size(difference: RowDifference) -> int:
    return sum(row_size(row) for row in difference if row is not None)
