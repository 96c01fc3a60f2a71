"""The jobs of one transaction: adding and canceling them, within the limits of one mutation.

The rows are written at once, as a part of the transaction. Workers are woken after the commit, so `JobCounts` keeps the
earliest time.
"""

from __future__ import annotations

import math

import msgspec

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.engines import Transaction
from flask_convex_http.errors import SchedulingError
from flask_convex_http.ids import Id
from flask_convex_http.scheduling.jobs import Jobs
from flask_convex_http.scheduling.submission import Submission
from flask_convex_http.schema.system_tables import ScheduledFunction

#: Convex's limits for one mutation: the number of jobs that it schedules, and the bytes of their arguments.
MAX_JOBS = 1000
MAX_ARGUMENT_BYTES = 16 * 2**20

CountsMark = tuple[int, int, float]


class JobCounts(msgspec.Struct):
    """The jobs that one mutation has scheduled.

    Attributes:
        jobs: Their number.
        argument_bytes: The size of their arguments.
        earliest: The time of the first, in milliseconds since the epoch; infinity without jobs.
    """

    jobs: int = 0
    argument_bytes: int = 0
    earliest: float = math.inf

    def add(self, submission: Submission) -> None:
        """Count a job.

        Raises:
            SchedulingError: It exceeds a limit.
        """
        size = len(submission.arguments)
        if self.jobs >= MAX_JOBS:
            raise SchedulingError(f"Too many functions scheduled by this mutation (limit: {MAX_JOBS})")
        if self.argument_bytes + size > MAX_ARGUMENT_BYTES:
            raise SchedulingError(
                "Too large total size of the arguments of scheduled functions from this mutation "
                f"(limit: {MAX_ARGUMENT_BYTES} bytes)"
            )
        self.jobs += 1
        self.argument_bytes += size
        self.announce(submission.when)

    def announce(self, due: float) -> None:
        """Announce a time after the commit, without counting a job."""
        if due < self.earliest:
            self.earliest = due

    def mark(self) -> CountsMark:
        """Return the current counts, for `roll_back`."""
        return self.jobs, self.argument_bytes, self.earliest

    def roll_back(self, mark: CountsMark) -> None:
        """Restore the counts of a mark, because the transaction was rolled back to a savepoint."""
        self.jobs, self.argument_bytes, self.earliest = mark


class JobWriter:
    """Adds and cancels jobs in one transaction.

    Args:
        jobs: The rows.
        transaction: The transaction.
        times: The creation times of its rows.
        now: The time of the transaction, in milliseconds since the epoch.
        counts: The jobs that the mutation has scheduled so far.
        parent: The id of the job that runs the mutation, or None. If it is canceled, the jobs it adds are, too.
    """

    __slots__ = ("_counts", "_jobs", "_now", "_parent", "_times", "_transaction")

    def __init__(
        self,
        jobs: Jobs,
        transaction: Transaction,
        times: CreationTimes,
        now: float,
        counts: JobCounts,
        parent: str | None,
    ) -> None:
        self._jobs = jobs
        self._transaction = transaction
        self._times = times
        self._now = now
        self._counts = counts
        self._parent = parent

    def add(self, submission: Submission) -> Id[ScheduledFunction]:
        """Add a job, and return its id.

        Raises:
            SchedulingError: The mutation schedules too much.
        """
        self._counts.add(submission)
        is_canceled = self._parent is not None and self._jobs.is_canceled(self._transaction, self._parent)
        return self._jobs.add(self._transaction, self._times, self._now, submission, is_canceled=is_canceled)

    def announce(self, due: float) -> None:
        """Wake a worker after the commit for a job that the package has scheduled outside the limits."""
        self._counts.announce(due)

    def cancel(self, job_id: Id[ScheduledFunction]) -> None:
        """Cancel a job that has not ended.

        Raises:
            ArgumentRangeError: The value is not the id of a job.
        """
        if self._jobs.cancel(self._transaction, job_id, self._now, running=self._parent):
            self.announce(self._now)  # the next delivery of a lane may be due
