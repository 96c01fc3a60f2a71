"""The commits of a database in their order, each with its changes and the documents as they were after it.

A reader keeps the number of the last commit that it has processed, and asks for those after it. On PostgreSQL the
commits of concurrent transactions become visible in another order than their numbers, so the feed stops below the
oldest transaction that is still running (`Engine.settled_commit`). Nothing is skipped that way, and nothing repeated.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from flask_convex_http.engines import Engine
from flask_convex_http.errors import HistoryError
from flask_convex_http.history.as_of import PastRow
from flask_convex_http.history.reader import HistoryReader, LoggedChange
from flask_convex_http.history.rows import Change, Commit
from flask_convex_http.history.values import shown_values
from flask_convex_http.schema.documents import Document, Schema

#: Commits that are read at once. Each read goes over the later changes of their documents as well, to rebuild those.
_PAGE = 500
#: Seconds between two looks for new commits.
_INTERVAL = 0.2


class CommitFeed:
    """Reads commits in their order.

    Args:
        engine: The database.
        schema: The tables.
    """

    __slots__ = ("_engine", "_schema")

    def __init__(self, engine: Engine, schema: Schema) -> None:
        self._engine = engine
        self._schema = schema

    def last_commit(self) -> int:
        """Return the number of the last commit that the feed has by now, 0 for none."""
        settled = self._engine.settled_commit()
        with self._engine.snapshot() as snapshot:
            newest = HistoryReader(snapshot, self._schema).newest()
        return newest if settled is None else min(newest, settled)

    def read(self, since: int, limit: int = _PAGE) -> list[Commit]:
        """Return the commits after a commit, with their changes, at most `limit`.

        Raises:
            HistoryError: Some of them are purged, or there is no such commit yet.
        """
        settled = self._engine.settled_commit()  # before the snapshot, which then has every commit up to it
        with self._engine.snapshot() as snapshot:
            reader = HistoryReader(snapshot, self._schema)
            commits = reader.commits(since, settled, limit=limit)
            if not commits or since < reader.coverage.first:
                _check_cursor(reader, since, settled)
            return with_changes(reader, commits)

    def poll(self, since: int, seconds: float, limit: int = _PAGE) -> list[Commit]:
        """Return the commits after a commit, and wait for one if there is none. An empty list after the time is over.

        Args:
            since: The number of the commit.
            seconds: Seconds to wait.
            limit: The largest number of commits to return.

        Raises:
            HistoryError: Some of them are purged, or there is no such commit yet.
        """
        end, seen = time.monotonic() + seconds, None
        while True:
            version = self._engine.version()
            if (version is None or version != seen) and (commits := self.read(since, limit)):
                return commits
            seen, left = version, end - time.monotonic()
            if left <= 0:
                return []
            time.sleep(min(_INTERVAL, left))

    def changes(
        self, since: int, tables: Iterable[type[Document]] | None = None, *, wait: float = 0.0
    ) -> Iterator[Commit]:
        """Yield the commits after a commit that have changed documents.

        Args:
            since: The number of the commit, 0 for the beginning of the log.
            tables: The classes of the documents; other changes are left out. None for all.
            wait: Seconds to wait for another commit before the iteration ends.

        Raises:
            HistoryError: Some of them are purged, or there is no such commit yet.
        """
        names = None if tables is None else {name for each in tables for name in self._names(each)}
        while commits := self.poll(since, wait):
            shown = commits if names is None else [only(commit, names) for commit in commits]
            yield from (commit for commit in shown if commit.changes)
            since = commits[-1].number

    def _names(self, document: type[Document]) -> tuple[str, ...]:
        return self._schema.table_for(document).id_prefixes


def with_changes(reader: HistoryReader, commits: Sequence[Commit]) -> list[Commit]:
    """Return commits with their changes. They are in the order of their numbers, with none between them left out."""
    if not commits:
        return []
    return _with_logged(reader, commits, list(reader.changes_of(commits[0].number, commits[-1].number)))


def with_some_changes(reader: HistoryReader, commit: Commit, first: int, limit: int) -> tuple[Commit, int]:
    """Return a commit with some of its changes, from the first one on, and the number of all of them."""
    logged = list(reader.changes_of(commit.number, commit.number))
    [found] = _with_logged(reader, [commit], logged[first : first + limit])
    return found, len(logged)


def _with_logged(reader: HistoryReader, commits: Sequence[Commit], logged: list[LoggedChange]) -> list[Commit]:
    past = _rows_after(reader, {change.document_id for change in logged}, commits[-1].number)
    changes: dict[int, list[Change[Any]]] = {}
    for change in reversed(logged):
        row = past.get(change.document_id)
        document = None if row is None else row.document_or_none()
        changes.setdefault(change.number, []).append(described(change, document))
        if row is not None and not row.try_undo(change):
            del past[change.document_id]
    return [msgspec.structs.replace(commit, changes=changes.get(commit.number, [])[::-1]) for commit in commits]


def only(commit: Commit, tables: Iterable[str]) -> Commit:
    """Return a commit with its changes of some tables."""
    return msgspec.structs.replace(commit, changes=[change for change in commit.changes if change.table in tables])


def described(change: LoggedChange, document: Any) -> Change[Any]:
    """Return a change of the log as applications see it."""
    return Change(
        table=change.table,
        id=change.document_id,
        operation=change.operation,
        before={} if change.before is None else shown_values(change.before),
        document=document,
    )


def _rows_after(reader: HistoryReader, documents: set[str], last: int) -> dict[str, PastRow]:
    """Return the rows of documents as they were after a commit, without those that cannot be rebuilt."""
    past: dict[str, PastRow] = {}
    for document_id in documents:
        table = reader.schema.likely_table_of(document_id)
        if table is not None and not table.system:
            past[document_id] = PastRow(table, document_id, reader.snapshot.get(table, document_id))
    for later in reader.changes_of_documents(documents, last):
        row = past.get(later.document_id)
        if row is not None and not row.try_undo(later):
            del past[later.document_id]
    return past


def _check_cursor(reader: HistoryReader, since: int, settled: int | None) -> None:
    """Check that the log has every commit after a number.

    Raises:
        HistoryError: It has not.
    """
    first, newest = reader.coverage.first, max(reader.newest(), settled or 0)
    if since < first:
        raise HistoryError(
            f"The changes after commit {since} are not all in the log, which begins at commit {first}: read the tables "
            "again, and follow from convex.last_commit()"
        )
    if since > newest:
        raise HistoryError(
            f"There is no commit {since} yet, the last one is {newest}; was an older backup restored? Read the tables "
            "again, and follow from convex.last_commit()"
        )
