"""The changes of one document, each with the document as it was after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask_convex_http.engines import ReadBudget
from flask_convex_http.history.as_of import PastRow
from flask_convex_http.history.log import NotedChange
from flask_convex_http.history.reader import HistoryReader, LoggedChange
from flask_convex_http.history.rows import Commit, Revision
from flask_convex_http.history.values import shown_values
from flask_convex_http.schema.documents import Table


def revisions(
    reader: HistoryReader,
    table: Table[Any],
    document_id: str,
    *,
    limit: int | None = None,
    noted: Sequence[NotedChange] = (),
    budget: ReadBudget | None = None,
) -> list[Revision[Any]]:
    """Return the changes of a document, newest first.

    Args:
        reader: Reads the log.
        table: The table of the document.
        document_id: The id of the document, which need not exist any more.
        limit: The largest number of changes to return.
        noted: The changes of the transaction that reads, which are not in the log yet.
        budget: Counts the bytes of the changes that are read.

    Raises:
        HistoryError: The table is not logged.
    """
    start = reader.start_of(table)
    row = PastRow(table, document_id, reader.snapshot.get(table, document_id))
    for change in reversed(noted):
        if change.document_id == document_id:
            row.undo(change.operation, dict(change.before))
    found: list[Revision[Any]] = []
    is_known = True
    for logged in reader.changes_of_document(document_id, reader.coverage.purged, limit=limit, budget=budget):
        is_known = is_known and logged.number > start.number
        found.append(_revision(reader, logged, row.document_or_none() if is_known else None))
        is_known = is_known and row.try_undo(logged)
    return found


def _revision(reader: HistoryReader, logged: LoggedChange, document: Any) -> Revision[Any]:
    return Revision(
        commit=reader.commit(logged.number) or Commit(number=logged.number, time=logged.time),
        operation=logged.operation,
        before={} if logged.before is None else shown_values(logged.before),
        document=document,
    )
