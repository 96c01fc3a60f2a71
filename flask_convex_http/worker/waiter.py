"""The sleep of a worker, which ends at a time or when another thread or process wakes it.

Other processes wake it through the engine's listener. If the system cannot provide a listener, the worker polls.
"""

from __future__ import annotations

import time

from flask_convex_http.backend import Backend
from flask_convex_http.engines import Listener
from flask_convex_http.log import logger_of

logger = logger_of("jobs")

#: Seconds of one sleep without a listener.
_NAP = 0.1


class Waiter:
    """Lets one worker sleep.

    Args:
        backend: The deployment whose notifications wake the worker.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._listener: Listener | None = None
        self._is_woken = False  # not an Event: a signal handler may interrupt the wait for one
        self._has_warned = False

    def open(self) -> None:
        """Start to listen to other processes, unless it listens already or the system has no listener left."""
        if self._listener is not None:
            return
        with self._backend.engine.snapshot():  # raises without a database, before listen() creates a file
            try:
                self._listener = self._backend.engine.notifications.listen()
            except OSError as error:  # no descriptor is left, or the file system has no named pipes
                self._warn_once(error)

    def wake(self) -> None:
        """End the sleep at once. Thread-safe, and safe in a signal handler."""
        self._is_woken = True
        if self._listener is not None:
            self._listener.wake()

    def sleep(self, seconds: float) -> None:
        """Sleep for this long, or until woken."""
        if self._listener is None:
            self._nap(seconds)
        elif seconds > 0:
            self._listener.wait(seconds)

    def sleep_after_failure(self, seconds: float) -> None:
        """Sleep for this long, or until woken. Poll if the listener was closed with the database."""
        try:
            self.sleep(seconds)
        except Exception:
            self._listener = None
            self._nap(seconds)

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()

    def _nap(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._is_woken:
            time.sleep(min(_NAP, max(end - time.monotonic(), 0.0)))
        self._is_woken = False

    def _warn_once(self, error: OSError) -> None:
        if not self._has_warned:
            logger.warning("Other processes cannot wake this worker; it polls instead: %s", error)
        self._has_warned = True
