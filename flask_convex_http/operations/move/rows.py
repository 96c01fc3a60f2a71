"""Make a table of one database what it is in another: insert what is missing, replace what differs, delete the rest.

The rules of this module:

* Both tables are read in the order of creation and merged, some rows at a time: memory does not grow with them, and
  no snapshot stays open, however long it takes.
* Each batch is one transaction, and what the move writes down changes with it. So it can be killed at any point;
  who starts again finds what is there equal, and goes on behind it.
* The source may be written meanwhile. What is missed then is brought by the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from flask_convex_http.engines.base import Engine, Row, Transaction
from flask_convex_http.errors import (
    DocumentValidationError,
    EngineError,
    UnavailableError,
    UniqueConstraintError,
)
from flask_convex_http.operations.move.checksums import Contents, digest_of, neutral
from flask_convex_http.operations.move.records import MoveRecords, MoveRefusedError, is_moved
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.index_ranges import segments

T = TypeVar("T")

#: How much is read in one snapshot or written in one transaction: so many rows, or about so many bytes.
_ROWS, _BYTES = 1000, 4 * 2**20
#: What a row takes at least.
_ROW_BYTES = 200


class Change(NamedTuple):
    """A row that is not the same in both databases: what is there, what is to be there; None for nothing."""

    old: Row | None
    new: Row | None


class RowCopy:
    """Makes one table the same.

    Args:
        table: The table.
        source: Where rows are from.
        target: Where they go.
        records: What a move writes down there.
        contents: What the target's table holds.
        progress: Is told of rows of the source that are dealt with.
    """

    def __init__(
        self,
        table: Table[Any],
        source: Engine,
        target: Engine,
        records: MoveRecords,
        contents: Contents,
        progress: Callable[[int], None],
    ) -> None:
        self._table = table
        self._source = source
        self._target = target
        self._records = records
        self._contents = contents
        self._progress = progress
        #: Rows whose place in a unique index was still taken when their turn came.
        self._later: list[str] = []

    def run(self) -> None:
        """Make it the same.

        Raises:
            MoveRefusedError: A row cannot be stored in the target, or somebody else writes to it.
        """
        for batch in _batches(self._changes()):
            self._take(batch)
        later, self._later = self._later, []
        for document_id in later:  # one that still has no place is left to the next run: the source has changed
            with self._source.read() as snapshot:
                row = snapshot.get(self._table, document_id)
            if row is not None:
                self._take([Change(None, neutral(self._table)(row))])

    def _changes(self) -> Iterator[Change]:
        """What differs, in the order of creation."""
        source = rows_in_order(self._source, self._table)
        target = rows_in_order(self._target, self._table)
        for new, old in _merged(source, target):
            self._progress(new is not None)
            if new is None or old is None or new != old:
                yield Change(old, new)

    def _take(self, batch: list[Change]) -> None:
        try:
            self._contents = self._written(batch)
        except UnavailableError:
            raise
        except (DocumentValidationError, EngineError) as error:
            if len(batch) == 1:
                raise self._cannot_store(batch[0], error) from error
            for change in batch:  # to find the one that does not fit
                self._take([change])

    def _written(self, batch: list[Change]) -> Contents:
        try:
            return self._write(batch, self._insert_all)
        except UniqueConstraintError:
            return self._write_what_fits(batch)

    def _write_what_fits(self, batch: list[Change]) -> Contents:
        """The same where rows have taken the places of others in a unique index: those that it has no place for yet
        come later, when all that is to go is gone."""
        late: list[str] = []

        def fits(transaction: Transaction, row: Row) -> bool:
            try:
                with transaction.savepoint():
                    transaction.insert(self._table, row)
            except UniqueConstraintError:
                late.append(row[0])
                return False
            return True

        after = self._write(batch, lambda transaction, rows: [row for row in rows if fits(transaction, row)])
        self._later += dict.fromkeys(late)  # once, though an engine may have run it again
        return after

    def _write(self, batch: list[Change], insert: Callable[[Transaction, list[Row]], list[Row]]) -> Contents:
        """Make changes in one transaction, which an engine may run again; answers what the table holds then.

        Args:
            batch: The changes.
            insert: Adds rows, and answers those that it has added.
        """

        def work(transaction: Transaction) -> Contents:
            after = self._contents
            for old in [change.old for change in batch if change.old is not None]:
                self._delete(transaction, old)
                after = after.minus(digest_of(old))
            for new in insert(transaction, [change.new for change in batch if change.new is not None]):
                after = after.plus(digest_of(new))
            self._records.change_rows(transaction, self._table, self._contents, after)
            return after

        return self._target.write(work)

    def _insert_all(self, transaction: Transaction, rows: list[Row]) -> list[Row]:
        transaction.insert_all(self._table, rows)
        return rows

    def _delete(self, transaction: Transaction, row: Row) -> None:
        if not transaction.delete(self._table, row[0]):
            raise MoveRefusedError(
                f"{row[0]} has gone from the target meanwhile: nothing else may write there during a move"
            )

    def _cannot_store(self, change: Change, error: Exception) -> MoveRefusedError:
        row = change.new or change.old or ("?",)
        return MoveRefusedError(
            f"The row {row[0]} of {self._table.name} cannot be stored in the target: {error}. Change or delete it in "
            "the source, and run the same command again"
        )


def rows_in_order(engine: Engine, table: Table[Any]) -> Iterator[Row]:
    """The rows of a table that move, oldest first, some at a time, each time in a snapshot of its own."""
    convert = neutral(table)
    after: list[Any] | None = None
    while page := _page(engine, table, after):
        yield from (convert(row) for row in page if is_moved(table, row))
        after = [page[-1][1], page[-1][0]]


def _page(engine: Engine, table: Table[Any], after: list[Any] | None) -> list[Row]:
    order = table.indexes["by_creation_time"].columns
    runs = segments(order, (), None, nullable=frozenset(), after=after)
    with engine.read() as snapshot:
        rows = chain.from_iterable(snapshot.stream(table, run, descending=False) for run in runs)
        return next(_cut(rows, _size), [])


def _merged(ones: Iterator[Row], others: Iterator[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    """The rows of two tables in order, those of one id together."""
    one, other = next(ones, None), next(others, None)
    while one is not None or other is not None:
        if other is None or (one is not None and _place(one) < _place(other)):
            yield one, None
            one = next(ones, None)
        elif one is None or _place(other) < _place(one):
            yield None, other
            other = next(others, None)
        else:
            yield one, other
            one, other = next(ones, None), next(others, None)


def _place(row: Row) -> tuple[float, str]:
    return row[1], row[0]


def _batches(changes: Iterable[Change]) -> Iterator[list[Change]]:
    return _cut(changes, lambda change: sum(_size(row) for row in change if row is not None))


def _cut(values: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Values in pieces of which each can be held in memory."""
    held: list[T] = []
    total = 0
    for value in values:
        held.append(value)
        total += size(value)
        if len(held) >= _ROWS or total >= _BYTES:
            yield held
            held, total = [], 0
    if held:
        yield held


def _size(row: Row) -> int:
    """About how many bytes a row takes."""
    return _ROW_BYTES + sum(len(value) for value in row if isinstance(value, (str, bytes)))
