"""The threads of a worker: as many as requests come at the same time, up to a limit.

`ThreadPoolExecutor` makes a future with a lock for each piece of work. A connection needs none: the thread that has
served it decides what becomes of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
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
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def put(self, connection: Any) -> None:
        """Let a thread serve a connection."""
        self._queue.put(connection)
        if len(self._threads) < self._number and not self._idle.acquire(blocking=False):
            self._start()

    def shutdown(self, wait: bool = True) -> None:
        """Let the threads end after the connections that were given.

        Args:
            wait: Whether to wait until they have ended.
        """
        for _ in self._threads:
            self._queue.put(None)
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
        while (connection := self._queue.get()) is not None:
            self._serve(connection)
            if len(self._threads) < self._number:
                self._idle.release()
