"""Running a transaction again while it conflicts with others: a bounded time, and a random while in between.

PostgreSQL lets transactions run side by side and refuses to commit the one that has seen what another has changed. Who
loses again and again would starve: after a few attempts it has its process's other writers wait until it is through,
and then those of others, too, from when it reads a row: whose transaction is long would never get it before them.
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

#: Seconds that a transaction waits, a random part of them, before it is run again beside the others of its process;
#: and at most, when it is the only one.
_PAUSES = (0.001, 0.002, 0.004)
_LONGEST_PAUSE = 0.032
#: How many transactions of a process run one by one after that.
_ONE_BY_ONE = 20


class RunAgainError(Exception):
    """A transaction has come to nothing, and may succeed when it is run again.

    Args:
        error: What is raised if there is no time for that.
    """

    def __init__(self, error: ConvexHTTPError) -> None:
        super().__init__()
        self.error = error


class Attempts:
    """Runs the transactions of a process.

    Args:
        timeout: Seconds until one that conflicts is given up.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._here = threading.local()
        self._begin()
        os.register_at_fork(after_in_child=_begin_again(weakref.ref(self)))

    def _begin(self) -> None:
        self._turn = threading.Lock()
        self._left_alone = 0

    def run(self, attempt: Callable[[float, bool], T], patience: float | None) -> T:
        """Run an attempt until one succeeds.

        Args:
            attempt: Runs the transaction once; gets the seconds that are left, and whether it is to lock what it reads.
                It raises `RunAgainError` if it is to be run again, and nothing is left of it then.
            patience: Seconds, if that is less than the timeout.

        Raises:
            FunctionCallError: This thread is in the midst of one.
            ConvexHTTPError: There was no more time.
        """
        if getattr(self._here, "is_writing", False):
            raise FunctionCallError(
                "A mutation was started inside a mutation, where it would wait for itself; use ctx.run_mutation there"
            )
        self._here.is_writing = True
        try:
            return self._run(attempt, self._timeout if patience is None else min(patience, self._timeout))
        finally:
            self._here.is_writing = False

    def _run(self, attempt: Callable[[float, bool], T], seconds: float) -> T:
        end = time.monotonic() + seconds
        if not self._left_alone:
            for pause in _PAUSES:
                try:
                    return attempt(max(end - time.monotonic(), 0.0), False)
                except RunAgainError as again:
                    _pause(pause, end, again)
            self._left_alone = _ONE_BY_ONE
        self._wait_for_turn(end)
        try:
            return self._run_alone(attempt, end)
        finally:
            self._turn.release()

    def _run_alone(self, attempt: Callable[[float, bool], T], end: float) -> T:
        """While the others of this process wait; those of other processes are in the way still."""
        pause, holds = _PAUSES[0], False
        while True:
            self._left_alone = max(self._left_alone - 1, 0)
            try:
                return attempt(max(end - time.monotonic(), 0.0), holds)
            except RunAgainError as again:
                self._left_alone = _ONE_BY_ONE
                _pause(pause, end, again)
            pause, holds = min(pause * 2, _LONGEST_PAUSE), True

    def _wait_for_turn(self, end: float) -> None:
        if not self._turn.acquire(timeout=max(end - time.monotonic(), 0.0)):
            raise OverloadedError("The database is busy with other writes of the same rows; try again in a moment")


def _begin_again(attempts: weakref.ref[Attempts]) -> Callable[[], None]:
    """In a child of fork() nobody gives back a turn that a thread of the parent had."""

    def begin() -> None:
        found = attempts()
        if found is not None:
            found._begin()

    return begin


def _pause(seconds: float, end: float, again: RunAgainError) -> None:
    wait = random.uniform(0, seconds)
    if time.monotonic() + wait > end:
        raise again.error from again.__cause__
    time.sleep(wait)
