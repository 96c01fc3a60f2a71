"""The index of the log: the commits of each document, request and delivery, and those that undo others.

The worker adds new commits, many in one transaction, so that no mutation has to write entries. `Coverage.indexed` says
how far it has come. A reader looks up the entries, and reads the later commits one after another.

An entry has 17 digits of the key: of an id its beginning, which is its time, so that entries of new documents are side
by side; of any other text a digest. Two keys may share their digits, so a reader checks what it finds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from flask_convex_http.engines import Row, Snapshot, Transaction
from flask_convex_http.history.coverage import Coverage, read_coverage, write_coverage
from flask_convex_http.history.rows import COMMITS, between_ids, commit_id
from flask_convex_http.ids import first_id, table_of
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.history_tables import COMMIT_KEYS, NUMBER_DIGITS, ZERO_DIGITS, StoredChange

#: The key of all commits that undo others.
UNDO = "undo"
#: Entries after which a transaction ends, and commits or entries that are read or deleted at once.
_ENTRIES, _PAGE = 1000, 500

_decode = msgspec.json.Decoder(list[StoredChange]).decode


def decode_changes(row: Row) -> list[StoredChange]:
    """Return the changes in the row of a commit."""
    return _decode(row[3])


def entries_of(row: Row) -> set[str]:
    """Return the ids of all entries of a commit, given its row."""
    _, _, number, _, request_id, _, _, delivery, _, _, undoes = row
    prefixes = {_prefix_of_id(change[1]) for change in decode_changes(row)}
    prefixes.update(_prefix(key) for key in (request_id, delivery, undoes and UNDO) if key is not None)
    digits = f"{number:0{NUMBER_DIGITS}x}"
    return {prefix + digits for prefix in prefixes}


def indexed_numbers(snapshot: Snapshot, schema: Schema, key: str, after: int, until: int) -> Iterator[list[int]]:
    """Yield the numbers of the commits that the index has for a key, newest first, in pages.

    Args:
        snapshot: The snapshot.
        schema: The tables.
        key: The key.
        after: Only higher numbers.
        until: The highest number.
    """
    prefix, table = _prefix(key), schema.tables[COMMIT_KEYS]
    while after < until:
        segment = between_ids(f"{prefix}{after + 1:0{NUMBER_DIGITS}x}", f"{prefix}{until + 1:0{NUMBER_DIGITS}x}")
        rows = snapshot.select(table, segment, descending=True, limit=_PAGE)
        if rows:
            yield [row[2] for row in rows]
        until = rows[-1][2] - 1 if len(rows) == _PAGE else after


def is_indexed(snapshot: Snapshot, schema: Schema, newest: int) -> bool:
    """Return whether the index has all commits up to a number."""
    coverage = read_coverage(snapshot, schema)
    return coverage is None or newest <= _start(coverage)


def index_commits(transaction: Transaction, schema: Schema, now: float, settled: int | None) -> bool:
    """Add the entries of some commits to the index, and return whether there may be more.

    Args:
        transaction: The transaction.
        schema: The tables.
        now: The time, in milliseconds since the epoch.
        settled: The number up to which all commits are visible, or None for all.
    """
    table, coverage = schema.tables[COMMIT_KEYS], read_coverage(transaction, schema) or Coverage()
    if not coverage.indexed and transaction.delete_before(table, first_id(COMMIT_KEYS, float("inf")), _ENTRIES):
        return True  # an index whose end is not known is built anew
    entries, last = _new_entries(transaction, schema, _start(coverage), settled)
    if last > coverage.indexed:
        transaction.insert_all(table, sorted(entries))
        write_coverage(transaction, schema, msgspec.structs.replace(coverage, indexed=last), now)
    return len(entries) >= _ENTRIES


def delete_entries(transaction: Transaction, schema: Schema, rows: list[Row]) -> None:
    """Delete the entries of commits, given their rows."""
    entries = [entry for row in rows for entry in entries_of(row)]
    for start in range(0, len(entries), _PAGE):
        transaction.delete_all(schema.tables[COMMIT_KEYS], entries[start : start + _PAGE])


def _start(coverage: Coverage) -> int:
    return max(coverage.indexed, coverage.purged)


def _new_entries(
    transaction: Transaction, schema: Schema, after: int, settled: int | None
) -> tuple[list[tuple[str, float, int]], int]:
    """Return the entries of the commits after a number, as rows, and the number of the last of these commits."""
    entries: list[tuple[str, float, int]] = []
    until = None if settled is None else commit_id(settled + 1)
    while len(entries) < _ENTRIES:
        segment = between_ids(commit_id(after + 1), until)
        rows = transaction.select(schema.tables[COMMITS], segment, descending=False, limit=_PAGE)
        for row in rows:
            entries += [(entry, row[1], row[2]) for entry in entries_of(row)]
        after = rows[-1][2] if rows else after
        if len(rows) < _PAGE:
            break
    return entries, after


def _prefix(key: str) -> str:
    """Return the beginning of the ids of a key's entries."""
    if table_of(key) is not None:
        return _prefix_of_id(key)
    return f"{COMMIT_KEYS}_{hashlib.sha256(key.encode(errors='replace')).hexdigest()[:ZERO_DIGITS]}"


def _prefix_of_id(document_id: str) -> str:
    return f"{COMMIT_KEYS}_{document_id[-32 : ZERO_DIGITS - 32]}"
