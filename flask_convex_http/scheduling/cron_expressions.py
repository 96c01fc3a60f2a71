"""The schedule of a cron: an interval, or the minutes that a cron expression matches in a time zone.

Times are milliseconds since the epoch. The library cronsim computes the times of expressions. This module reads no
clock and no database.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from flask_convex_http.durations import seconds_of
from flask_convex_http.errors import RegistrationError

#: The maximum number of missed ticks that an expression counts, since it finds them one by one.
MAX_COUNTED_TICKS = 1000
_LONGEST = timedelta(days=365.25 * 5)
_ZONE_PREFIX = "CRON_TZ="
_INTERVAL = re.compile(r"every (\d+(?:\.\d+)?) s")
_LONE_STEP = re.compile(r"(?:^|,)\w+/")
_FIELDS = "minute 0-59, hour 0-23, day of month 1-31, month 1-12 and day of week 0-7 (0 and 7 are Sunday)"


class Schedule(Protocol):
    """The ticks of a cron. Its `str()` is stored, and compared to detect that the code has changed it."""

    def first(self, now: float) -> float:
        """Return the first tick of a new cron."""

    def next(self, after: float) -> float:
        """Return the tick after a time."""

    def skip(self, tick: float, now: float) -> tuple[float, int]:
        """Return the first tick after now, and the number of ticks between `tick` and that one."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Ticks at equal distances, counted from the first.

    Attributes:
        milliseconds: The time between two ticks.
    """

    milliseconds: int

    @classmethod
    def of(cls, every: timedelta | float) -> Interval:
        """Return the interval of a timedelta or a number of seconds.

        Raises:
            RegistrationError: The value is not a duration from a millisecond to five years.
        """
        seconds = seconds_of(every)
        if seconds != seconds and not isinstance(every, float):
            raise RegistrationError(f"the interval must be a timedelta or seconds, not {every!r}")
        if not 0.001 <= seconds <= _LONGEST.total_seconds():
            raise RegistrationError(f"the interval must be from a millisecond to five years, not {every!r}")
        return cls(round(seconds * 1000))

    @classmethod
    def stored(cls, text: str) -> Interval | None:
        """Return the interval that a stored schedule is, or None for an expression."""
        found = _INTERVAL.fullmatch(text)
        return None if found is None else cls(round(float(found[1]) * 1000))

    def __str__(self) -> str:
        return f"every {str(self.milliseconds / 1000).removesuffix('.0')} s"

    def first(self, now: float) -> float:
        """Return `now`, so that a new cron fires at once."""
        return now

    def next(self, after: float) -> float:
        """Return the time one interval later."""
        return after + self.milliseconds

    def skip(self, tick: float, now: float) -> tuple[float, int]:
        """Return the first tick after now, counted from `tick`, and the number of ticks in between."""
        skipped = max(math.floor((now - tick) / self.milliseconds), 0)
        following = tick + (skipped + 1) * self.milliseconds
        if following <= now:  # floats are rounded
            skipped, following = skipped + 1, following + self.milliseconds
        return following, skipped


@dataclass(frozen=True, slots=True)
class CronExpression:
    """The minutes that match five fields in a time zone, by the rules of Debian's cron.

    Where clocks change, an expression that names its minutes and hours fires once: at the first of two equal times, and
    at the end of a skipped hour if its time is in that hour. An expression whose minute or hour starts with a star
    follows the elapsed time: it fires in both of two equal hours, and not in a skipped hour.

    Attributes:
        fields: Minute, hour, day of month, month and day of week.
        zone: The time zone.
    """

    fields: str
    zone: tzinfo = field(default=UTC)

    @classmethod
    def of(cls, expression: str, zone: tzinfo) -> CronExpression:
        """Parse an expression such as "0 9 * * 1-5" or "CRON_TZ=Europe/Berlin 0 9 * * 1-5".

        Args:
            expression: Five fields. The prefix overrides the zone.
            zone: The zone of an expression without a prefix.

        Raises:
            RegistrationError: The expression is invalid, or never matches.
        """
        if not isinstance(expression, str):
            raise RegistrationError(f'the expression must be a text such as "0 9 * * 1-5", not {expression!r}')
        parts = expression.split()
        if parts and parts[0].startswith(_ZONE_PREFIX):
            zone = zone_of(parts.pop(0).removeprefix(_ZONE_PREFIX))
        _check(expression, parts)
        made = cls(" ".join(parts).upper(), zone)
        made.next(0.0)
        return made

    def __str__(self) -> str:
        return f"{self.fields} {'UTC' if self.zone is UTC else self.zone}"

    def first(self, now: float) -> float:
        """Return the first matching minute after now."""
        return self.next(now)

    def next(self, after: float) -> float:
        """Return the first matching minute after a time.

        Raises:
            RegistrationError: None matches within fifty years.
        """
        for tick in self._ticks(after):
            return tick
        raise _never_matches(self.fields)

    def skip(self, tick: float, now: float) -> tuple[float, int]:
        """Return the first tick after now, and the number between `tick` and that one, at most MAX_COUNTED_TICKS."""
        late = takewhile(lambda time: time <= now, self._ticks(tick))
        return self.next(now), sum(1 for _ in islice(late, MAX_COUNTED_TICKS))

    def _ticks(self, after: float) -> Iterator[float]:
        """Yield the matching minutes after a time."""
        start = datetime.fromtimestamp(after // 1000, self.zone)
        for tick in CronSim(self.fields, start):
            time = tick.timestamp() * 1000
            if time > after:  # in the second of two equal hours cronsim starts with the ticks of the first
                yield time


def zone_of(zone: str | tzinfo) -> tzinfo:
    """Return the time zone of an IANA name, or of a ZoneInfo.

    Raises:
        RegistrationError: The value is not a time zone with a name.
    """
    if zone is UTC:
        return UTC
    key = zone.key if isinstance(zone, ZoneInfo) else zone
    if key == "UTC":
        return UTC
    if not isinstance(key, str):
        raise RegistrationError(
            f'the time zone must be an IANA name such as "Europe/Berlin" or a ZoneInfo, not {zone!r}'
        )
    try:
        return zone if isinstance(zone, ZoneInfo) else ZoneInfo(key)
    except (KeyError, ValueError, OSError):
        raise RegistrationError(
            f'there is no time zone {key!r}; write an IANA name such as "Europe/Berlin", and install tzdata where the '
            "system has no time zones"
        ) from None


def _check(expression: str, parts: list[str]) -> None:
    """Reject expressions that cronsim rejects, and those that it understands in another way than cron does."""
    if len(parts) != 5:
        if expression.startswith("@"):
            raise RegistrationError(f"{expression!r} has no fields; write crons.daily(...) or the like, or {_FIELDS}")
        if expression.startswith("TZ="):
            raise RegistrationError(f"{expression!r}: write CRON_TZ= for the time zone")
        raise RegistrationError(f"{expression!r} must have five fields ({_FIELDS}), not {len(parts)}")
    days = parts[4].upper()
    if _LONE_STEP.search(days):
        raise RegistrationError(f"{expression!r}: a step in the day of week needs a range, such as 1-6/2")
    reason = _syntax_error(parts)
    if reason is None:
        return
    if _syntax_error([*parts[:3], "*", parts[4]]) is None and _syntax_error(["0", "0", "1", *parts[3:]]) is None:
        raise _never_matches(expression)  # each field is valid, but no such month has that day
    raise RegistrationError(f"{expression!r} is not a cron expression: {reason}; its fields are {_FIELDS}")


def _syntax_error(parts: list[str]) -> str | None:
    """Return cronsim's error for these fields, or None."""
    try:
        CronSim(" ".join(parts), datetime.fromtimestamp(0, UTC))
    except CronSimError as error:
        return str(error).lower()
    except ValueError:  # the number has more digits than int() accepts
        return "a number is too long"
    return None


def _never_matches(expression: str) -> RegistrationError:
    return RegistrationError(f"{expression!r} will never match any time")
