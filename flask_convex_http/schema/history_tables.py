"""The tables of the commit log: `_commits` has the cause of each commit, `_changes` the rows that it changed.

Ids in these tables hold the number of the commit, so that the rows are stored and read in the order of commits. The
creation time of a row is the time of its commit.
"""

from __future__ import annotations

from typing import Any, Literal

from flask_convex_http.schema.documents import Document

#: The hexadecimal digits of the number of a commit in an id, and those of a place after them.
NUMBER_DIGITS, PLACE_DIGITS = 15, 17
Operation = Literal["insert", "update", "delete"]
#: The stored kinds of changes: "erased" stands for a change whose previous values were erased.
StoredOperation = Literal["insert", "update", "delete", "erased"]


class CommitRow(Document, table="_commits"):
    """A commit, and what caused it.

    Attributes:
        number: The number of the commit. Later commits have higher numbers, and some numbers are missing.
        request_id: The id of the HTTP request, as in the log.
        function: The mutation, the handler of a webhook or the idempotent handler that ran.
        identity: The subject of the caller's identity.
        delivery: The webhook delivery.
        job: The scheduled job.
        cron: The cron that scheduled the job.
        undoes: The numbers of the commits that it undoes.
    """

    number: int
    request_id: str | None = None
    function: str | None = None
    identity: str | None = None
    delivery: str | None = None
    job: str | None = None
    cron: str | None = None
    undoes: list[int] | None = None


class ChangeRow(Document, table="_changes", indexes={"by_document": ["document"]}):
    """A change of one document in one commit.

    Attributes:
        commit_number: The number of the commit.
        table_name: The table of the document, by its name at that time.
        document: The id of the document.
        operation: The kind of change.
        before: The previous values of the fields that changed, of all fields if it was deleted. None if it was
            inserted, or if its history was erased.
    """

    commit_number: int
    table_name: str
    document: str
    operation: StoredOperation
    before: dict[str, Any] | None = None


def commit_id(number: int) -> str:
    """Return the id of the row of a commit, which sorts before those of later commits."""
    return f"_commits_{number:0{NUMBER_DIGITS}x}{0:0{PLACE_DIGITS}x}"


def change_id(number: int, place: int = 0) -> str:
    """Return the id of the row of a change, which sorts before those of later changes.

    Args:
        number: The number of the commit.
        place: The place of the change in the commit, from 0.
    """
    return f"_changes_{number:0{NUMBER_DIGITS}x}{place:0{PLACE_DIGITS}x}"


#: The tables whose rows SQLite stores in the order of their ids, without a second tree.
CLUSTERED = frozenset({"_commits", "_changes"})
