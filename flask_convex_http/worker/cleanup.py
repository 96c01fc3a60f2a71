"""Delete expired rows.

These are ended jobs, ticks of crons, results of `ctx.once`, full buckets, used upload URLs and old webhook deliveries.
Each transaction deletes a few rows of each kind, so that no other writer waits for long.
"""

from __future__ import annotations

from flask_convex_http.backend import Backend
from flask_convex_http.engines import Transaction

#: The maximum number of rows of each kind that one transaction deletes. Deleting a job reads its row, which may be
#: large.
_BATCH_SIZE = 50
_DAY = 86_400_000.0


class Cleaner:
    """Deletes expired rows.

    Args:
        backend: The deployment.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def purge(self) -> bool:
        """Delete one batch of expired rows of each kind, and return whether there may be more."""
        return max(self._backend.engine.write(self._purge_batch)) >= _BATCH_SIZE

    def _purge_batch(self, transaction: Transaction) -> list[int]:
        backend, now = self._backend, self._backend.clock()
        before = now - backend.settings.scheduled_retention_days * _DAY
        return [
            backend.jobs.purge(transaction, before, _BATCH_SIZE),
            backend.ticks.purge(transaction, before, _BATCH_SIZE),
            backend.once.purge(transaction, now, _BATCH_SIZE),
            backend.rate_limits.purge(transaction, now, _BATCH_SIZE),
            backend.files.upload_urls.purge(transaction, now, _BATCH_SIZE),
            backend.inbox.purge(transaction, now, _BATCH_SIZE),
        ]
