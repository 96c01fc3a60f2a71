"""Values of options, as functions that click takes for types: how long (`30d`), until when (`30d`, `2027-01-01`)."""

from __future__ import annotations

import datetime
import re

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)
_LONGEST = datetime.timedelta(days=36525)
_FORM = "a number and s, m, h, d or w, such as 90s, 12h or 30d"


def duration(text: str) -> datetime.timedelta:
    """A length of time, such as 12h.

    Raises:
        click.BadParameter: The text is something else.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a length of time: write {_FORM}.")
    try:
        length = datetime.timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        length = datetime.timedelta.max
    if length > _LONGEST:
        raise click.BadParameter(f"{text!r} is longer than 100 years.")
    return length


def time(text: str) -> datetime.timedelta | datetime.datetime:
    """A length of time from now, or a date; without a zone it is in UTC.

    Raises:
        click.BadParameter: The text is something else.
    """
    if _DURATION.fullmatch(text):
        return duration(text)
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a time: write {_FORM}, or a date such as 2027-01-01.") from None
    return moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment


def expires_at(expiry: datetime.timedelta | datetime.datetime | None, now: float) -> float | None:
    """When something expires.

    Args:
        expiry: What `time` answered.
        now: Now, in milliseconds since the epoch.

    Returns:
        Milliseconds since the epoch; None if nothing was given.

    Raises:
        click.BadParameter: That is not after now.
    """
    if expiry is None:
        return None
    end = _milliseconds(expiry, now)
    if end <= now:
        raise click.BadParameter("the time must lie in the future.", param_hint="'--expires'")
    return end


def _milliseconds(expiry: datetime.timedelta | datetime.datetime, now: float) -> float:
    if isinstance(expiry, datetime.timedelta):
        return now + expiry.total_seconds() * 1000
    return expiry.timestamp() * 1000
