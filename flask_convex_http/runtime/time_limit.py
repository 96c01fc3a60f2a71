"""The time limit of mutations: one thread of the process interrupts a mutation that holds its transaction for too long.

A mutation that never ends would keep the write lock of SQLite, or locks on rows of PostgreSQL. Once a second
the thread looks at the mutations that run. For one that is over its limit it logs the name and the stack, stops the SQL
statement that runs, and raises `MutationInterruptedError` in the mutation's thread. Python raises it at the next step
of Python code, so a call into C that does not return is not interrupted. A worker of gunicorn or granian, or a
`flask convex worker`, then ends its process, which is started again. Others, such as `flask run`, log it and wait.

A call into C may also keep Python's threads from running, such as a regular expression that backtracks without end.
gunicorn kills such a worker because its heartbeat stops. For the others `faulthandler` does it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType

import msgspec

from flask_convex_http.errors import MutationInterruptedError, MutationTimeoutError
from flask_convex_http.log import Lines, logger_of

logger = logger_of()

#: Seconds between two looks at the running mutations, and between two interrupts of the same one.
_INTERVAL = 1.0
#: Seconds after the first interrupt until the process ends, where it may.
_GRACE = 10.0
#: Seconds without any mutation after which the thread ends.
_LINGER = 60.0
#: Steps of Python code within which an interrupt is raised. The first one is enough.
_STEPS = 100
#: Frames of the stack in the log line.
_MAX_FRAMES = 30
#: Seconds without a look after which `faulthandler` ends the process, on top of the limit and the grace.
_DEAF = 5.0
#: The modules of debuggers. A mutation that stands at a breakpoint is not interrupted, and then has its whole limit.
_DEBUGGERS = frozenset({"bdb", "pdb", "pydevd", "_pydevd_bundle"})

_running: set[TimeLimit] = set()
_interrupting = threading.Lock()
_starting = threading.Lock()
_thread: threading.Thread | None = None
_forking = threading.Event()
_ends_process = False
#: The longest limit of a mutation of this process, in seconds.
_longest = 0.0


class TimeLimit(msgspec.Struct, eq=False):  # made for each mutation
    """The time limit of one transaction, as a context manager around its functions.

    Args:
        seconds: The limit.
        name: The function, for the log.
        interrupt: Stops the SQL statement that runs on the transaction's connection.

    Raises:
        MutationTimeoutError: The functions did not end in time.
    """

    seconds: float
    name: str
    _interrupt: Callable[[], None]
    _thread: int = 0
    deadline: float = 0.0
    interrupted_at: float | None = None

    def __enter__(self) -> TimeLimit:
        self._thread = threading.get_ident()
        self.deadline = time.monotonic() + self.seconds
        _running.add(self)
        if _thread is None:
            _start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _running.discard(self)
        if self.interrupted_at is not None:
            raise self.settle() from error

    def restart(self, name: str) -> None:
        """Give the next function of the transaction the whole limit."""
        self.name = name
        self.deadline = time.monotonic() + self.seconds

    def settle(self) -> MutationTimeoutError:
        """Take an interrupt that was not raised yet, in the mutation's own thread, and return the error for the caller.

        To withdraw it with NULL leaves CPython 3.11 in a state in which each debugger hangs. So another one takes its
        place, and is raised here.
        """
        try:
            with _interrupting:
                _running.discard(self)
                _raise_in(self._thread, MutationInterruptedError)
            for _ in range(_STEPS):
                pass
        except MutationInterruptedError:
            pass
        return MutationTimeoutError(
            f"The write ran longer than {self.seconds:g} s (CONVEX_MUTATION_TIMEOUT) and was rolled back"
        )

    def look(self, now: float) -> None:
        """Interrupt the mutation if its time is over."""
        if _is_debugged(self._thread):
            self.deadline = now + self.seconds  # the time at a breakpoint does not count
            return
        if now < self.deadline:
            return
        first = self.interrupted_at is None
        if first:
            logger.error(
                "%s runs longer than %g s (CONVEX_MUTATION_TIMEOUT) and is interrupted. Its stack:\n%s",
                self.name,
                self.seconds,
                _stack_of(self._thread),
            )
        elif now > (self.interrupted_at or now) + _GRACE:
            self._give_up()
        with _interrupting:
            if first:
                self.interrupted_at = now  # before the check: a mutation that ends now settles, and waits for the lock
            self.deadline = now + _INTERVAL
            if self in _running:
                _raise_in(self._thread, MutationInterruptedError)
                self._interrupt()

    def _give_up(self) -> None:
        """End the process, or log that nothing else helps."""
        stack = _stack_of(self._thread)
        if not _may_end_process():
            logger.error("%s cannot be interrupted, and other writes wait for it. Its stack:\n%s", self.name, stack)
            self.interrupted_at = time.monotonic()
            return
        logger.critical("%s cannot be interrupted, so this process ends. Its stack:\n%s", self.name, stack)
        logging.shutdown()
        os._exit(1)


def end_stuck_process() -> None:
    """Allow this process to be ended if a mutation cannot be interrupted, because something starts it again."""
    global _ends_process
    _ends_process = True


def _may_end_process() -> bool:
    # gunicorn sets this variable before it starts its workers, whatever settings it uses.
    return _ends_process or os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn/")


def _is_debugged(thread: int) -> bool:
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in _DEBUGGERS:
            return True
        frame = frame.f_back
    return False


def _guard() -> None:
    """Have this process ended if no look follows this one in time. A mutation may begin right after it."""
    global _longest
    if _ends_process:
        _longest = max([_longest, *(limit.seconds for limit in list(_running))])
        faulthandler.dump_traceback_later(_longest + _GRACE + _DEAF, exit=True)


def _raise_in(thread: int, error: type[BaseException]) -> None:
    """Raise an error in a thread at its next step of Python code, instead of one that was not raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def _stack_of(thread: int) -> Lines:
    frame = sys._current_frames().get(thread)
    return Lines("".join(traceback.format_stack(frame, _MAX_FRAMES)).rstrip() if frame is not None else "unknown")


