"""The ids of the log's rows, the ranges of their ids, and the commits and changes as applications see them."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

import msgspec

from flask_convex_http.schema.documents import ID_COLUMN, Document
from flask_convex_http.schema.history_tables import COMMITS as COMMITS
from flask_convex_http.schema.history_tables import Operation
from flask_convex_http.schema.history_tables import commit_id as commit_id
from flask_convex_http.schema.index_ranges import Bound, Segment

D = TypeVar("D", bound=Document)


class Change(msgspec.Struct, Generic[D], frozen=True, kw_only=True, rename={"id": "_id"}):
    """A change of one document.

    Attributes:
        table: The name of its table.
        id: The id of the document.
        operation: "insert", "update", "delete", or "erased" if its previous values were erased.
        before: The previous values of the fields that changed, of all fields if it was deleted, as JSON values. Empty
            if it was inserted.
        document: The document after the commit. None if it was deleted, if its class is gone, or if its history was
            erased.
    """

    table: str
    id: str
    operation: Operation | Literal["erased"]
    before: dict[str, Any]
    document: D | None = None


class Commit(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A commit: its number, its time and its cause.

    Attributes:
        number: The number of the commit. Later commits have higher numbers, and some numbers are missing.
        time: The time at which its transaction began, in milliseconds since the epoch.
        request_id: The id of the HTTP request, as in the log.
        function: The mutation, the handler of a webhook or the idempotent handler that ran.
        identity: The subject of the caller's identity.
        delivery: The webhook delivery.
        job: The scheduled job.
        cron: The cron that scheduled the job.
        undoes: The numbers of the commits that it undoes.
        changes: The documents that it changed. Empty in `Revision.commit`.
    """

    number: int
    time: float
    request_id: str | None = None
    function: str | None = None
    identity: str | None = None
    delivery: str | None = None
    job: str | None = None
    cron: str | None = None
    undoes: list[int] | None = None
    changes: list[Change[Any]] = []

    def has_cause(self, cause: str) -> bool:
        """Return whether this request, delivery, job, cron, function or identity caused the commit."""
        return cause in (self.request_id, self.delivery, self.job, self.cron, self.function, self.identity)


class Revision(msgspec.Struct, Generic[D], frozen=True, kw_only=True):
    """A change of one document, with its commit; `ctx.db.history(id)`.

    Attributes:
        commit: The commit.
        operation: "insert", "update", "delete", or "erased" if its previous values were erased.
        before: The previous values of the fields that changed, of all fields if it was deleted, as JSON values. Empty
            if it was inserted.
        document: The document after the commit, or None if it was deleted.
    """

    commit: Commit
    operation: Operation | Literal["erased"]
    before: dict[str, Any]
    document: D | None = None


def between_ids(first: str | None, last: str | None) -> Segment:
    """Return the segment of rows from an id up to but not including another one, in the order of their ids."""
    lower = None if first is None else Bound(first, True)
    upper = None if last is None else Bound(last, False)
    return Segment((ID_COLUMN,), column=ID_COLUMN if lower or upper else None, lower=lower, upper=upper)
