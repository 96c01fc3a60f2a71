"""The steps after a commit: callbacks, and the announcement of the jobs that the transaction has scheduled.

If the transaction is rolled back to a savepoint, the callbacks and jobs that were added since are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from flask_convex_http.log import logger_of
from flask_convex_http.scheduling.job_writer import CountsMark, JobCounts
from flask_convex_http.storage.files import Files
from flask_convex_http.storage.new_files import NewFiles

Callback = Callable[[], None]
HooksMark = tuple[int, CountsMark, int]

logger = logger_of()


class CommitHooks:
    """Collects the steps after the commit of one transaction.

    Args:
        outer: The steps of the transaction, if these are those of one scheduled mutation in it.

    Attributes:
        job_counts: Counts the jobs that the transaction has scheduled.
        files: The files that the transaction stores, or None. Their bytes are written before the commit.
    """

    __slots__ = ("_callbacks", "_outer", "files", "job_counts")

    def __init__(self, outer: CommitHooks | None = None) -> None:
        self._callbacks: list[Callback] = []
        self._outer = outer
        self.files: NewFiles | None = None if outer is None else outer.files
        self.job_counts = JobCounts()

    def new_files(self, files: Files) -> NewFiles:
        """Return the files that the transaction stores, of which there are none at first."""
        if self.files is None:
            self.files = NewFiles(files) if self._outer is None else self._outer.new_files(files)
        return self.files

    def clear(self) -> None:
        """Remove all steps, because the transaction is retried from its start."""
        self._callbacks.clear()
        self.job_counts.clear()
        self._roll_back_files(0)

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
        self._roll_back_files(files)

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

    def _roll_back_files(self, mark: int) -> None:
        if self.files is not None:
            self.files.roll_back(mark)
