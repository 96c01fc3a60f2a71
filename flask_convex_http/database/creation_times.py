"""The creation times of documents.

An id begins with the creation time of its document in steps of 1/4096 ms, so every creation time is such a step. The
time of today has no smaller ones as a float. A clock of a test that starts near the epoch does.
"""

from __future__ import annotations

import hashlib
import math
import os

from flask_convex_http.ids import TICKS, id_with, new_id

#: How far creation times may be ahead of the clock, in milliseconds. A clock that is further behind was set back.
_SAME_TIME = 1.0
#: From this time on, in 2039, a float has no steps of 1/4096 ms.
_COARSE = 2.0**41


class CreationTimes:
    """Assigns the creation times of the documents that a process inserts.

    The first document of a transaction gets the time of the transaction, and each further one the next time. Documents
    thus sort in the order in which they were inserted, and their times differ unless the clock is set back.

    Args:
        now: The first creation time, in milliseconds since the epoch.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._next = _step(now)

    def begin(self, now: float) -> float:
        """Start a transaction, and return its time.

        If the clock has not advanced beyond the last creation time, the next one follows it, to keep the order of
        transactions. If the clock was set back by a millisecond or more, the next one is `now`.

        Args:
            now: The time of the transaction, in milliseconds since the epoch.
        """
        if not now <= self._next < now + _SAME_TIME:
            self._next = _step(now)
        return now

    def take(self) -> float:
        """Assign the next creation time and return it, in milliseconds since the epoch."""
        time, self._next = self._next, time_after(self._next)
        return time

    #: Returns the id of a new document, given its table and its creation time.
    new_id = staticmethod(new_id)


class ReproducibleTimes(CreationTimes):
    """The creation times of a transaction that runs several times: each run has the same ones, and the same ids.

    Args:
        now: The time of the transaction in all runs, in milliseconds since the epoch.
        times: Assigns the creation times of all other transactions. They stay different.
    """

    def __init__(self, now: float, times: CreationTimes) -> None:
        self._now = times.begin(now)
        self._times = times
        self._start = self._next = times._next
        self._secret = os.urandom(16)
        self._count = 0

    def begin(self, now: float) -> float:
        """Start a run, and return the time of all runs."""
        self._next, self._count = self._start, 0
        return self._now

    def take(self) -> float:
        """Assign the next creation time and return it."""
        time = super().take()
        self._times._next = max(self._times._next, self._next)
        return time

    def new_id(self, table: str, now: float) -> str:
        """Return the id of a document, the same one at this place in each run. It cannot be foreseen."""
        self._count += 1
        digits = hashlib.blake2b(b"%d" % self._count, key=self._secret, digest_size=10).hexdigest()
        return id_with(digits, table, now)


def time_after(time: float) -> float:
    """Return the creation time that follows another one."""
    return time + 1 / TICKS if time < _COARSE else math.nextafter(time, math.inf)


def _step(now: float) -> float:
    """Return the last creation time up to a time. A time before the epoch becomes the epoch, which ids begin with."""
    return max(math.floor(now * TICKS) / TICKS, 0.0)
