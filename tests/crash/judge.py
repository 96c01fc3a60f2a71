"""Checks of a ledger after a crash: acknowledged entries exist, nothing is half-written, and work can continue."""

import io
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from flask_convex_http import BlobNotFoundError, Id, StoredFile
from flask_convex_http.backend import Backend
from flask_convex_http.sqlite.connections import sqlite3
from tests.crash.app import create_app
from tests.crash.ledger import DATABASE, FILES, is_torn, open_ledger, post
from tests.killing import problems_of

#: Selects of rows that must never exist.
_CONTRADICTIONS = {
    "an account that does not agree with its entries": """
        SELECT name, total, entries, (SELECT sum(amount) FROM entries WHERE account = accounts._id),
            (SELECT count(*) FROM entries WHERE account = accounts._id)
        FROM accounts
        WHERE (total, entries) IS NOT
            (SELECT coalesce(sum(amount), 0), count(*) FROM entries WHERE account = accounts._id)
        """,
    "an entry whose number or running total does not follow from those before": """
        SELECT key, number, total, expected_number, expected_total FROM (
            SELECT key, number, total, row_number() OVER w AS expected_number, sum(amount) OVER w AS expected_total
            FROM entries WINDOW w AS (PARTITION BY account ORDER BY number)
        ) WHERE (number, total) IS NOT (expected_number, expected_total)
        """,
    "an entry without its twin": """
        SELECT key FROM entries
        WHERE (key, amount) IS NOT (SELECT key, amount FROM twins WHERE twins.entry = entries._id)
        """,
    "a twin without its entry": "SELECT key FROM twins WHERE entry NOT IN (SELECT _id FROM entries)",
    "an entry of nobody's account": "SELECT key FROM entries WHERE account NOT IN (SELECT _id FROM accounts)",
    "an entry that was refused": "SELECT key FROM entries WHERE key LIKE 'refused%'",
    "a receipt that is not known": """
        SELECT key FROM entries WHERE receipt IS NOT NULL AND receipt NOT IN (SELECT _id FROM _storage)
        """,
}


def faults(folder: Path) -> list[str]:
    """Return the faults of the ledger in a folder, except losses. It writes to the ledger."""
    with closing(open_ledger(folder)) as backend:
        backend.migrate()  # a crash may have come before the tables
        found = _without_receipts(backend, folder) + _not_served(backend)
    return found + _broken(folder) + problems_of(create_app(folder))


def lost(folder: Path, acknowledged: Iterable[str]) -> set[str]:
    """Return the keys of acknowledged entries that are missing."""
    return set(acknowledged) - _keys(folder)


def _keys(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchone()
        return {key for (key,) in connection.execute("SELECT key FROM entries")} if exists else set()


def _broken(folder: Path) -> list[str]:
    found = []
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        found += _integrity(connection)
        for what, sql in _CONTRADICTIONS.items():
            found += [f"{what}: {row}" for row in connection.execute(sql)]
    if (folder / FILES).exists():
        with closing(sqlite3.connect(folder / FILES)) as connection:
            found += _integrity(connection)
    return found


def _integrity(connection: sqlite3.Connection) -> list[str]:
    return [f"integrity: {row}" for (row,) in connection.execute("PRAGMA integrity_check") if row != "ok"]


def _without_receipts(backend: Backend, folder: Path) -> list[str]:
    """Return the entries whose stored receipt does not hold the entry's key."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        receipts = connection.execute("SELECT key, receipt FROM entries WHERE receipt IS NOT NULL").fetchall()
    wrong = [key for key, receipt in receipts if _stored(backend, receipt) != key.encode()]
    return [f"the receipt of {key} is not what was stored" for key in wrong]


def _stored(backend: Backend, receipt: Id[StoredFile]) -> bytes | None:
    try:
        with backend.ctx().storage.get(receipt) or io.BytesIO() as file:
            return file.read()
    except BlobNotFoundError:
        return None


def _not_served(backend: Backend) -> list[str]:
    """Return whether a posting fails, or a query sees a part of it."""
    account = f"after-{uuid4()}"
    backend.ctx().run_mutation(post, key=account, account=account, amount=1)
    return ["a new posting is torn"] if backend.ctx().run_query(is_torn, account=account) else []
