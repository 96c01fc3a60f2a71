"""`ctx.scheduler`: run a function later.

The time and the function are checked here, the arguments in `submission`. A transaction then writes the job
(`job_writer`): the mutation's own, or one for each call of an action.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from flask_convex_http.durations import seconds_of
from flask_convex_http.errors import FunctionCallError, SchedulingError
from flask_convex_http.functions.function import ActionFunction, Function, MutationFunction
from flask_convex_http.functions.registry import Registry
from flask_convex_http.ids import Id
from flask_convex_http.scheduling.job_writer import JobWriter
from flask_convex_http.scheduling.submission import Submission
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.system_tables import ScheduledFunction

P = ParamSpec("P")
T = TypeVar("T")

#: The maximum number of years between now and the time of a job, in either direction.
MAX_YEARS = 5
_MAX_MILLISECONDS = timedelta(days=365.25 * MAX_YEARS).total_seconds() * 1000


class InTransaction(Protocol):
    """Calls a Python function with the `JobWriter` of an open transaction, or of a new one that it commits."""

    def __call__(self, body: Callable[[JobWriter], T], /) -> T:
        """Call the function, and return its value."""


class Scheduler:
    """Schedules functions of the application to run later, without the identity of the caller.

    Args:
        functions: The application's functions.
        schema: The application's schema.
        now: Returns the time that delays count from, in milliseconds since the epoch.
        in_transaction: Calls a function in the transaction that a job is written in.
    """

    __slots__ = ("_functions", "_in_transaction", "_now", "_schema")

    def __init__(
        self, functions: Registry, schema: Schema, now: Callable[[], float], in_transaction: InTransaction
    ) -> None:
        self._functions = functions
        self._schema = schema
        self._now = now
        self._in_transaction = in_transaction

    @overload
    def run_after(
        self,
        delay: timedelta | float,
        function: MutationFunction[P, Any] | ActionFunction[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Id[ScheduledFunction]: ...
    @overload
    def run_after(self, delay: timedelta | float, function: str, /, **kwargs: Any) -> Id[ScheduledFunction]: ...
    def run_after(self, delay: timedelta | float, function: Any, /, *args: Any, **kwargs: Any) -> Id[ScheduledFunction]:
        """Run a mutation or an action after a delay.

        Args:
            delay: A timedelta or seconds, up to five years. 0 means as soon as the job is committed.
            function: The function, or its name such as "items:create".
            args: The function's arguments.
            kwargs: The function's arguments.

        Returns:
            The id of the job, for `cancel` and `ctx.db.system.get`.

        Raises:
            SchedulingError: The delay is negative or too long, or the mutation schedules too much.
            ArgumentValidationError: The arguments do not match, or JSON cannot hold them.
            FunctionNotFoundError: There is no function of that name.
            FunctionCallError: The function is a query or not registered.
        """
        now = self._now()
        when = _check_distance(now + _milliseconds(delay), now, "run_after", delay)
        return self._schedule(when, function, args, kwargs)

    @overload
    def run_at(
        self,
        when: datetime,
        function: MutationFunction[P, Any] | ActionFunction[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Id[ScheduledFunction]: ...
    @overload
    def run_at(self, when: datetime, function: str, /, **kwargs: Any) -> Id[ScheduledFunction]: ...
    def run_at(self, when: datetime, function: Any, /, *args: Any, **kwargs: Any) -> Id[ScheduledFunction]:
        """Run a mutation or an action at a time, or at once if the time is past.

        Args:
            when: An aware datetime, at most five years away.
            function: The function, or its name such as "items:create".
            args: The function's arguments.
            kwargs: The function's arguments.

        Returns:
            The id of the job, for `cancel` and `ctx.db.system.get`.

        Raises:
            SchedulingError: The time has no zone or is too far away, or the mutation schedules too much.
            ArgumentValidationError: The arguments do not match, or JSON cannot hold them.
            FunctionNotFoundError: There is no function of that name.
            FunctionCallError: The function is a query or not registered.
        """
        return self._schedule(_check_distance(_epoch(when), self._now(), "run_at", when), function, args, kwargs)

    def cancel(self, job_id: Id[ScheduledFunction], /) -> None:
        """Cancel a job.

        A pending job does not run. An action that is in progress goes on, but it is not retried, and jobs that it
        schedules from then on are canceled. A job that has ended, or was purged, stays as it is.

        Args:
            job_id: The id that `run_after` or `run_at` returned.

        Raises:
            ArgumentRangeError: The value is not the id of a job.
        """
        self._in_transaction(lambda jobs: jobs.cancel(job_id))

    def _schedule(
        self, when: float, function: Function[Any, Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Id[ScheduledFunction]:
        found: Function[Any, Any] = self._functions.find(function) if isinstance(function, str) else function
        submission = Submission.of(found, self._schema, when, args, kwargs)
        if not self._functions.has(found):
            raise FunctionCallError(
                f"{found.name} could not be found when it is due: add its module to ConvexHTTP(functions=[...])"
            )
        return self._in_transaction(lambda jobs: jobs.add(submission))


def _milliseconds(delay: timedelta | float) -> float:
    seconds = delay if type(delay) is float else seconds_of(delay)
    if not -math.inf < seconds < math.inf:
        raise SchedulingError(f"run_after({delay!r}): the delay must be a timedelta or a finite number of seconds")
    if seconds < 0:
        raise SchedulingError(f"run_after({delay!r}): the delay must not be negative")
    return min(seconds, _MAX_MILLISECONDS) * 1000.0  # an int may be too large for a float; that bound is too far anyway


def _epoch(when: datetime) -> float:
    """Return a datetime in milliseconds since the epoch."""
    if not isinstance(when, datetime) or when.utcoffset() is None:
        raise SchedulingError(
            f"run_at({when!r}): the time must be an aware datetime, such as datetime.now(UTC) + timedelta(hours=1)"
        )
    return when.timestamp() * 1000


def _check_distance(when: float, now: float, call: str, given: object) -> float:
    if not abs(when - now) <= _MAX_MILLISECONDS:
        past_or_future = "future" if when > now else "past"
        raise SchedulingError(f"{call}({given!r}): the time is more than {MAX_YEARS} years in the {past_or_future}")
    return when
