"""Durations that applications give as a timedelta or a number of seconds, and clocks."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

#: Milliseconds by which the clocks of two processes may differ. A larger difference means that a clock was set back.
CLOCK_TOLERANCE_MS = 60_000.0
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_TEXT = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)


def seconds_of(duration: Any) -> float:
    """Return the seconds of a duration, without a check of their range.

    An integer stays an integer, since it may be too large for a float. Any other value is NaN, which no range contains.
    """
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    is_number = isinstance(duration, (int, float)) and not isinstance(duration, bool)
    return duration if is_number else math.nan


def duration_of(text: str) -> timedelta | None:
    """Return the duration of a text such as 90s, 12h or 7d, or None if it is none or too long."""
    match = _TEXT.fullmatch(text.strip())
    try:
        return None if match is None else timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        return None


def system_clock() -> float:
    """Return the current time in milliseconds since the epoch."""
    return time.time() * 1000


class DeploymentClock:
    """The clock of one deployment.

    Args:
        source: Returns the current time in milliseconds since the epoch; None for the system's time. Tests replace it.
    """

    __slots__ = ("source",)

    def __init__(self, source: Callable[[], float] | None = None) -> None:
        self.source = source

    def __call__(self) -> float:
        """Return the current time in milliseconds since the epoch."""
        return time.time() * 1000 if self.source is None else self.source()
