"""Pages of commits, newest first, for people who look for one."""

from __future__ import annotations

from typing import Any

import msgspec

from flask_convex_http.history.reader import HistoryReader
from flask_convex_http.history.rows import Change, Commit

#: Commits that are looked at for one page, so that a rare cause does not make a page take long.
_MOST = 20_000
_BATCH = 500


class CommitPage(msgspec.Struct, frozen=True):
    """A page of commits.

    Attributes:
        commits: The commits with their changes, newest first. The changes lack the values before the commit and the
            documents after it.
        older_than: Where the next page begins; None at the end of the log.
    """

    commits: list[Commit]
    older_than: int | None


def list_commits(
    reader: HistoryReader,
    *,
    limit: int,
    older_than: int | None = None,
    table: str | None = None,
    cause: str | None = None,
) -> CommitPage:
    """Return a page of commits. It may have fewer than `limit`, or none, and not be the last one.

    Args:
        reader: Reads the log.
        limit: The largest number of commits to return.
        older_than: Only commits with lower numbers.
        table: Only commits that changed documents of this table, and only those changes.
        cause: Only commits of this request, delivery, job, cron, function or identity.
    """
    found: list[Commit] = []
    until = None if older_than is None else older_than - 1
    size = limit + 1 if cause is None and table is None else _BATCH
    for _ in range(0, _MOST, size):
        batch = reader.commits(0, until, limit=size, descending=True)
        caused = [commit for commit in batch if cause is None or commit.has_cause(cause)]
        if table is None:  # a commit may have many changes, so those of other pages are not read
            del caused[limit + 1 - len(found) :]
        found += [commit for commit in _with_changes(reader, caused, table) if table is None or commit.changes]
        if len(found) > limit:
            return CommitPage(found[:limit], found[limit - 1].number)
        if len(batch) < size:
            return CommitPage(found, None)
        until = batch[-1].number - 1
    return CommitPage(found, None if until is None else until + 1)


def _with_changes(reader: HistoryReader, commits: list[Commit], table: str | None) -> list[Commit]:
    if not commits:
        return []
    changes: dict[int, list[Change[Any]]] = {}
    for logged in reader.changes_in([commit.number for commit in commits]):
        if table in (None, logged.table):
            change: Change[Any] = Change(
                table=logged.table, id=logged.document_id, operation=logged.operation, before={}
            )
            changes.setdefault(logged.number, []).append(change)
    return [msgspec.structs.replace(commit, changes=changes.get(commit.number, [])) for commit in commits]
