"""A worker on a thread of a serving process, so that `flask run` and gunicorn run jobs without a second process.

The worker starts at the first request that a process handles, never in a process that is forked later. It stops when
the process ends.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
import time
from collections.abc import Callable

from flask_convex_http.backend import Backend
from flask_convex_http.log import logger_of
from flask_convex_http.runtime import AppContext
from flask_convex_http.worker.worker import Worker

logger = logger_of("jobs")

#: Seconds that running actions have when the process ends. Servers kill a process that takes much longer.
_GRACE = 10.0
#: Seconds after the grace for recording how the actions ended.
_RECORDING_TIME = 5.0


class BackgroundWorker:
    """A worker on a daemon thread.

    Args:
        backend: The deployment whose jobs it runs.
        app_context: Returns the context that each function runs in, such as Flask's application context.
        is_wanted: Tells whether this process should have a worker.

    Attributes:
        pid: The process in which `ensure` was called, or None.
    """

    def __init__(
        self,
        backend: Backend,
        app_context: AppContext,
        is_wanted: Callable[[], bool],
    ) -> None:
        self.pid: int | None = None
        self._backend = backend
        self._app_context = app_context
        self._is_wanted = is_wanted
        self._starting = threading.Lock()
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None

    def ensure(self) -> None:
        """Start the worker in this process, unless that was done or it is not wanted."""
        with self._starting:
            if self.pid == os.getpid():
                return
            self.pid = os.getpid()
            if self._is_wanted():
                self._start()

    def heartbeat_age(self) -> float | None:
        """Return the seconds since the worker's last heartbeat, or None if no worker should run in this process.

        A worker that has died has no heartbeat, so the result is infinite.
        """
        with self._starting:
            worker, thread = self._worker, self._thread
        if self.pid != os.getpid() or not self._is_wanted():
            return None
        if worker is None or thread is None or not thread.is_alive():
            return math.inf
        return max(time.monotonic() - worker.heartbeat, 0.0)

    def stop(self) -> None:
        """Stop the worker and wait until it has ended. Do nothing if it does not run in this process."""
        with self._starting:
            worker, thread, self._thread = self._worker, self._thread, None
        if worker is None or thread is None or self.pid != os.getpid():
            return
        worker.stop()
        thread.join(_GRACE + _RECORDING_TIME)  # a mutation may never end, and is rolled back with the process
        atexit.unregister(self.stop)

    def close(self) -> None:
        """Stop the worker. The next request starts another one."""
        self.stop()
        with self._starting:
            self.pid = None

    def _start(self) -> None:
        self._worker = Worker(self._backend, app_context=self._app_context, grace=_GRACE)
        thread = threading.Thread(target=self._worker.run, name="convex-worker", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads: the request goes on, and the next one tries again
            logger.exception("The background worker could not be started")
            self.pid = None
            return
        self._thread = thread
        atexit.register(self.stop)
