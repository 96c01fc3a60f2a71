"""The worker: sleeps until a job or a cron is due, then runs it.

Any number of workers share a database, in one process or in many. An index finds the due jobs, a transaction claims
them, and `MutationRunner`, `ActionRunner` and the crons' ticks do the rest. This folder does not know Flask.
"""

from __future__ import annotations

import math
import os
import random
import time
from contextlib import nullcontext

from flask_convex_http.backend import Backend
from flask_convex_http.errors import MigrationRequiredError, UnavailableError
from flask_convex_http.log import logger_of
from flask_convex_http.runtime import AppContext
from flask_convex_http.scheduling import POLL_SECONDS, JobRequest, is_paused
from flask_convex_http.worker.action_runner import ActionRunner
from flask_convex_http.worker.cleanup import Cleaner
from flask_convex_http.worker.lost_actions import LeaseMonitor, heartbeat_interval
from flask_convex_http.worker.mutation_runner import MutationRunner
from flask_convex_http.worker.waiter import Waiter

logger = logger_of("jobs")

#: The maximum seconds until the next round while a due mutation cannot run.
_BLOCKED_PAUSE = 0.5
#: Milliseconds by which a job is late that no worker has run, although this one slept.
_LATE_MS = 1000.0
#: Milliseconds by which a job was due at the last look that another worker had locked, and did not end.
_LOCKED_MS = 200.0
#: Seconds between two checks whether actions still run, while the worker stops.
_STOP_INTERVAL = 0.1
#: Seconds between two cleanups, and between two batches of one cleanup.
_CLEANUP_INTERVAL = 60.0
_NEXT_CLEANUP_BATCH = 0.1
#: The maximum pause after failures, in seconds. The pause doubles with each failure.
_LONGEST_PAUSE = 30.0


