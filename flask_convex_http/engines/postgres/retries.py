"""Retries of transactions that conflict, within a timeout and with random pauses.

PostgreSQL runs transactions side by side and rejects the commit of one that has read what another has changed. A
transaction that loses again and again would starve. So after a few attempts the other writers of its process wait until
it has committed. Against writers of other processes it then locks each row when it reads it, since a long transaction
would never commit before theirs otherwise.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from flask_convex_http.errors import ConvexHTTPError, FunctionCallError, OverloadedError

T = TypeVar("T")

#: Upper bounds, in seconds, of the random pauses before the attempts that run beside other writers of the process.
_PAUSES = (0.001, 0.002, 0.004)
#: Upper bound, in seconds, of the pauses once the others wait. The bound doubles up to this value.
_MAX_PAUSE = 0.032
#: How many transactions of a process run one at a time after a conflict that took all of `_PAUSES`.
_EXCLUSIVE_RUNS = 20


class ConflictRetryError(Exception):
    """The transaction was rolled back and may succeed when it runs again.

    Args:
        error: The error to raise if there is no time for another attempt.
    """

    def __init__(self, error: ConvexHTTPError) -> None:
        super().__init__()
        self.error = error


class ConflictRetries:
    """Runs the write transactions of a process, each until it commits.

    Args:
        timeout: Seconds after which a transaction that conflicts fails.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._thread = threading.local()
        self._reset()
        os.register_at_fork(after_in_child=_reset_in_child(weakref.ref(self)))

    def _reset(self) -> None:
        self._exclusive = threading.Lock()
        self._exclusive_runs_left = 0

    def run(self, attempt: Callable[[float, bool], T], timeout: float | None) -> T:
        """Run attempts until one succeeds, and return its result.

        Args:
            attempt: Runs the transaction once. It gets the seconds that are left, and whether to lock the rows it
                reads. It raises `ConflictRetryError` after it has rolled back, if it may run again.
            timeout: Seconds. The timeout of this object is the default and the maximum.

        Raises:
            FunctionCallError: A transaction of this thread is running already.
            ConvexHTTPError: The timeout ended.
        """
        if getattr(self._thread, "is_writing", False):
            raise FunctionCallError(
                "A mutation was started inside a mutation, where it would wait for itself; use ctx.run_mutation there"
            )
        self._thread.is_writing = True
        try:
            return self._run(attempt, self._timeout if timeout is None else min(timeout, self._timeout))
        finally:
            self._thread.is_writing = False

    def _run(self, attempt: Callable[[float, bool], T], timeout: float) -> T:
        deadline = time.monotonic() + timeout
        if not self._exclusive_runs_left:
            for pause in _PAUSES:
                try:
                    return attempt(max(deadline - time.monotonic(), 0.0), False)
                except ConflictRetryError as conflict:
                    _pause(pause, deadline, conflict)
            self._exclusive_runs_left = _EXCLUSIVE_RUNS
        self._acquire_exclusive(deadline)
        try:
            return self._run_exclusive(attempt, deadline)
        finally:
            self._exclusive.release()

    def _run_exclusive(self, attempt: Callable[[float, bool], T], deadline: float) -> T:
        """Run attempts while the other writers of this process wait. Those of other processes still conflict."""
        pause, locks_rows = _PAUSES[0], False
        while True:
            self._exclusive_runs_left = max(self._exclusive_runs_left - 1, 0)
            try:
                return attempt(max(deadline - time.monotonic(), 0.0), locks_rows)
            except ConflictRetryError as conflict:
                self._exclusive_runs_left = _EXCLUSIVE_RUNS
                _pause(pause, deadline, conflict)
            pause, locks_rows = min(pause * 2, _MAX_PAUSE), True

    def _acquire_exclusive(self, deadline: float) -> None:
        if not self._exclusive.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
            raise OverloadedError("The database is busy with other writes of the same rows; try again in a moment")


def _reset_in_child(retries: weakref.ref[ConflictRetries]) -> Callable[[], None]:
    """Return a hook for children of fork(), where no thread exists that would release the parent's lock."""

    def reset() -> None:
        found = retries()
        if found is not None:
            found._reset()

    return reset


def _pause(limit: float, deadline: float, conflict: ConflictRetryError) -> None:
    seconds = random.uniform(0, limit)
    if time.monotonic() + seconds > deadline:
        raise conflict.error from conflict.__cause__
    time.sleep(seconds)
