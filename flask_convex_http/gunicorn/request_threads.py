"""The threads of a worker: as many as requests come at the same time, up to a limit.

`ThreadPoolExecutor` makes a future with a lock for each piece of work. A connection needs none: the thread that has
served it decides what becomes of it. Since Python 3.13 `queue.SimpleQueue` hands each connection to a thread that
waits, although a running one would take it soon, and so switches threads for each request.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Threads:
    """Threads that serve connections in the order in which they are given. Only one thread may give them.

    Args:
        number: The largest number of threads.
        serve: Called with each connection. It raises nothing.
    """

    def __init__(self, number: int, serve: Callable[[Any], None]) -> None:
        self._number = number
        self._serve = serve
        self._lock = threading.Lock()
        self._changes = threading.Condition(self._lock)
        self._queue: deque[Any] = deque()
        self._idle = 0  # the threads that wait, and are not woken
        self._is_waking = False  # whether a thread is woken, and has not looked at the queue yet
        self._threads: list[threading.Thread] = []

    def put(self, connection: Any) -> None:
        """Let a thread serve a connection."""
        with self._lock:
            self._queue.append(connection)
            is_short = len(self._queue) > self._idle + self._is_waking
            self._wake_one()
        if is_short and len(self._threads) < self._number:
            self._start()

    def shutdown(self, wait: bool = True) -> None:
        """Let the threads end after the connections that were given.

        Args:
            wait: Whether to wait until they have ended.
        """
        with self._lock:
            self._queue.extend([None] * len(self._threads))
            self._changes.notify_all()  # a signal may have ended `put` before it woke a thread
        if wait:
            for thread in self._threads:
                thread.join()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"convex-request-{len(self._threads)}")
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads: those that exist serve the connection in its turn
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _run(self) -> None:
        while (connection := self._take()) is not None:
            self._serve(connection)

    def _take(self) -> Any:
        """Return the next connection, as soon as there is one."""
        with self._lock:
            while not self._queue:
                self._idle += 1
                self._changes.wait()
                self._is_waking = False
            connection = self._queue.popleft()
            self._wake_one()
            return connection

    def _wake_one(self) -> None:
        """Wake a thread for the queue, unless one is waking: it wakes the next, or finds that none is needed."""
        if self._queue and self._idle and not self._is_waking:
            self._is_waking = True
            self._idle -= 1
            self._changes.notify()
