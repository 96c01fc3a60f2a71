"""`ctx.scheduler`: functions that are to run later.

What may be scheduled, for when and with what is checked here. The rows and their states are `jobs`' business, running
them is `worker`'s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal, ParamSpec, Protocol, overload

import msgspec

from flask_convex_http.durations import seconds_of
from flask_convex_http.errors import ArgumentValidationError, FunctionCallError, SchedulingError
from flask_convex_http.functions.function import Action, Function, Mutation
from flask_convex_http.ids import Id
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.system_tables import ScheduledFunction

P = ParamSpec("P")

#: How far from now something may be scheduled, and how large its arguments may be.
MAX_YEARS = 5
MAX_ARGUMENTS = 4 * 2**20
#: How deep arrays and objects in arguments may be in each other, as in Convex. Who reads JSON goes as deep as it does,
#: and a row that could be written but not read would stop the workers.
MAX_NESTING = 64
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(rb"[][{}]")
_FAR = timedelta(days=365.25 * MAX_YEARS).total_seconds() * 1000


class Job(msgspec.Struct, frozen=True):
    """Something scheduled that runs at the moment.

    Attributes:
        id: Its id.
        token: The same in all its attempts.
        attempt: Which attempt this is, from 1.
    """

    id: str
    token: str
    attempt: int = 1


class Scheduling(Protocol):
    """Writes down what is scheduled."""

    def schedule(
        self, when: float, function: Function[Any, Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Id[ScheduledFunction]: ...
    def cancel(self, job_id: Id[ScheduledFunction]) -> None: ...


class Scheduler:
    """Schedules functions.

    Args:
        calls: Writes them down.
        now: Answers the time that delays count from, in milliseconds since the epoch.
    """

    __slots__ = ("_calls", "_now")

    def __init__(self, calls: Scheduling, now: Callable[[], float]) -> None:
        self._calls = calls
        self._now = now

    @overload
    def run_after(
        self,
        delay: timedelta | float,
        function: Mutation[P, Any] | Action[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Id[ScheduledFunction]: ...
    @overload
    def run_after(self, delay: timedelta | float, function: str, /, **kwargs: Any) -> Id[ScheduledFunction]: ...
    def run_after(self, delay: timedelta | float, function: Any, /, *args: Any, **kwargs: Any) -> Id[ScheduledFunction]:
        """Run a mutation or an action after a while, as nobody: the caller's identity is not kept.

        Args:
            delay: How long, a timedelta or seconds; 0 for as soon as this is committed.
            function: The function, or its name.
            args: Its arguments.
            kwargs: Its arguments.

        Raises:
            SchedulingError: The delay is negative or longer than five years, or too much is scheduled.
            ArgumentValidationError: The arguments do not match, or JSON cannot hold them.
            FunctionNotFoundError: There is no function of that name.
        """
        now = self._now()
        return self._calls.schedule(_near(now + _milliseconds(delay), now, "run_after", delay), function, args, kwargs)

    @overload
    def run_at(
        self, when: datetime, function: Mutation[P, Any] | Action[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Id[ScheduledFunction]: ...
    @overload
    def run_at(self, when: datetime, function: str, /, **kwargs: Any) -> Id[ScheduledFunction]: ...
    def run_at(self, when: datetime, function: Any, /, *args: Any, **kwargs: Any) -> Id[ScheduledFunction]:
        """Run a mutation or an action at a time; at once if that is past.

        Args:
            when: An aware datetime, within five years.
            function: The function, or its name.
            args: Its arguments.
            kwargs: Its arguments.

        Raises:
            SchedulingError: The time has no zone or is too far away, or too much is scheduled.
            ArgumentValidationError: The arguments do not match, or JSON cannot hold them.
            FunctionNotFoundError: There is no function of that name.
        """
        return self._calls.schedule(_near(_moment(when), self._now(), "run_at", when), function, args, kwargs)

    def cancel(self, job_id: Id[ScheduledFunction], /) -> None:
        """Keep something scheduled from running.

        An action that runs already goes on, but what it schedules from now on is canceled too. What has ended, or was
        forgotten since, stays as it is.

        Raises:
            ArgumentValidationError: The value is not the id of a scheduled function.
        """
        self._calls.cancel(job_id)


class Submission(msgspec.Struct, frozen=True):  # a dataclass takes five times as long to make
    """What is to be scheduled, checked.

    Attributes:
        name: The function's name.
        kind: Its kind.
        arguments: Its arguments as JSON.
        when: When it is to run.
    """

    name: str
    kind: Literal["mutation", "action"]
    arguments: bytes
    when: float

    @classmethod
    def of(
        cls, function: Function[Any, Any], schema: Schema, when: float, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Submission:
        """Check a function and its arguments.

        Raises:
            FunctionCallError: It is not a function that can be scheduled.
            ArgumentValidationError: The arguments do not match, or JSON cannot hold them.
        """
        if not isinstance(function, Function):
            raise FunctionCallError(
                f"{getattr(function, '__name__', repr(function))} is not a registered function; decorate it with "
                "@internal_mutation or @internal_action"
            )
        if function.kind == "query":
            raise FunctionCallError(f"{function.name} is a query, and nobody would see its result; schedule a mutation")
        function.bind(schema)
        arguments = function.arguments_as_json(args, kwargs)
        if len(arguments) > MAX_ARGUMENTS:
            raise ArgumentValidationError(
                f"{function.name}: the arguments are too large to be scheduled: {len(arguments)} bytes, "
                f"limit {MAX_ARGUMENTS}; store the data and pass its id"
            )
        if _nesting(arguments) > 1 + MAX_NESTING:  # the arguments themselves are an object
            raise ArgumentValidationError(
                f"{function.name}: the arguments are nested more than {MAX_NESTING} deep, and cannot be scheduled"
            )
        return cls(function.name, function.kind, arguments, when)


def _nesting(text: bytes) -> int:
    """How deep the arrays and objects of a JSON text are in each other; 0 for what has not enough of them to matter."""
    if text.count(b"[") + text.count(b"{") <= MAX_NESTING:
        return 0
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", text)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _milliseconds(delay: timedelta | float) -> float:
    seconds = seconds_of(delay)
    if not -math.inf < seconds < math.inf:
        raise SchedulingError(f"run_after({delay!r}): the delay must be a timedelta or a finite number of seconds")
    if seconds < 0:
        raise SchedulingError(f"run_after({delay!r}): the delay must not be negative")
    return min(seconds, _FAR) * 1000.0  # an int may be larger than any float; what is larger is refused as too far


def _moment(when: datetime) -> float:
    if not isinstance(when, datetime) or when.utcoffset() is None:
        raise SchedulingError(
            f"run_at({when!r}): the time must be an aware datetime, such as datetime.now(UTC) + timedelta(hours=1)"
        )
    return when.timestamp() * 1000


def _near(when: float, now: float, call: str, given: object) -> float:
    if not abs(when - now) <= _FAR:
        past_or_future = "future" if when > now else "past"
        raise SchedulingError(f"{call}({given!r}): the time is more than {MAX_YEARS} years in the {past_or_future}")
    return when
