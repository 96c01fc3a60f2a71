"""Report how far a long operation has come."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

#: Receives how many steps are done, and how many there are in all.
Progress = Callable[[int, int], None]
#: Opens a display for one labeled part of an operation.
ProgressDisplay = Callable[[str], AbstractContextManager[Progress]]

#: A part is reported about this many times.
_REPORTS = 200


class Meter:
    """Counts the steps of one part of an operation and reports them now and then.

    Args:
        report: Receives the count.
        total: How many steps the part has. More may come while it runs; the report stays at the total then.
    """

    def __init__(self, report: Progress, total: int) -> None:
        self._report = report
        self._total = total
        self._done = 0
        self._next_report = 0

    def advance(self, count: int = 1) -> None:
        """Count steps, and report them if enough of them have passed since the last report."""
        self._done += count
        if self._done >= self._next_report or self._done == self._total:
            self._next_report = self._done + max(self._total // _REPORTS, 1)
            self._report(min(self._done, self._total), self._total)

    def finish(self) -> None:
        """Report all steps as done."""
        self.advance(max(self._total - self._done, 0))
