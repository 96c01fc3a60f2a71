"""Read the commit log in a snapshot: commits, the changes of a commit or of a document, and the commit of a time."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from flask_convex_http.engines import ReadBudget, Row, Snapshot
from flask_convex_http.errors import ArgumentValidationError, HistoryError
from flask_convex_http.history.commit_keys import UNDO, decode_changes, indexed_numbers
from flask_convex_http.history.coverage import Coverage, Start, newest_commit, read_coverage, start_of
from flask_convex_http.history.rows import (
    COMMITS,
    Commit,
    between_ids,
    commit_id,
)
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.history_tables import StoredOperation

#: A commit, given as its number or as a time.
When = int | float | datetime.datetime
#: From this value on, in 1973, a number is a time in milliseconds and not the number of a commit.
_FIRST_TIME = 100_000_000_000
#: Rows that are read at once, and how many rows one statement may read for each one that is wanted.
_PAGE, _SPREAD = 500, 4


class LoggedChange(msgspec.Struct, frozen=True):
    """A change as it is stored.

    Attributes:
        number: The number of its commit.
        time: The time of its commit.
        table: The name of the document's table at that time.
        document_id: The id of the document.
        operation: "insert", "update", "delete" or "erased".
        before: The previous values as JSON, None if there are none.
    """

    number: int
    time: float
    table: str
    document_id: str
    operation: StoredOperation
    before: msgspec.Raw | None


class HistoryReader:
    """Reads the log in one snapshot.

    Args:
        snapshot: The snapshot.
        schema: The tables.
    """

    __slots__ = ("_coverage", "commits_table", "schema", "snapshot")

    def __init__(self, snapshot: Snapshot, schema: Schema) -> None:
        self.snapshot = snapshot
        self.schema = schema
        self.commits_table = schema.tables[COMMITS]
        self._coverage: Coverage | None = None

    @property
    def coverage(self) -> Coverage:
        """The complete part of the log."""
        if self._coverage is None:
            self._coverage = read_coverage(self.snapshot, self.schema) or Coverage()
        return self._coverage

    def newest(self) -> int:
        """Return the number of the newest commit, 0 for none."""
        return newest_commit(self.snapshot, self.schema)

    def commit(self, number: int) -> Commit | None:
        """Return a commit without its changes, or None."""
        row = self.snapshot.get(self.commits_table, commit_id(number)) if number > 0 else None
        return None if row is None else _commit(row)

    def commits(self, after: int, until: int | None = None, *, limit: int, descending: bool = False) -> list[Commit]:
        """Return commits without their changes, in the order of their numbers.

        Args:
            after: Only commits with higher numbers.
            until: The highest number; None for all.
            limit: The largest number of commits to return.
            descending: Whether to begin with the highest number.
        """
        segment = between_ids(commit_id(after + 1), None if until is None else commit_id(until + 1))
        rows = self.snapshot.select(self.commits_table, segment, descending=descending, limit=limit)
        return [_commit(row) for row in rows]

    def all_commits(self, until: int | None = None) -> Iterator[tuple[Commit, Row]]:
        """Yield all commits without their changes, each with its row, newest first, as they are fetched.

        Args:
            until: The highest number; None for all.
        """
        segment = between_ids(None, None if until is None else commit_id(until + 1))
        for row in self.snapshot.stream(self.commits_table, segment, descending=True):
            yield _commit(row), row

    def changes_of(self, first: int, last: int) -> Iterator[LoggedChange]:
        """Yield the changes of the commits with the numbers from `first` to `last`, in their order."""
        while rows := self._page(first, last + 1, descending=False):
            for row in rows:
                yield from _changes(row)
            first = rows[-1][2] + 1

    def changes_since(self, number: int, *, budget: ReadBudget | None = None) -> Iterator[LoggedChange]:
        """Yield all changes after a commit, newest first."""
        for row in self._rows_since(number, budget):
            yield from reversed(_changes(row))

    def changes_of_document(
        self,
        document_id: str,
        after: int,
        *,
        until: int | None = None,
        limit: int | None = None,
        budget: ReadBudget | None = None,
    ) -> list[LoggedChange]:
        """Return the changes of a document after a commit, newest first.

        Args:
            document_id: The id of the document.
            after: Only changes of commits with higher numbers.
            until: The highest number; None for all.
            limit: The largest number of changes to return.
            budget: Counts the bytes of the changes that are read.
        """
        found: list[LoggedChange] = []
        for row in self._rows_of_key(document_id, after, budget, until):
            if document_id in row[3]:  # a search of the text takes a fraction of the time of parsing it
                found += [change for change in _changes(row) if change.document_id == document_id]
            if limit is not None and len(found) >= limit:
                break
        return found

    def changes_of_documents(self, document_ids: Collection[str], after: int) -> Iterator[LoggedChange]:
        """Yield the changes of many documents after a commit, newest first."""
        for row in self._rows_of_keys(document_ids, after):
            for change in reversed(_changes(row)):
                if change.document_id in document_ids:
                    yield change

    def changes_in(self, numbers: Collection[int]) -> Iterator[LoggedChange]:
        """Yield the changes of commits, in their order."""
        for row in self._rows(sorted(numbers)):
            yield from _changes(row)

    def commits_named(self, names: Collection[str]) -> list[Commit]:
        """Return the commits of requests and deliveries, given their ids, without changes, newest first."""
        found = map(_commit, self._rows_of_keys(names, 0))
        return [commit for commit in found if commit.request_id in names or commit.delivery in names]

    def undos(self) -> list[Commit]:
        """Return the commits that undo others, without changes, newest first."""
        return [commit for commit in map(_commit, self._rows_of_key(UNDO, 0)) if commit.undoes]

    def number_of(self, when: When) -> tuple[int, float | None]:
        """Return the number of the last commit up to a commit or a time, and the time if one was given.

        Raises:
            ArgumentValidationError: The value is neither.
        """
        time = _time_of(when)
        if time is None:
            return max(int(when), 0), None  # type: ignore[arg-type]  # a datetime has a time
        return self._number_at(time), time

    def check_covered(self, table: Table[Any], number: int, time: float | None) -> None:
        """Check that the log has every change of a table since a commit.

        Args:
            table: The table.
            number: The number of the commit.
            time: The time that the caller meant, or None if it was the commit.

        Raises:
            HistoryError: The log does not reach back that far, or the table is not logged.
        """
        start = self.start_of(table)
        if number < start.number or (time is not None and time < start.time):
            raise HistoryError(f"The history of {table.name} begins at commit {start.number}, which is later")
        self.check_kept(number, time)

    def start_of(self, table: Table[Any]) -> Start:
        """Return where the log of a table starts.

        Raises:
            HistoryError: The table is not logged.
        """
        if table.system:
            raise HistoryError(f"{table.name} is a table of the package, which is not logged")
        if not table.has_history:
            raise HistoryError(f"{table.name} has no history: its class has history=False")
        start = start_of(self.coverage.starts, table)
        if start is None:
            raise HistoryError(f"{table.name} has no history yet: nothing was written since, or CONVEX_HISTORY is off")
        return start

    def check_kept(self, number: int, time: float | None = None) -> None:
        """Check that the commits after a commit are not purged.

        Raises:
            HistoryError: They are.
        """
        coverage = self.coverage
        if number < coverage.purged or (time is not None and time < coverage.purged_time):
            raise HistoryError(
                f"The commits up to {coverage.purged} are purged (CONVEX_HISTORY says how long they are kept)"
            )

    def _number_at(self, time: float) -> int:
        """Return the number of the last commit up to a time, by binary search."""
        low, high = self.coverage.purged, self.newest()
        while low < high:
            middle = (low + high + 1) // 2
            found = self.commits(low, middle, limit=1, descending=True)
            if found and found[0].time > time:
                high = found[0].number - 1
            else:
                low = middle
        return low

    def _rows_since(self, number: int, budget: ReadBudget | None, until: int | None = None) -> Iterator[Row]:
        """Yield the rows of the commits after a commit and up to another one, newest first."""
        end = None if until is None else until + 1
        while rows := self._page(number + 1, end, descending=True, budget=budget):
            yield from rows
            end = rows[-1][2]

    def _rows_of_key(
        self, key: str, after: int, budget: ReadBudget | None = None, until: int | None = None
    ) -> Iterator[Row]:
        """Yield the rows of commits after a commit, newest first: those that may have a key, and some others."""
        indexed = self.coverage.indexed
        yield from self._rows_since(max(after, indexed), budget, until)
        last = indexed if until is None else min(indexed, until)
        for numbers in indexed_numbers(self.snapshot, self.schema, key, after, last):
            yield from self._rows(numbers, budget)

    def _rows_of_keys(self, keys: Collection[str], after: int) -> Iterator[Row]:
        """Yield the rows of commits after a commit, newest first: those that may have one of the keys, and others."""
        indexed = self.coverage.indexed
        if indexed - after < _SPREAD * len(keys):  # to look up each key would take longer
            yield from self._rows_since(after, None)
            return
        yield from self._rows_since(max(after, indexed), None)
        numbers: set[int] = set()
        for key in keys:
            numbers.update(*indexed_numbers(self.snapshot, self.schema, key, after, indexed))
        yield from self._rows(sorted(numbers, reverse=True))

    def _rows(self, numbers: Sequence[int], budget: ReadBudget | None = None) -> Iterator[Row]:
        """Yield the rows of commits, given their numbers in ascending or descending order, in this order."""
        for start in range(0, len(numbers), _PAGE):
            part = numbers[start : start + _PAGE]
            first, last = min(part), max(part)
            if last - first < _SPREAD * len(part):  # one statement for some rows too many
                wanted = set(part)
                rows = self._page(first, last + 1, descending=part[0] == last, budget=budget, limit=None)
                yield from (row for row in rows if row[2] in wanted)
                continue
            for number in part:
                yield from self._page(number, number + 1, descending=True, budget=budget)

    def _page(
        self,
        first: int,
        end: int | None,
        *,
        descending: bool,
        budget: ReadBudget | None = None,
        limit: int | None = _PAGE,
    ) -> list[Row]:
        segment = between_ids(commit_id(first), None if end is None else commit_id(end))
        return self.snapshot.select(self.commits_table, segment, descending=descending, limit=limit, budget=budget)


def _changes(row: Row) -> list[LoggedChange]:
    number, time = row[2], row[1]
    return [
        LoggedChange(number, time, table, document_id, operation, None if bytes(before) == b"null" else before)
        for table, document_id, operation, before in decode_changes(row)
    ]


def _commit(row: Row) -> Commit:
    _, time, number, _, request_id, function, identity, delivery, job, cron, undoes = row
    return Commit(
        number=number,
        time=time,
        request_id=request_id,
        function=function,
        identity=identity,
        delivery=delivery,
        job=job,
        cron=cron,
        undoes=None if undoes is None else msgspec.json.decode(undoes),
    )


def _time_of(when: Any) -> float | None:
    """Return a time in milliseconds since the epoch, or None for the number of a commit.

    Raises:
        ArgumentValidationError: The value is neither.
    """
    if isinstance(when, datetime.datetime):
        if when.tzinfo is None:
            raise ArgumentValidationError("The time needs a time zone, such as datetime.now(UTC)")
        return when.timestamp() * 1000
    if isinstance(when, bool) or not isinstance(when, int | float) or when != when:
        raise ArgumentValidationError(
            f"Expected the number of a commit, a datetime or milliseconds since the epoch, not a {type(when).__name__}"
        )
    return float(when) if isinstance(when, float) or when >= _FIRST_TIME else None
