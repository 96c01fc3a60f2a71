"""The meter of one process: takes numbers from threads that must not wait, and keeps the totals.

Its thread starts with the first number of a process, never in a process that is forked later.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flask_convex_http.log import logger_of
from flask_convex_http.metrics.shared_totals import SharedTotals
from flask_convex_http.metrics.totals import Labels, Samples, Totals

logger = logger_of()

#: Adds the numbers that were noted with some labels to the totals.
Add = Callable[[Totals, Labels, list[float]], None]

#: Seconds between two times at which the numbers are added up and shared. A killed process loses as many.
_PERIOD = 1.0


class Meter:
    """The numbers of one process, and those of the others of its deployment.

    Args:
        folder: The folder that the processes share, or None if there is only one.
        gauges: Returns the current values of this process, by name.
        collect: Called before numbers are added up. It notes those that others have collected until now.
    """

    def __init__(
        self,
        folder: Path | None,
        gauges: Callable[[], dict[str, float]],
        collect: Callable[[], None] = lambda: None,
    ) -> None:
        self._collect = collect
        self._gauges = gauges
        self._shared = SharedTotals(folder)
        self._totals = Totals()
        self._samples: list[tuple[Samples, Add]] = []
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        _ALL.add(self)

    def samples(self, add: Add) -> Samples:
        """Return a place to note numbers at.

        Args:
            add: Adds numbers with the same labels to the totals.
        """
        made = Samples(self.ensure_thread)
        self._samples.append((made, add))
        return made

    def collect(self) -> tuple[Totals, dict[str, float], int]:
        """Return the totals and the gauges of all processes, and the number of processes."""
        self._collect()
        with self._lock:
            self._add_up()
            return self._shared.collect(self._totals, self._gauges())

    def stop(self) -> None:
        """Share the last numbers, and end the thread. The next number starts another one."""
        atexit.unregister(self.stop)
        self._ending.set()
        self._share()
        with self._lock:
            self._ending, self._thread = threading.Event(), None
            for samples, _ in self._samples:
                samples.clear()

    # --- the thread --------------------------------------------------------------------------------------------------

    def ensure_thread(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, args=(self._ending,), name="convex-metrics", daemon=True)
            with suppress(RuntimeError):  # the system has no more threads: the next labels try again
                thread.start()
                self._thread = thread
                atexit.register(self.stop)

    def _run(self, ending: threading.Event) -> None:
        while not ending.wait(_PERIOD):
            self._share()

    def _share(self) -> None:
        try:
            self._collect()
            with self._lock:
                self._add_up()
                self._shared.publish(self._totals, self._gauges())
        except Exception:
            logger.exception("The metrics could not be added up")

    def _add_up(self) -> None:
        for samples, add in self._samples:
            for labels, values in samples.take():
                add(self._totals, labels, values)

    # --- fork() ------------------------------------------------------------------------------------------------------

    def start_in_child(self) -> None:
        """Begin at zero in a child of fork(), since the numbers so far are the parent's."""
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = None
        self._shared.forget()
        self._totals.clear()
        for samples, _ in self._samples:
            samples.clear()


_ALL: weakref.WeakSet[Meter] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for meter in list(_ALL):
        meter.start_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
