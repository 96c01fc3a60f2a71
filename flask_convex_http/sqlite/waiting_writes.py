"""A write that waits for its turn and for its result."""

from __future__ import annotations

import contextvars
import copy
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Work = Callable[[Any], T]


class WaitingWrite:
    """A waiting write. `done` is released when its result is known, and `since` is the monotonic time it arrived."""

    __slots__ = ("alone", "context", "done", "error", "result", "since", "work")

    def __init__(self, work: Work[Any], *, alone: bool) -> None:
        self.work = work
        self.alone = alone
        self.context = contextvars.copy_context()  # the writer's thread runs it with the caller's context variables
        self.done = threading.Lock()
        self.done.acquire()
        self.since = time.monotonic()
        self.result: Any = None
        self.error: BaseException | None = None


def refuse(batch: list[WaitingWrite], error: Exception) -> None:
    """Let all writes of a batch fail, and empty it."""
    for write in batch:
        write.error = copy.copy(error)  # each is raised in a thread of its own
    answer(batch)


def answer(batch: list[WaitingWrite]) -> None:
    """Let the callers of a batch return, and empty it."""
    for write in batch:
        write.done.release()
    batch.clear()
