"""The worker: sleeps until something is due or somebody calls, then runs it.

Any number of workers share a database, in one process or many. What is due is found by an index, claimed in a
transaction, and done by `batches` (mutations), `running` (actions) and `ticks` (crons). Nothing here knows Flask.
"""

from __future__ import annotations

import logging
import math
import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flask_convex_http.backend import Backend
from flask_convex_http.engines.base import Listener
from flask_convex_http.errors import MigrationRequiredError, UnavailableError
from flask_convex_http.scheduling.jobs import LOOK_AFTER
from flask_convex_http.worker.action_runner import RunningActions
from flask_convex_http.worker.cleanup import Housekeeping
from flask_convex_http.worker.lost_actions import Leases, sign_every
from flask_convex_http.worker.mutation_runner import Batches

logger = logging.getLogger("flask_convex_http")

#: Seconds after which it looks again while a mutation that is due cannot be run.
_LOOK_AGAIN = 0.5
#: Seconds it sleeps at a time where nobody can wake it.
_NAP = 0.1
#: Seconds between two rounds of housekeeping.
_SWEEP_EVERY = 60.0
#: The same while there is more to forget than one round does.
_SWEEP_AGAIN = 0.1
#: Seconds until the next try when the database could not be used: doubled each time, to the longest.
_LONGEST_PAUSE = 30.0


