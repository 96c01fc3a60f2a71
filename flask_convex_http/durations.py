"""Lengths of time: as applications give them, a timedelta or a number of seconds, and what is as good as none."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

#: Milliseconds that the clocks of two processes may differ without anybody thinking that one was set back.
SAME_CLOCK = 60_000.0


def seconds_of(duration: Any) -> float:
    """Seconds, unchecked: NaN, which is within no bounds, for what is no length of time. An integer stays one, since it
    may be larger than any float."""
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    is_number = isinstance(duration, (int, float)) and not isinstance(duration, bool)
    return duration if is_number else math.nan