class Worker:
    """Runs jobs and fires crons.

    Args:
        backend: The deployment.
        app_context: Returns the context that each function runs in, such as Flask's application context.
        grace: Seconds that running actions have to end when the worker is stopped.

    Attributes:
        heartbeat: The monotonic time of the last heartbeat.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        app_context: AppContext = nullcontext,
        grace: float = 30.0,
    ) -> None:
        self._backend = backend
        self._grace = grace
        self._waiter = Waiter(backend)
        self._mutations = MutationRunner(backend, app_context, backend.job_control)
        self._actions = ActionRunner(backend, app_context, self.wake)
        self._leases = LeaseMonitor(backend, app_context)
        self._cleaner = Cleaner(backend)
        self._is_stopping = False  # not an Event: a signal handler may interrupt the wait for one
        self._skips_grace = False
        self._has_registered_crons = False
        self._has_ended_lost = False
        self._is_paused = False
        self._next_round = math.inf
        self._next_heartbeat = self._next_cleanup = self._last_look = 0.0
        self.heartbeat = time.monotonic()

    def run(self) -> None:
        """Run jobs until `stop` is called, then give running actions the grace to end."""
        jobs = self._backend.jobs
        self._pid = os.getpid()
        self._announce_to_others, jobs.announce = jobs.announce, self._announce
        self._next_cleanup = time.monotonic() + random.uniform(0, _CLEANUP_INTERVAL)
        self._last_look = self._backend.clock()
        self._mutations.suspect(self._last_look)
        logger.info("The worker of process %d starts", self._pid)
        try:
            self._run_rounds()
        finally:
            jobs.announce = self._announce_to_others
            self._finish()

    def stop(self) -> None:
        """Make `run` return. A second call skips the grace. Thread-safe, and safe in a signal handler."""
        self._skips_grace = self._is_stopping
        self._is_stopping = True
        self.wake()

    def wake(self) -> None:
        """Start the next round at once. Thread-safe, and safe in a signal handler."""
        self._waiter.wake()

    # --- a round -----------------------------------------------------------------------------------------------------

    def _run_rounds(self) -> None:
        failures = 0
        while not self._is_stopping:
            try:
                pause = self._run_round()
                if not self._is_stopping:
                    self._sleep(self._until_heartbeat(pause))
                failures = 0
            except Exception as error:
                if not (failures and isinstance(error, MigrationRequiredError)):
                    _log(error)
                self._pause_after_failure(failures)
                failures += 1

    def _sleep(self, seconds: float) -> None:
        """Sleep, and suspect the jobs afterwards that another worker should have run in the meantime."""
        self._waiter.sleep(seconds)
        if seconds > 0:
            self._mutations.suspect(max(self._last_look - _LOCKED_MS, self._backend.clock() - _LATE_MS))

    def _run_round(self) -> float:
        """Run some of the due jobs, and return the seconds until the next round."""
        self._send_heartbeat()  # first: a failure pauses until the next heartbeat, which must not be due yet
        self._waiter.open()
        self._register_crons()
        self._end_lost_mutation()
        self._clean_up()
        self._next_round = math.inf  # a job that is announced from now on may be too late for this round
        backend, now = self._backend, self._backend.clock()
        self._last_look = now
        with backend.engine.snapshot() as snapshot:
            requests = backend.job_control.requests.read(snapshot)
            tick = backend.crons.ticks.next_tick(snapshot, now)
            mutation = backend.jobs.next_due(snapshot, "mutation")
            action = backend.jobs.next_due(snapshot, "action")
        if self._honor(requests):
            return self._pause(now)
        if self._run_due(now, tick, mutation, action):
            return 0.0
        pause = self._pause(now, tick, mutation, action)
        is_blocked = mutation is not None and mutation <= now  # the time of the job behind it is unknown
        return min(pause, _BLOCKED_PAUSE) if is_blocked else pause

    def _honor(self, requests: dict[str, JobRequest]) -> bool:
        """Honor requests of operators, and return whether all jobs are paused."""
        control = self._backend.job_control
        if any(request.kind != "pause_all" for request in requests.values()):
            done = self._backend.engine.write(lambda transaction: control.honor(transaction, requests))
            control.requests.remove(done)
        if is_paused(requests) and not self._is_paused:
            logger.info("The worker starts no jobs: they are paused")
        self._is_paused = is_paused(requests)
        return self._is_paused

    def _run_due(self, now: float, tick: float | None, mutation: float | None, action: float | None) -> int:
        done = 0
        if tick is not None and tick <= now:
            self._backend.crons.fire()
            done = 1
        if mutation is not None and mutation <= now:
            done += len(self._mutations.run())
        if action is not None and action <= now and not self._is_stopping:
            done += self._start_actions()
        return done

    def _start_actions(self) -> int:
        if not self._actions.free_slots:
            return 0
        claimed = self._actions.start_due()
        if not self._actions.free_slots:  # wake other workers for the remaining actions
            self._backend.engine.notifications.notify()
        return claimed

    def _pause(self, now: float, *times: float | None) -> float:
        """Return the seconds until the first of these times that lies in the future.

        A due action that did not run is left to other workers, or waits for a slot. `wake` is called when one is free.
        """
        coming = [time for time in times if time is not None and time > now]
        self._next_round = min([now + POLL_SECONDS * 1000, *coming])
        return min((self._next_round - now) / 1000, self._next_cleanup - time.monotonic())

    # --- periodic work -----------------------------------------------------------------------------------------------

    def _register_crons(self) -> None:
        if not self._has_registered_crons:
            self._backend.crons.register()
            self._has_registered_crons = True

    def _end_lost_mutation(self) -> None:
        """End the mutation that killed the process before this one, whose lease would last for a while."""
        if not self._has_ended_lost:
            self._mutations.end_lost()
            self._has_ended_lost = True

    def _send_heartbeat(self) -> None:
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self.heartbeat = now
            self._next_heartbeat = now + heartbeat_interval(self._backend)
            self._actions.renew_leases()
            self._leases.end_lost_attempts()

    def _clean_up(self) -> None:
        now = time.monotonic()
        if now >= self._next_cleanup:
            self._next_cleanup = now + _CLEANUP_INTERVAL  # also if it fails: there is other work
            if self._cleaner.purge():
                self._next_cleanup = now + _NEXT_CLEANUP_BATCH
            self._cleaner.remove_unfinished()

    def _until_heartbeat(self, seconds: float) -> float:
        return min(seconds, max(self._next_heartbeat - time.monotonic(), 0.0))

    def _pause_after_failure(self, failures: int) -> None:
        pause = min(2.0 ** min(failures, 10), _LONGEST_PAUSE)
        if not self._is_stopping:
            self._waiter.sleep_after_failure(self._until_heartbeat(pause))

    # --- announcements and the end -----------------------------------------------------------------------------------

    def _announce(self, due: float) -> None:
        """Wake this worker, and others if it has no free slot, for a job that this process has scheduled."""
        if os.getpid() != self._pid:  # a forked child, in which the worker does not run
            self._announce_to_others(due)
            return
        if due < self._next_round or due <= self._backend.clock():  # the clock may have been set forward
            self.wake()
        if not self._actions.free_slots or self._is_stopping:
            self._backend.engine.notifications.notify()

    def _finish(self) -> None:
        if not self._actions.wait(0):
            logger.warning("The worker stops; its running actions have %g s to end", self._grace)
        self._wait_for_actions()
        self._actions.interrupt()
        self._backend.engine.notifications.notify()  # other workers must run the jobs that are due
        self._waiter.close()
        logger.info("The worker of process %d has stopped", os.getpid())

    def _wait_for_actions(self) -> None:
        end = time.monotonic() + self._grace
        while not self._skips_grace and time.monotonic() < end and not self._actions.wait(_STOP_INTERVAL):
            try:
                self._send_heartbeat()
            except Exception as error:
                _log(error)


def _log(error: Exception) -> None:
    if isinstance(error, MigrationRequiredError):
        logger.warning("No job can run yet: %s", error)
    elif isinstance(error, UnavailableError):
        logger.error("The worker could not use the database; it will try again: %s", error.detail or error)
    else:
        logger.error("The worker could not use the database; it will try again", exc_info=error)
