"""A worker on a thread of a serving process, so that `flask run` and gunicorn alone run what is scheduled.

It starts at the first use in the process, never in one that is forked later, and is stopped when the process ends.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from flask_convex_http.backend import Backend
from flask_convex_http.worker.worker import Worker

logger = logging.getLogger("flask_convex_http")

#: Seconds that actions get to end when the process ends; servers kill what takes much longer.
_GRACE = 10.0
#: Seconds on top for recording how they ended.
_LAST_SECONDS = 5.0


class BackgroundWorker:
    """A worker on a daemon thread.

    Args:
        backend: What it works for.
        around: What each function is run in, such as an application context.
        is_wanted: Whether there is to be one in this process.
    """

    def __init__(
        self,
        backend: Backend,
        around: Callable[[], AbstractContextManager[Any]],
        is_wanted: Callable[[], bool],
    ) -> None:
        self.pid: int | None = None
        self._backend = backend
        self._around = around
        self._is_wanted = is_wanted
        self._starting = threading.Lock()
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None

    def ensure(self) -> None:
        """Start it in this process, unless that was done or it is not wanted."""
        with self._starting:
            if self.pid == os.getpid():
                return
            self.pid = os.getpid()
            if self._is_wanted():
                self._start()

    def stop(self) -> None:
        """Stop it and wait for it; nothing happens where it does not run."""
        with self._starting:
            worker, thread, self._thread = self._worker, self._thread, None
        if worker is None or thread is None or self.pid != os.getpid():
            return
        worker.stop()
        thread.join(_GRACE + _LAST_SECONDS)  # a mutation may never end, and is undone with the process
        atexit.unregister(self.stop)

    def close(self) -> None:
        """Stop it; the next use starts another one."""
        self.stop()
        with self._starting:
            self.pid = None

    def _start(self) -> None:
        self._worker = Worker(self._backend, around=self._around, grace=_GRACE)
        thread = threading.Thread(target=self._worker.run, name="convex-worker", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads: no reason to fail the request, the next one tries again
            logger.exception("The background worker could not be started")
            self.pid = None
            return
        self._thread = thread
        atexit.register(self.stop)
