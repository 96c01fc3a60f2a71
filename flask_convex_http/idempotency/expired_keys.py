"""Find the idempotency keys that have expired, by a look at all rows.

An index of expiry would cost each request a page of writing. A look at a million rows takes a part of a second, outside
of any transaction. So the looks of a worker take a small share of its time.
"""

from __future__ import annotations

import time

from flask_convex_http.engines import Engine
from flask_convex_http.idempotency.stored_keys import StoredKeys, expired_by

#: The largest number of ids that are found at a time.
_AT_ONCE = 1000
#: How much longer than a look the pause after it is, and the longest look in seconds that needs none.
_REST, _SHORT = 20, 0.01


class ExpiredKeys:
    """Finds the keys that have expired.

    Args:
        keys: The rows of the keys.
        engine: The database.
    """

    def __init__(self, keys: StoredKeys, engine: Engine) -> None:
        self._keys = keys
        self._engine = engine
        self._found: list[str] = []
        self._next_look = 0.0

    def take(self, now: float, limit: int) -> list[str]:
        """Return the ids of rows that have expired by a time and were not returned before, at most `limit`."""
        if not self._found and time.monotonic() >= self._next_look:
            self._look(now)
        some, self._found = self._found[:limit], self._found[limit:]
        return some

    def _look(self, now: float) -> None:
        began = time.monotonic()
        self._found = self._keys.ids(self._engine, expired_by(now), _AT_ONCE)
        ended = time.monotonic()
        self._next_look = ended + (_REST * (ended - began) if ended - began > _SHORT else 0.0)
