"""The moment between two batches of a writer, in which those who were in the first come back for the second.

Without it every other commit is of one write: of the thread that is answered first and asks again first. It is short,
ends when all are there, and is left out where they do not come back so soon, as behind a web server. A lone writer
does not meet it: there is none after a batch of one.
"""

from __future__ import annotations

import threading
from collections.abc import Sized

#: How long it lasts at most, as a part of the time that the last commit took.
_PART_OF_COMMIT = 0.25
#: The same in seconds, so that nobody pays for a disk that once was slow.
_SECONDS = 0.001
#: Batches after which it is tried again, at most, where it has been in vain.
_LONGEST_PAUSE = 255


class Gathering:
    """The gathering of one writer.

    Args:
        queue: What waits to be written.
        mutex: Held by whoever changes the queue.
    """

    def __init__(self, queue: Sized, mutex: threading.Lock) -> None:
        self._queue = queue
        self._mutex = mutex
        self._awaited = 0
        self._arrived = threading.Event()
        self._pause = self._left = 0

    def note_arrival(self) -> None:
        """Somebody has joined the queue; the mutex is held."""
        if len(self._queue) == self._awaited:
            self._arrived.set()

    def wait(self, count: int, commit_seconds: float) -> None:
        """Wait a moment until as many are there as the last batch had, unless that has been in vain lately.

        Args:
            count: How many it had.
            commit_seconds: How long its commit took.
        """
        self._left -= 1
        if count < 2 or self._left >= 0:
            return
        with self._mutex:
            if len(self._queue) >= count:
                return
            self._awaited = count
            self._arrived.clear()
        self._arrived.wait(min(_PART_OF_COMMIT * commit_seconds, _SECONDS))
        with self._mutex:
            self._awaited = 0
            in_vain = len(self._queue) < count / 2
        self._pause = min(2 * self._pause + 1, _LONGEST_PAUSE) if in_vain else 0
        self._left = self._pause
