"""The tables of the commit log: each commit with its cause and the documents that it changed, and an index.

A commit is one row, since each further row or index would cost a write more of a page for every mutation. The view
`_changes` shows each change as a row, for people and other programs.

An id holds the number of its commit, so that the rows are stored and read in the order of commits. The creation time of
a row is the time of its commit.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from flask_convex_http.schema.documents import Document

#: The hexadecimal digits of the number of a commit in an id, and the zeros after them.
NUMBER_DIGITS, ZERO_DIGITS = 15, 17
_ZEROS = "0" * ZERO_DIGITS
COMMITS, COMMIT_KEYS = "_commits", "_commit_keys"
Operation = Literal["insert", "update", "delete"]
#: The stored kinds of changes: "erased" stands for a change whose previous values were erased.
StoredOperation = Literal["insert", "update", "delete", "erased"]
#: A stored change: the table of the document by its name at that time, the id of the document, the kind of change, and
#: the previous values of the fields that changed, of all fields if it was deleted.
StoredChange = tuple[str, str, StoredOperation, msgspec.Raw]
#: The name and the columns of the view of all changes.
VIEW = "_changes"
VIEW_COLUMNS = ("commit_number", "table_name", "document", "operation", "before")


class CommitRow(Document, table="_commits"):
    """A commit, and its cause.

    Attributes:
        number: The number of the commit. Later commits have higher numbers, and some numbers are missing.
        changes: The changes, each as a list: the table of the document, its id, the kind of change, and the previous
            values of the fields that changed or None.
        request_id: The id of the HTTP request, as in the log.
        function: The mutation, the handler of a webhook or the idempotent handler that ran.
        identity: The subject of the caller's identity.
        delivery: The webhook delivery.
        job: The scheduled job.
        cron: The cron that scheduled the job.
        undoes: The numbers of the commits that it undoes.
    """

    number: int
    changes: list[list[str | dict[str, object] | None]]
    request_id: str | None = None
    function: str | None = None
    identity: str | None = None
    delivery: str | None = None
    job: str | None = None
    cron: str | None = None
    undoes: list[int] | None = None


class CommitKey(Document, table="_commit_keys"):
    """An entry of the index of commits by document, request and delivery.

    Its id has 17 digits of the key and then the number of the commit. So the rows are in the order of the index, and
    need no other one.

    Attributes:
        number: The number of the commit.
    """

    number: int


def commit_id(number: int) -> str:
    """Return the id of the row of a commit, which sorts before those of later commits."""
    return f"_commits_{number:0{NUMBER_DIGITS}x}{_ZEROS}"


#: The tables whose rows SQLite stores in the order of their ids, without a second tree.
CLUSTERED = frozenset({COMMITS, COMMIT_KEYS})
