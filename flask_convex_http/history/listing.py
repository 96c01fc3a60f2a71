"""Pages of commits, newest first, for people who look for one.

A commit may have thousands of changes, so a page shows the first ones of each, and only those are decoded. The rows are
read one after another until a page is full or has taken enough time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from flask_convex_http.engines import Row
from flask_convex_http.history.reader import HistoryReader, LoggedChange
from flask_convex_http.history.rows import Change, Commit, Revision
from flask_convex_http.history.values import shown_values
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.history_tables import StoredChange

#: Commits and characters of their changes that are read for one page, so that none takes long.
_MOST, _MOST_CHARACTERS = 20_000, 16 * 2**20

_decode_parts = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_change = msgspec.json.Decoder(StoredChange).decode


class ListedCommit(msgspec.Struct, frozen=True):
    """A commit on a page.

    Attributes:
        commit: The commit with some of its changes. In a list of commits they lack the values before the commit and the
            documents after it.
        count: The number of all its changes, or of those of the table that the page is about.
    """

    commit: Commit
    count: int


class CommitPage(msgspec.Struct, frozen=True):
    """A page of commits.

    Attributes:
        commits: The commits, newest first.
        older_than: Where the next page begins; None at the end of the log.
    """

    commits: list[ListedCommit]
    older_than: int | None


class RevisionPage(msgspec.Struct, frozen=True):
    """A page of the changes of one document.

    Attributes:
        revisions: The changes, newest first, without the documents after them.
        older_than: Where the next page begins; None at the end of the log.
    """

    revisions: list[Revision[Any]]
    older_than: int | None


def list_commits(
    reader: HistoryReader,
    *,
    limit: int,
    changes: int,
    older_than: int | None = None,
    tables: Collection[str] | None = None,
    cause: str | None = None,
) -> CommitPage:
    """Return a page of commits. It may have fewer than `limit`, or none, and not be the last one.

    Args:
        reader: Reads the log.
        limit: The largest number of commits to return.
        changes: The largest number of changes of each.
        older_than: Only commits with lower numbers.
        tables: Only commits that changed documents of a table with one of these names, and only those changes.
        cause: Only commits of this request, delivery, job, cron, function or identity.
    """
    found: list[ListedCommit] = []
    characters = 0
    # A table is the first part of each change.
    beginnings = None if tables is None else tuple(b'["%b",' % name.encode() for name in tables)
    rows = reader.all_commits(None if older_than is None else older_than - 1)
    for number, (commit, row) in enumerate(rows, start=1):
        listed = _listed(commit, row, changes, beginnings) if cause is None or commit.has_cause(cause) else None
        if listed is not None and len(found) == limit:
            return CommitPage(found, found[-1].commit.number)
        found += [] if listed is None else [listed]
        characters += len(row[3])
        if number >= _MOST or characters >= _MOST_CHARACTERS:
            return CommitPage(found, commit.number)
    return CommitPage(found, None)


def list_revisions(
    reader: HistoryReader, table: Table[Any], document_id: str, *, limit: int, older_than: int | None = None
) -> RevisionPage:
    """Return a page of the changes of a document, newest first, without the documents after them.

    Args:
        reader: Reads the log.
        table: The table of the document.
        document_id: The id of the document, which need not exist any more.
        limit: The largest number of changes.
        older_than: Only changes of commits with lower numbers.

    Raises:
        HistoryError: The table is not logged.
    """
    reader.start_of(table)
    until = None if older_than is None else older_than - 1
    found = reader.changes_of_document(document_id, reader.coverage.purged, until=until, limit=limit + 1)
    revisions = [_revision(reader, change) for change in found[:limit]]
    return RevisionPage(revisions, found[limit - 1].number if len(found) > limit else None)


def _listed(commit: Commit, row: Row, most: int, beginnings: tuple[bytes, ...] | None) -> ListedCommit | None:
    """Return a commit as a page has it, or None if none of its changes begins as asked for."""
    parts = _decode_parts(row[3])
    if beginnings is not None:
        parts = [part for part in parts if bytes(part).startswith(beginnings)]
        if not parts:
            return None
    shown = [_change(_decode_change(part)) for part in parts[:most]]
    return ListedCommit(msgspec.structs.replace(commit, changes=shown), len(parts))


def _change(stored: StoredChange) -> Change[Any]:
    table, document_id, operation, _ = stored
    return Change(table=table, id=document_id, operation=operation, before={})


def _revision(reader: HistoryReader, change: LoggedChange) -> Revision[Any]:
    commit = reader.commit(change.number) or Commit(number=change.number, time=change.time)
    before = {} if change.before is None else shown_values(change.before)
    return Revision(commit=commit, operation=change.operation, before=before)
