"""What a transaction has beside its writes: what is to happen after its commit, and how much it has scheduled.

A part of a transaction that is undone takes its effects with it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial

from flask_convex_http.errors import SchedulingError

Hook = Callable[[], None]
Announce = Callable[[float], None]
Mark = tuple[int, int, int, float]

logger = logging.getLogger("flask_convex_http")

#: What one mutation may schedule: Convex's limits.
MAX_JOBS = 1000
MAX_ARGUMENT_BYTES = 16 * 2**20


class Effects:
    """What one transaction is to cause."""

    __slots__ = ("_announce", "_argument_bytes", "_earliest", "_hooks", "_jobs")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._hooks: list[Hook] = []
        self._announce: Announce | None = None
        self._earliest = math.inf
        self._jobs = self._argument_bytes = 0

    def after(self, hook: Hook) -> None:
        """Have something happen after the commit."""
        self._hooks.append(hook)

    def count_job(self, argument_bytes: int, due: float, announce: Announce) -> None:
        """Count something that is scheduled; after the commit it is announced when the first of all is due.

        Raises:
            SchedulingError: It is more than a mutation may schedule.
        """
        if self._jobs >= MAX_JOBS:
            raise SchedulingError(f"Too many functions scheduled by this mutation (limit: {MAX_JOBS})")
        if self._argument_bytes + argument_bytes > MAX_ARGUMENT_BYTES:
            raise SchedulingError(
                "Too large total size of the arguments of scheduled functions from this mutation "
                f"(limit: {MAX_ARGUMENT_BYTES} bytes)"
            )
        self._jobs += 1
        self._argument_bytes += argument_bytes
        self.announce(due, announce)

    def announce(self, due: float, announce: Announce) -> None:
        """After the commit, tell the workers that something was scheduled."""
        self._announce = announce
        self._earliest = min(self._earliest, due)

    def mark(self) -> Mark:
        """Where a part of the transaction begins."""
        return len(self._hooks), self._jobs, self._argument_bytes, self._earliest

    def undo(self, mark: Mark) -> None:
        """Forget what came after a mark."""
        hooks, self._jobs, self._argument_bytes, self._earliest = mark
        del self._hooks[hooks:]

    def absorb(self, part: Effects) -> None:
        """Add what a part has caused that had limits of its own."""
        self._hooks += part._hooks
        self._announce = part._announce or self._announce
        self._earliest = min(self._earliest, part._earliest)

    def happen(self) -> None:
        """The commit is done: run the hooks. It stands whatever they do; deleted files' bytes, say, are swept later."""
        if self._announce is not None and self._earliest < math.inf:
            self._hooks.append(partial(self._announce, self._earliest))
        for hook in self._hooks:
            try:
                hook()
            except Exception:
                logger.exception("Something that was to happen after a commit failed; the commit stands")
