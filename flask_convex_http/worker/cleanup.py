"""Delete expired rows, and the parts that killed backups and uploads have left.

These are ended jobs, ticks of crons, results of `ctx.once`, full buckets, used upload URLs, old
webhook deliveries, idempotency keys, API keys and access tokens that have ended, and old commits of the log.
New commits of the log are added to its index. Each transaction deletes a few rows of each kind, so that no other
writer waits for long.
"""

from __future__ import annotations

import time

from flask_convex_http.backend import Backend
from flask_convex_http.engines import Transaction
from flask_convex_http.idempotency.expired_keys import ExpiredKeys

#: The maximum number of rows of each kind that one transaction deletes. Deleting a job reads its row, which may be
#: large.
_BATCH_SIZE = 50
_DAY = 86_400_000.0
#: Seconds between two searches for the parts of killed backups and uploads, and for which a slow upload may last.
_SEARCH_INTERVAL = 3600.0
_LONGEST_UPLOAD = 86_400.0


class Cleaner:
    """Deletes expired rows.

    Args:
        backend: The deployment.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._expired_keys = ExpiredKeys(backend.idempotency.keys, backend.engine)
        self._next_search = 0.0

    def purge(self) -> bool:
        """Delete one batch of expired rows of each kind and index one of new commits; whether there may be more."""
        has_commits = self._backend.history.index()
        keys = self._expired_keys.take(self._backend.clock(), _BATCH_SIZE)
        counts = self._backend.engine.write(lambda transaction: self._purge_batch(transaction, keys))
        return max(counts) >= _BATCH_SIZE or has_commits

    def remove_unfinished(self) -> None:
        """Remove the parts of backups and uploads whose processes were killed, if the last search was an hour ago."""
        now = time.monotonic()
        if now >= self._next_search:
            self._next_search = now + _SEARCH_INTERVAL
            self._backend.backups.remove_unfinished()
            self._backend.blobs.remove_unfinished(self._backend.clock() / 1000 - _LONGEST_UPLOAD)

    def _purge_batch(self, transaction: Transaction, keys: list[str]) -> list[int]:
        backend, now = self._backend, self._backend.clock()
        before = now - backend.settings.scheduled_retention_days * _DAY
        return [
            backend.jobs.purge(transaction, before, _BATCH_SIZE),
            backend.crons.ticks.purge(transaction, before, _BATCH_SIZE),
            backend.once.purge(transaction, now, _BATCH_SIZE),
            backend.rate_limits.purge(transaction, now, _BATCH_SIZE),
            backend.files.upload_urls.purge(transaction, now, _BATCH_SIZE),
            backend.inbox.purge(transaction, now, _BATCH_SIZE),
            backend.idempotency.keys.delete(transaction, keys, now),
            backend.api_keys.purge(transaction, now, _BATCH_SIZE),
            backend.tokens.purge(transaction, now, _BATCH_SIZE),
            _BATCH_SIZE if backend.history.purge(transaction) else 0,
        ]
