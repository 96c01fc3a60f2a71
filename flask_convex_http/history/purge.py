"""Purge old commits, and erase the history of one document."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from flask_convex_http.engines import Transaction
from flask_convex_http.history.coverage import Coverage, read_coverage, write_coverage
from flask_convex_http.history.reader import HistoryReader
from flask_convex_http.history.rows import CHANGES, COMMITS, change_id, changes_of_document, commit_id
from flask_convex_http.schema.documents import Schema

#: How long commits are kept while no log is written, which may be a mistake of one process.
DEFAULT_RETENTION = timedelta(days=7)
#: Rows that one transaction deletes.
_ROWS = 1000
#: Changes that one transaction erases.
_ERASED = 500


def purge(transaction: Transaction, schema: Schema, now: float, retention: timedelta | None) -> bool:
    """Delete one batch of old commits with their changes, and return whether there may be more.

    The newest commit stays, since the numbers of later ones follow it.

    Args:
        transaction: The transaction.
        schema: The tables.
        now: The time, in milliseconds since the epoch.
        retention: How long commits are kept; None if no log is written.
    """
    coverage = read_coverage(transaction, schema) or Coverage()
    before = now - (retention or DEFAULT_RETENTION).total_seconds() * 1000
    oldest = HistoryReader(transaction, schema).commits(0, limit=_ROWS + 1)
    expired = [commit for commit in oldest[:-1] if commit.time < before]
    if expired:
        last, time = expired[-1].number, max(commit.time for commit in expired)
        coverage = msgspec.structs.replace(coverage, purged=last, purged_time=time)
        write_coverage(transaction, schema, coverage, now)
        transaction.delete_before(schema.tables[COMMITS], commit_id(last + 1), _ROWS)
    # the changes of a commit may take several transactions, in which no reader looks at them any more
    changes = transaction.delete_before(schema.tables[CHANGES], change_id(coverage.purged + 1), _ROWS)
    return max(len(expired), changes) >= _ROWS


def erase(transaction: Transaction, schema: Schema, document_id: str) -> int:
    """Erase the previous values of a document from one batch of its changes, and return their number.

    The commits keep that they have changed the document.

    Args:
        transaction: The transaction.
        schema: The tables.
        document_id: The document, which need not exist any more.
    """
    table = schema.tables[CHANGES]
    rows = transaction.select(table, changes_of_document(document_id, 0), descending=False, limit=None)
    left = [row for row in rows if row[5] != "erased"][:_ERASED]
    for row in left:
        transaction.update(table, row[0], {"operation": "erased", "before": None})
    return len(left)
