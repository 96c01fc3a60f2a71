"""The commit delay: a short wait between two batches of a writer, in which the members of the first one return.

Without it every other commit holds one write: that of the first thread to get its result and write again. The delay
ends when all have returned. It is skipped for some batches after they did not, as behind a web server. A batch of one,
and so a lone writer, has none.
"""

from __future__ import annotations

import threading
from collections.abc import Sized

#: The longest delay, as a fraction of the duration of the last commit.
_PART_OF_COMMIT = 0.25
#: The longest delay in seconds, so that a disk that was slow once has no lasting cost.
_SECONDS = 0.001
#: The largest number of batches without a delay after delays without effect.
_LONGEST_PAUSE = 255


class CommitDelay:
    """The commit delay of one writer.

    Args:
        queue: The waiting writes.
        mutex: Held for each change of the queue.
    """

    def __init__(self, queue: Sized, mutex: threading.Lock) -> None:
        self._queue = queue
        self._mutex = mutex
        self._awaited = 0
        self._arrived = threading.Event()
        self._pause = self._left = 0

    def note_arrival(self) -> None:
        """Count a write that joined the queue. The caller holds the mutex."""
        if len(self._queue) == self._awaited:
            self._arrived.set()

    def wait(self, count: int, commit_seconds: float) -> None:
        """Wait until as many writes are queued as the last batch had, for a moment at most.

        Args:
            count: The number of writes in the last batch.
            commit_seconds: The duration of its commit.
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
