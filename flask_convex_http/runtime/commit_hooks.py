"""The steps after a commit: callbacks, and the announcement of the jobs that the transaction has scheduled.

If the transaction is rolled back to a savepoint, the callbacks and jobs that were added since are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import msgspec

from flask_convex_http.log import logger_of
from flask_convex_http.scheduling.job_writer import CountsMark, JobCounts
from flask_convex_http.storage.files import Files
from flask_convex_http.storage.new_files import NewFiles

Callback = Callable[[], None]
HooksMark = tuple[int, CountsMark, int]

logger = logger_of()


class CommitHooks(msgspec.Struct, eq=False):  # made for each mutation
    """Collects the steps after the commit of one transaction.

    Attributes:
        files: The files that the transaction stores, or None. Their bytes are written before the commit.
        job_counts: Counts the jobs that the transaction has scheduled.
    """

    _outer: CommitHooks | None = None
    files: NewFiles | None = None
    job_counts: JobCounts = msgspec.field(default_factory=JobCounts)
    _callbacks: list[Callback] = []

    def inside(self) -> CommitHooks:
        """Return the steps of one scheduled mutation that runs as a part of the transaction."""
        return CommitHooks(self, self.files)

    def new_files(self, files: Files) -> NewFiles:
        """Return the files that the transaction stores, of which there are none at first."""
        if self.files is None:
            self.files = NewFiles(files) if self._outer is None else self._outer.new_files(files)
        return self.files

    def clear(self) -> None:
        """Remove all steps, because the transaction is retried from its start."""
        self._callbacks.clear()
        self.job_counts = JobCounts()
        if self.files is not None:
            self.files.roll_back(0)

    def add(self, callback: Callback) -> None:
        """Call a function after the commit."""
        self._callbacks.append(callback)

    def mark(self) -> HooksMark:
        """Return the current state, for `roll_back`."""
        return len(self._callbacks), self.job_counts.mark(), 0 if self.files is None else self.files.mark()

    def roll_back(self, mark: HooksMark) -> None:
        """Restore the state of a mark, because the transaction was rolled back to a savepoint."""
        count, counts, files = mark
        del self._callbacks[count:]
        self.job_counts.roll_back(counts)
        if self.files is not None:
            self.files.roll_back(files)

    def merge(self, part: CommitHooks) -> None:
        """Add the steps of a scheduled mutation that ran as a part of the transaction.

        The limits on jobs hold for each mutation, so its jobs are announced and not counted.
        """
        self._callbacks += part._callbacks
        self.job_counts.announce(part.job_counts.earliest)

    def run(self, announce: Callable[[float], None]) -> None:
        """Run the callbacks, then announce the earliest job, if there is one.

        An exception is logged and does not keep the next step from running, since the transaction is committed.

        Args:
            announce: Called with the time of the earliest job, in milliseconds since the epoch.
        """
        callbacks = self._callbacks
        if self.job_counts.earliest < math.inf:
            callbacks = [*callbacks, partial(announce, self.job_counts.earliest)]
        for callback in callbacks:
            try:
                callback()
            except Exception:
                logger.exception("A callback after a commit failed; the commit stands")
