"""The creation times of documents."""

from __future__ import annotations

import math

#: How far creation times may be ahead of the clock, in milliseconds. A clock that is further behind was set back.
_SAME_TIME = 1.0


class CreationTimes:
    """Assigns the creation times of the documents that a process inserts.

    The first document of a transaction gets the time of the transaction, and each further one the next larger float.
    Documents thus sort in the order in which they were inserted, and their times differ unless the clock is set back.

    Args:
        now: The first creation time, in milliseconds since the epoch.
    """

    def __init__(self, now: float = -math.inf) -> None:
        self._next = now

    def begin(self, now: float) -> None:
        """Start a transaction.

        If the clock has not advanced beyond the last creation time, the next one follows it, to keep the order of
        transactions. If the clock was set back by a millisecond or more, the next one is `now`.

        Args:
            now: The time of the transaction, in milliseconds since the epoch.
        """
        if not now <= self._next < now + _SAME_TIME:
            self._next = now

    def take(self) -> float:
        """Assign the next creation time and return it, in milliseconds since the epoch."""
        time, self._next = self._next, math.nextafter(self._next, math.inf)
        return time
