"""The history of a deployment, for the command line, the worker and programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any

from flask_convex_http.engines import Engine, Transaction
from flask_convex_http.errors import ArgumentRangeError
from flask_convex_http.history.commit_keys import index_commits, is_indexed
from flask_convex_http.history.coverage import newest_commit
from flask_convex_http.history.feed import CommitFeed, only, with_changes, with_some_changes
from flask_convex_http.history.listing import CommitPage, ListedCommit, RevisionPage, list_commits, list_revisions
from flask_convex_http.history.purge import erase, purge
from flask_convex_http.history.reader import HistoryReader
from flask_convex_http.history.revisions import revisions
from flask_convex_http.history.rows import Commit, Revision
from flask_convex_http.ids import table_of
from flask_convex_http.schema.documents import Schema, Table

#: Commits from which one transaction erases.
_ERASED = 200


class History:
    """The commits of a deployment.

    Args:
        engine: The database.
        schema: The tables.
        retention: How long commits are kept; None if no log is written.
        clock: Returns the time, in milliseconds since the epoch.

    Attributes:
        feed: Reads commits in their order.
    """

    def __init__(self, engine: Engine, schema: Schema, retention: timedelta | None, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._schema = schema
        self._retention = retention
        self._clock = clock
        self.feed = CommitFeed(engine, schema)

    def log(self, *, limit: int, table: str | None = None, cause: str | None = None) -> list[Commit]:
        """Return commits with their changes, newest first.

        Args:
            limit: The largest number of commits to return.
            table: Only commits that changed documents of this table, and only those changes.
            cause: Only commits of this request, delivery, job, cron, function or identity.
        """
        with self._engine.snapshot() as snapshot:
            reader = HistoryReader(snapshot, self._schema)
            return list(islice(_logged(reader, table, cause), limit))

    def page(
        self,
        *,
        limit: int,
        changes: int,
        older_than: int | None = None,
        table: str | None = None,
        cause: str | None = None,
    ) -> CommitPage:
        """Return a page of commits, newest first; see `list_commits`."""
        names = None if table is None else self._schema.tables[table].id_prefixes
        with self._engine.snapshot() as snapshot:
            reader = HistoryReader(snapshot, self._schema)
            return list_commits(reader, limit=limit, changes=changes, older_than=older_than, tables=names, cause=cause)

    def commit_page(self, number: int, *, first: int, limit: int) -> ListedCommit | None:
        """Return a commit with some of its changes, or None if the log does not have it.

        Args:
            number: The number of the commit.
            first: The number of changes before the first one.
            limit: The largest number of changes.
        """
        with self._engine.snapshot() as snapshot:
            reader = HistoryReader(snapshot, self._schema)
            found = reader.commit(number)
            return None if found is None else ListedCommit(*with_some_changes(reader, found, first, limit))

    def commit(self, number: int) -> Commit | None:
        """Return a commit with its changes, or None if the log does not have it."""
        with self._engine.snapshot() as snapshot:
            reader = HistoryReader(snapshot, self._schema)
            found = reader.commit(number)
            return None if found is None else with_changes(reader, [found])[0]

    def revisions(self, document_id: str, limit: int | None = None) -> list[Revision[Any]]:
        """Return the changes of a document, newest first.

        Raises:
            ArgumentRangeError: The value is no id of a document of the application.
        """
        table = self._table_of(document_id)
        with self._engine.snapshot() as snapshot:
            return revisions(HistoryReader(snapshot, self._schema), table, document_id, limit=limit)

    def revision_page(self, document_id: str, *, limit: int, older_than: int | None = None) -> RevisionPage:
        """Return a page of the changes of a document, newest first; see `list_revisions`.

        Raises:
            ArgumentRangeError: The value is no id of a document of the application.
        """
        table = self._table_of(document_id)
        with self._engine.snapshot() as snapshot:
            reader = HistoryReader(snapshot, self._schema)
            return list_revisions(reader, table, document_id, limit=limit, older_than=older_than)

    def _table_of(self, document_id: str) -> Table[Any]:
        table = self._schema.likely_table_of(document_id)
        if table_of(document_id) is None or table is None or table.system:
            raise ArgumentRangeError(f"{document_id!r} is not the id of a document of this app", "Expected a valid id")
        return table

    def erase(self, document_id: str) -> int:
        """Erase the history of a document, in several transactions, and return the number of erased changes.

        Args:
            document_id: The id of the document, which need not exist any more.

        Raises:
            ArgumentRangeError: The value is no id.
        """
        if table_of(document_id) is None:
            raise ArgumentRangeError(f"{document_id!r} is not the id of a document", "Expected a valid id")
        with self._engine.snapshot() as snapshot:
            found = HistoryReader(snapshot, self._schema).changes_of_document(document_id, 0)
        numbers = [change.number for change in found if change.operation != "erased"]
        batches = [numbers[start : start + _ERASED] for start in range(0, len(numbers), _ERASED)]
        return sum(self._engine.write(partial(_erase, self._schema, document_id, batch)) for batch in batches)

    def index(self) -> bool:
        """Add one batch of new commits to the index by document, request and delivery; whether there may be more."""
        settled = self._engine.settled_commit()
        with self._engine.snapshot() as snapshot:
            newest = newest_commit(snapshot, self._schema)
            if is_indexed(snapshot, self._schema, newest if settled is None else min(newest, settled)):
                return False
        return self._engine.write(partial(_index, self._schema, self._clock(), settled))

    def purge(self, transaction: Transaction) -> bool:
        """Delete one batch of old commits, and return whether there may be more."""
        return purge(transaction, self._schema, self._clock(), self._retention)


def _erase(schema: Schema, document_id: str, numbers: list[int], transaction: Transaction) -> int:
    return erase(transaction, schema, document_id, numbers)


def _index(schema: Schema, now: float, settled: int | None, transaction: Transaction) -> bool:
    return index_commits(transaction, schema, now, settled)


def _logged(reader: HistoryReader, table: str | None, cause: str | None) -> Iterator[Commit]:
    for commit, _ in reader.all_commits():
        if cause is None or commit.has_cause(cause):
            [full] = with_changes(reader, [commit])
            yield from _of_table(full, table)


def _of_table(commit: Commit, table: str | None) -> Iterable[Commit]:
    if table is None:
        return [commit]
    found = only(commit, (table,))
    return [found] if found.changes else []
