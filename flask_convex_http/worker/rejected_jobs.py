"""Jobs whose transaction the database rejected, so that one of them cannot block the others.

A job may write more than the disk holds, for example. The batch is rejected as a whole, and does not tell which job is
the cause. If it may be one of several, each runs alone next. The one that is rejected alone pauses, longer each time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 7200.0
_MOST_DOUBLINGS = 20


@dataclass(frozen=True, slots=True)
class _Pause:
    """A job's pause.

    Attributes:
        count: The number of times that the job was rejected.
        end: The end of the pause, on the monotonic clock.
    """

    count: int
    end: float


@dataclass(slots=True)
class RejectedJobs:
    """Keeps the pauses of rejected jobs, in seconds on the monotonic clock of this process."""

    _suspects: int = 0
    _pauses: dict[str, _Pause] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._pauses)

    def limit(self, requested: int) -> int:
        """Return how many jobs the next batch may run: one, while the cause of a rejection is unknown."""
        return 1 if self._suspects else requested

    def add(self, completed: list[str], running: str | None) -> None:
        """Record a rejected batch.

        Args:
            completed: The ids of the jobs that had run in it.
            running: The id of the job that ran when the transaction failed, or None if the commit failed.
        """
        suspects = completed if running is None else [running]
        if len(suspects) == 1:
            self._pause(suspects[0])
        else:
            self._suspects = len(suspects)

    def remove(self, committed: list[str]) -> None:
        """Record that a batch of these jobs was committed."""
        self._suspects = max(self._suspects - len(committed), 0)
        for job_id in committed:
            self._pauses.pop(job_id, None)

    def is_paused(self, job_id: str) -> bool:
        """Return whether a job must not run yet."""
        return job_id in self._pauses and time.monotonic() < self._pauses[job_id].end

    def _pause(self, job_id: str) -> None:
        known = self._pauses.get(job_id)
        count = 0 if known is None else known.count
        now = time.monotonic()
        pause = min(_FIRST_PAUSE * 2.0 ** min(count, _MOST_DOUBLINGS), _LONGEST_PAUSE)
        self._pauses[job_id] = _Pause(count + 1, now + pause)
        self._pauses = {other: kept for other, kept in self._pauses.items() if kept.end > now - _LONGEST_PAUSE}