# --- the thread ------------------------------------------------------------------------------------------------------


def _start() -> None:
    global _thread
    with _starting:
        if _thread is not None or _forking.is_set():
            return
        thread = threading.Thread(target=_watch, name="convex-time-limit", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more threads: the next mutation tries again
            logger.warning("The time limit of mutations is not watched: %s", error)
        else:
            _thread = thread
            _guard()


def _watch() -> None:
    """Look at the running mutations until there were none for some time."""
    last_seen = time.monotonic()
    while not _forking.wait(_INTERVAL):
        now = time.monotonic()
        for limit in list(_running):
            last_seen = now
            _look(limit, now)
        _guard()
        if now > last_seen + _LINGER and _ends():
            return


def _look(limit: TimeLimit, now: float) -> None:
    try:
        limit.look(now)
    except Exception:  # such as a handler of the application's log
        logger.exception("A mutation over its time limit could not be interrupted")


def _ends() -> bool:
    """End the thread, unless a mutation has begun that relies on it."""
    global _thread
    with _starting:
        _thread = None
        if _running:
            _thread = threading.current_thread()
        elif _ends_process:
            faulthandler.cancel_dump_traceback_later()
        return _thread is None


# --- forks -----------------------------------------------------------------------------------------------------------


def _before_fork() -> None:
    """Stop the thread, since Python warns about a fork() of a process with threads."""
    global _thread
    _forking.set()
    with _starting:
        thread, _thread = _thread, None
    if thread is not None and thread is not threading.current_thread():
        thread.join(_INTERVAL)
    if _ends_process:
        faulthandler.cancel_dump_traceback_later()


def _after_fork_in_parent() -> None:
    _forking.clear()
    if _running:
        _start()


def _after_fork_in_child() -> None:
    global _interrupting, _starting
    _interrupting, _starting = threading.Lock(), threading.Lock()
    _running.clear()
    _forking.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