class Worker:
    """Runs what is scheduled.

    Args:
        backend: Where it is.
        around: What each function is run in, such as an application context.
        grace: Seconds that actions get to end when the worker is stopped.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        around: Callable[[], AbstractContextManager[Any]] = nullcontext,
        grace: float = 30.0,
    ) -> None:
        self._backend = backend
        self._grace = grace
        self._ticks = backend.ticks
        self._batches = Batches(backend, around)
        self._actions = RunningActions(backend, around, self.wake)
        self._leases = Leases(backend)
        self._housekeeping = Housekeeping(backend)
        self._listener: Listener | None = None
        self._is_stopping = False  # not an Event: a signal handler may come in the middle of waiting for that
        self._is_hurried = False
        self._is_called = False
        self._is_deaf = False
        self._is_registered = False
        self._looks_at = math.inf
        self._next_sign = self._next_sweep = 0.0

    def run(self) -> None:
        """Work until `stop` is called; then let actions end, and hand back those that do not."""
        jobs = self._backend.jobs
        self._pid = os.getpid()
        self._announce_elsewhere, jobs.announce = jobs.announce, self._announce
        self._next_sweep = time.monotonic() + random.uniform(0, _SWEEP_EVERY)
        try:
            self._work()
        finally:
            jobs.announce = self._announce_elsewhere
            self._finish()

    def _work(self) -> None:
        failures = 0
        while not self._is_stopping:
            try:
                self._sleep(self._round())
                failures = 0
            except Exception as error:
                if not (failures and isinstance(error, MigrationRequiredError)):
                    _log(error)
                self._sleep_after_failure(min(2.0 ** min(failures, 10), _LONGEST_PAUSE))
                failures += 1

    def stop(self) -> None:
        """Have `run` end, and when called again wait no longer; from any thread, and from a signal handler."""
        self._is_hurried = self._is_stopping
        self._is_stopping = True
        self.wake()

    def wake(self) -> None:
        """Have it look at once."""
        self._is_called = True
        if self._listener is not None:
            self._listener.wake()

    # --- a round -----------------------------------------------------------------------------------------------------

    def _round(self) -> float:
        """Do some of what is due; answers seconds until there may be more to do."""
        self._show_life()  # first: how long it sleeps after a failure depends on it
        self._begin_listening()
        self._register_crons()
        self._keep_house()
        self._looks_at = math.inf  # what is announced from now on may be too late for this look
        backend, now = self._backend, self._backend.clock()
        with backend.engine.read() as snapshot:
            tick = self._ticks.next_tick(snapshot, now)
            mutation = backend.jobs.next_due(snapshot, "mutation")
            action = backend.jobs.next_due(snapshot, "action")
        done = 0
        if tick is not None and tick <= now:
            backend.fire_crons()
            done = 1
        if mutation is not None and mutation <= now:
            done += len(self._batches.run())
        if action is not None and action <= now and not self._is_stopping:
            done += self._take_actions()
        if done:
            return 0.0
        pause = self._pause(now, tick, mutation, action)
        is_held_up = mutation is not None and mutation <= now  # and hides when those behind it are due
        return min(pause, _LOOK_AGAIN) if is_held_up else pause

    def _pause(self, now: float, *times: float | None) -> float:
        """Seconds until the next of these times; what was due and could not be done now waits for a call."""
        coming = [time for time in times if time is not None and time > now]
        self._looks_at = min([now + LOOK_AFTER * 1000, *coming])
        return min((self._looks_at - now) / 1000, self._next_sweep - time.monotonic())

    def _take_actions(self) -> int:
        if not self._actions.free:
            return 0
        seen = self._actions.take()
        if not self._actions.free:  # the rest is for others, who may be asleep
            self._backend.engine.notify()
        return seen

    # --- once in a while ---------------------------------------------------------------------------------------------

    def _begin_listening(self) -> None:
        if self._listener is not None:
            return
        with self._backend.engine.read():  # a database that is not there is not to get files beside it
            try:
                self._listener = self._backend.engine.listen()
            except OSError as error:  # no descriptor is left, or the file system has no named pipes
                self._warn_once(error)

    def _warn_once(self, error: OSError) -> None:
        if not self._is_deaf:
            logger.warning("Other processes cannot wake this worker; it looks by itself: %s", error)
        self._is_deaf = True

    def _register_crons(self) -> None:
        if not self._is_registered:
            self._backend.register_crons()
            self._is_registered = True

    def _show_life(self) -> None:
        now = time.monotonic()
        if now >= self._next_sign:
            self._next_sign = now + sign_every(self._backend)
            self._actions.renew()
            self._leases.give_up_lost()

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_EVERY  # also if it fails: there is other work
            if self._housekeeping.sweep():
                self._next_sweep = now + _SWEEP_AGAIN

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _sleep(self, seconds: float) -> None:
        seconds = min(seconds, max(self._next_sign - time.monotonic(), 0.0))
        if self._listener is None:
            end = time.monotonic() + seconds
            while time.monotonic() < end and not self._is_stopping and not self._is_called:
                time.sleep(min(_NAP, max(end - time.monotonic(), 0.0)))
            self._is_called = False
        elif seconds > 0 and not self._is_stopping:
            self._listener.wait(seconds)

    def _sleep_after_failure(self, seconds: float) -> None:
        try:
            self._sleep(seconds)
        except Exception:  # somebody has closed what it listens to
            self._listener = None
            self._sleep(seconds)

    def _announce(self, due: float) -> None:
        """Something was scheduled in this process."""
        if os.getpid() != self._pid:  # a child of fork(): the worker is the parent's
            self._announce_elsewhere(due)
            return
        if due < self._looks_at or due <= self._backend.clock():  # the clock may have been set since
            self.wake()
        if not self._actions.free or self._is_stopping:
            self._backend.engine.notify()

    def _wait_for_actions(self) -> None:
        end = time.monotonic() + self._grace
        while not self._is_hurried and time.monotonic() < end and not self._actions.wait(_NAP):
            try:
                self._show_life()
            except Exception as error:
                _log(error)

    def _finish(self) -> None:
        if not self._actions.wait(0):
            logger.warning("Stopping; actions that run have %g s to end", self._grace)
        self._wait_for_actions()
        self._actions.hand_back()
        self._backend.engine.notify()  # what is due now is for the others
        if self._listener is not None:
            self._listener.close()


def _log(error: Exception) -> None:
    if isinstance(error, MigrationRequiredError):
        logger.warning("Nothing scheduled can be run yet: %s", error)
    elif isinstance(error, UnavailableError):
        logger.error("The worker could not use the database; it will try again: %s", error.detail or error)
    else:
        logger.error("The worker could not use the database; it will try again", exc_info=error)
