"""Purge old commits, and erase the history of one document."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from flask_convex_http.engines import Transaction
from flask_convex_http.history.commit_keys import decode_changes, delete_entries
from flask_convex_http.history.coverage import Coverage, read_coverage, write_coverage
from flask_convex_http.history.rows import COMMITS, between_ids, commit_id
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.history_tables import StoredChange

#: How long commits are kept while no log is written, which may be a mistake of one process.
DEFAULT_RETENTION = timedelta(days=7)
#: Rows that one transaction deletes.
_ROWS = 1000


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
    oldest = transaction.select(schema.tables[COMMITS], between_ids(None, None), descending=False, limit=_ROWS + 1)
    expired = [row for row in oldest[:-1] if row[1] < before]
    if expired:
        last, time = expired[-1][2], max(row[1] for row in expired)
        coverage = msgspec.structs.replace(coverage, purged=last, purged_time=time)
        write_coverage(transaction, schema, coverage, now)
        delete_entries(transaction, schema, expired)
        transaction.delete_before(schema.tables[COMMITS], commit_id(last + 1), _ROWS)
    return len(expired) >= _ROWS


def erase(transaction: Transaction, schema: Schema, document_id: str, numbers: Sequence[int]) -> int:
    """Erase the previous values of a document from commits, and return the number of erased changes.

    The commits keep that they have changed the document.

    Args:
        transaction: The transaction.
        schema: The tables.
        document_id: The document, which need not exist any more.
        numbers: The numbers of the commits.
    """
    table, count = schema.tables[COMMITS], 0
    for number in numbers:
        row = transaction.get(table, commit_id(number))
        if row is None:  # it was purged since
            continue
        changes = decode_changes(row)
        erased = [_erased(change) if change[1] == document_id else change for change in changes]
        count += sum(change[1] == document_id and change[2] != "erased" for change in changes)
        transaction.update(table, row[0], {"changes": msgspec.json.encode(erased).decode()})
    return count


def _erased(change: StoredChange) -> StoredChange:
    return (*change[:2], "erased", msgspec.Raw(b"null"))
