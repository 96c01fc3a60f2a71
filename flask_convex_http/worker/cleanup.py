"""Forgetting what nobody needs any more: what was scheduled, firings, remembered calls, full buckets, webhooks.

A little at a time, so that nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable

from flask_convex_http.backend import Backend
from flask_convex_http.engines.base import Transaction

#: Rows that one transaction removes of each kind; those of scheduled functions may be large, and are read for that.
_MOST = 50
_DAY = 86_400_000.0

Sweep = Callable[[Transaction], int]


class Housekeeping:
    """Removes rows that may go.

    Args:
        backend: Where they are.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def sweep(self) -> bool:
        """Remove some; whether there may be more."""
        return max(self._backend.engine.write(self._sweep_all)) >= _MOST

    def _sweep_all(self, transaction: Transaction) -> list[int]:
        backend, now = self._backend, self._backend.clock()
        before = now - backend.settings.scheduled_retention_days * _DAY
        return [
            backend.jobs.sweep(transaction, before, _MOST),
            backend.ticks.sweep(transaction, before, _MOST),
            backend.once.sweep(transaction, now, _MOST),
            backend.rate_limits.sweep(transaction, now, _MOST),
            backend.inbox.sweep(transaction, now, _MOST),
        ]
