"""`Crons`: functions that run repeatedly, at the times of a schedule.

    crons = Crons()
    crons.interval("sweep", timedelta(minutes=5), maintenance.sweep)
    crons.daily("report", time(9, tzinfo=ZoneInfo("Europe/Berlin")), reports.send, to="team")

This module holds the checked declarations. `cron_registration` stores them in the database, and `cron_ticks` fires
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import time, timedelta, tzinfo
from typing import Any, Literal, ParamSpec, get_args, overload

from flask_convex_http.errors import RegistrationError
from flask_convex_http.functions.function import ActionFunction, Function, MutationFunction
from flask_convex_http.scheduling.cron_expressions import CronExpression, Interval, Schedule, zone_of

P = ParamSpec("P")

Weekday = Literal["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
_WEEKDAYS = get_args(Weekday)


@dataclass(frozen=True, slots=True)
class Cron:
    """A function and its schedule.

    Attributes:
        name: The cron's name, unique in the application.
        schedule: The times at which it fires.
        function: The mutation or action, or its name.
        args: The function's arguments.
        kwargs: The function's arguments.
    """

    name: str
    schedule: Schedule
    function: Function[Any, Any] | str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Crons:
    """The crons of an application, for `ConvexHTTP(crons=...)`.

    Functions run without an identity. A cron never runs twice at the same time: while its last job has not ended, it
    skips its ticks.

    All methods take a name of printable ASCII characters, a schedule, the function or its name, and the function's
    arguments. They raise `RegistrationError` for values that cannot work, and for a name that is used twice.

    Args:
        zone: The time zone of all times of day, an IANA name or a ZoneInfo.

    Raises:
        RegistrationError: There is no such zone.
    """

    def __init__(self, zone: str | tzinfo = "UTC") -> None:
        self._crons: dict[str, Cron] = {}
        self._is_frozen = False
        try:
            self._zone = zone_of(zone)
        except RegistrationError as error:
            raise RegistrationError(f"Crons(zone={zone!r}): {error}") from None

    def __iter__(self) -> Iterator[Cron]:
        return iter(self._crons.values())

    def freeze(self) -> Crons:
        """Reject further crons, since an application that is set up would never run them, and return this object."""
        self._is_frozen = True
        return self

    @overload
    def interval(
        self,
        name: str,
        every: timedelta | float,
        function: MutationFunction[P, Any] | ActionFunction[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...
    @overload
    def interval(self, name: str, every: timedelta | float, function: str, /, **kwargs: Any) -> None: ...
    def interval(self, name: str, every: timedelta | float, function: Any, /, *args: Any, **kwargs: Any) -> None:
        """Run a function at an interval, the first time at once.

        Args:
            name: The cron's name.
            every: The interval, a timedelta or seconds.
            function: The function, or its name.
            args: The function's arguments.
            kwargs: The function's arguments.
        """
        self._check(name, function)
        try:
            schedule = Interval.of(every)
        except RegistrationError as error:
            raise _wrong(name, str(error)) from None
        self._crons[name] = Cron(name, schedule, function, args, kwargs)

    @overload
    def hourly(
        self,
        name: str,
        minute: int,
        function: MutationFunction[P, Any] | ActionFunction[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...
    @overload
    def hourly(self, name: str, minute: int, function: str, /, **kwargs: Any) -> None: ...
    def hourly(self, name: str, minute: int, function: Any, /, *args: Any, **kwargs: Any) -> None:
        """Run a function every hour.

        Args:
            name: The cron's name.
            minute: The minute of the hour, 0 to 59.
            function: The function, or its name.
            args: The function's arguments.
            kwargs: The function's arguments.
        """
        if not _is_within(minute, 0, 59):
            raise _wrong(name, f"the minute must be an integer from 0 to 59, not {minute!r}")
        self._add(name, f"{minute} * * * *", self._zone, function, args, kwargs)

    @overload
    def daily(
        self,
        name: str,
        at: time,
        function: MutationFunction[P, Any] | ActionFunction[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...
    @overload
    def daily(self, name: str, at: time, function: str, /, **kwargs: Any) -> None: ...
    def daily(self, name: str, at: time, function: Any, /, *args: Any, **kwargs: Any) -> None:
        """Run a function every day.

        Args:
            name: The cron's name.
            at: The time of day, in whole minutes. Its own time zone, if it has one, overrides that of these crons.
            function: The function, or its name.
            args: The function's arguments.
            kwargs: The function's arguments.
        """
        self._add_at(name, at, "* * *", function, args, kwargs)

    @overload
    def weekly(
        self,
        name: str,
        day: Weekday,
        at: time,
        function: MutationFunction[P, Any] | ActionFunction[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...
    @overload
    def weekly(self, name: str, day: Weekday, at: time, function: str, /, **kwargs: Any) -> None: ...
    def weekly(self, name: str, day: Weekday, at: time, function: Any, /, *args: Any, **kwargs: Any) -> None:
        """Run a function every week.

        Args:
            name: The cron's name.
            day: The day, such as "monday".
            at: The time of day, in whole minutes. Its own time zone, if it has one, overrides that of these crons.
            function: The function, or its name.
            args: The function's arguments.
            kwargs: The function's arguments.
        """
        if day not in _WEEKDAYS:
            raise _wrong(name, f'the day must be one of "{", ".join(_WEEKDAYS)}", not {day!r}')
        self._add_at(name, at, f"* * {_WEEKDAYS.index(day)}", function, args, kwargs)

    @overload
    def monthly(
        self,
        name: str,
        day: int,
        at: time,
        function: MutationFunction[P, Any] | ActionFunction[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...
    @overload
    def monthly(self, name: str, day: int, at: time, function: str, /, **kwargs: Any) -> None: ...
    def monthly(self, name: str, day: int, at: time, function: Any, /, *args: Any, **kwargs: Any) -> None:
        """Run a function every month that has this day.

        Args:
            name: The cron's name.
            day: The day of the month, 1 to 31.
            at: The time of day, in whole minutes. Its own time zone, if it has one, overrides that of these crons.
            function: The function, or its name.
            args: The function's arguments.
            kwargs: The function's arguments.
        """
        if not _is_within(day, 1, 31):
            raise _wrong(name, f"the day of the month must be an integer from 1 to 31, not {day!r}")
        self._add_at(name, at, f"{day} * *", function, args, kwargs)

    @overload
    def cron(
        self,
        name: str,
        expression: str,
        function: MutationFunction[P, Any] | ActionFunction[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...
    @overload
    def cron(self, name: str, expression: str, function: str, /, **kwargs: Any) -> None: ...
    def cron(self, name: str, expression: str, function: Any, /, *args: Any, **kwargs: Any) -> None:
        """Run a function at the times of a cron expression.

        Args:
            name: The cron's name.
            expression: Five fields such as "0 9 * * 1-5". The prefix "CRON_TZ=Europe/Berlin " sets their time zone.
            function: The function, or its name.
            args: The function's arguments.
            kwargs: The function's arguments.
        """
        self._add(name, expression, self._zone, function, args, kwargs)

    def _add_at(
        self, name: str, at: time, days: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if not isinstance(at, time) or at.second or at.microsecond:
            raise _wrong(
                name, f"the time of day must be a datetime.time in whole minutes, such as time(9, 30), not {at!r}"
            )
        zone = self._zone if at.tzinfo is None else at.tzinfo
        self._add(name, f"{at.minute} {at.hour} {days}", zone, function, args, kwargs)

    def _add(
        self, name: str, expression: str, zone: tzinfo, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._check(name, function)
        try:
            schedule = CronExpression.of(expression, zone_of(zone))
        except RegistrationError as error:
            raise _wrong(name, str(error)) from None
        self._crons[name] = Cron(name, schedule, function, args, kwargs)

    def _check(self, name: str, function: Any) -> None:
        if not isinstance(name, str) or not name.isascii() or not name.isprintable():
            raise _wrong(name, "the name must be a text of printable ASCII characters")
        if self._is_frozen:
            raise _wrong(name, "it was added after the app was set up, and would never run; add it before init_app")
        if name in self._crons:
            raise _wrong(name, "there is one of this name already; give each its own")
        if isinstance(function, (str, MutationFunction, ActionFunction)):
            return
        if isinstance(function, Function):
            raise _wrong(name, f"{function.name} is a query, and its result would be lost; write a mutation")
        raise _wrong(
            name,
            f"{getattr(function, '__name__', repr(function))} is not a registered function; decorate it with "
            "@internal_mutation or @internal_action",
        )


def _is_within(value: object, lowest: int, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def _wrong(name: object, what: str) -> RegistrationError:
    return RegistrationError(f"Cron {name!r}: {what}")
