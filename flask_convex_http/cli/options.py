"""Types of options: whole numbers, durations such as `30d`, and times such as `30d` or `2027-01-01`."""

from __future__ import annotations

import datetime
import re
from typing import Any

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)
_LONGEST = datetime.timedelta(days=36525)
_FORM = "a number and s, m, h, d or w, such as 90s, 12h or 30d"
#: The largest number of rows that a command lists. More need a query.
_MOST_LISTED = 1_000_000


class WholeNumber(click.IntRange):
    """A whole number from `min` to `max`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the number. An error has the accepted range in its message."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a whole number from {self.min} to {self.max}.", param, ctx)


#: The number of rows to list.
LISTED = WholeNumber(1, _MOST_LISTED)


def duration(text: str) -> datetime.timedelta:
    """Parse a duration such as 12h.

    Raises:
        click.BadParameter: The text is no duration, or one of more than 100 years.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a duration: write {_FORM}.")
    try:
        length = datetime.timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        length = datetime.timedelta.max
    if length > _LONGEST:
        raise click.BadParameter(f"{text!r} is longer than 100 years, {_LONGEST.days}d.")
    return length


def time(text: str) -> datetime.timedelta | datetime.datetime:
    """Parse a duration from now, or a date. A date without a time zone is in UTC.

    Raises:
        click.BadParameter: The text is neither.
    """
    if _DURATION.fullmatch(text):
        return duration(text)
    try:
        moment = datetime.datetime.fromisoformat(text)
        return (moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is not a time: write {_FORM}, or a date such as 2027-01-01.") from None


def expires_at(expiry: datetime.timedelta | datetime.datetime | None, now: float) -> float | None:
    """Return the time of `--expires`.

    Args:
        expiry: A result of `time`, or None if the option was not given.
        now: The current time in milliseconds since the epoch.

    Returns:
        The time in milliseconds since the epoch, or None.

    Raises:
        click.BadParameter: The time is not in the future.
    """
    if expiry is None:
        return None
    end = _milliseconds(expiry, now)
    if end <= now:
        raise click.BadParameter("the time must be in the future.", param_hint="'--expires'")
    return end


def _milliseconds(expiry: datetime.timedelta | datetime.datetime, now: float) -> float:
    if isinstance(expiry, datetime.timedelta):
        return now + expiry.total_seconds() * 1000
    return expiry.timestamp() * 1000
