"""Render templates. Everything is escaped; an unknown variable is an error."""

from __future__ import annotations

import datetime
import functools
import json
import re
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from flask_convex_http.operations.tables import MOST_COUNTED

_UNITS = ("bytes", "KB", "MB", "GB", "TB")
#: A unit, its milliseconds, and how many of it an interval has at least.
_INTERVALS = (("days", 86_400_000, 2), ("h", 3_600_000, 1), ("min", 60_000, 1))
_LONGEST = 200
#: The states of jobs that people call otherwise.
_STATE_NAMES = {"inProgress": "running", "success": "done"}
_ID = re.compile(r"(\w+)_[0-9a-f]{24}([0-9a-f]{8})")


@functools.cache
def environment() -> Environment:
    """Return the environment of the dashboard's templates, apart from the app's own."""
    made = Environment(
        loader=PackageLoader("flask_convex_http.dashboard", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "time": time,
        "bytes": size,
        "number": number,
        "count": counted,
        "duration": duration,
        "interval": interval,
        "state": state_name,
        "brief": brief,
        "json": as_json,
        "short": shortened,
    }
    return made


def time(milliseconds: float | None, otherwise: str = "never") -> Markup:
    """Return a time in UTC, which the page's script shows in the viewer's zone.

    Args:
        milliseconds: The time in milliseconds since the epoch, or None.
        otherwise: The text for None.
    """
    if milliseconds is None:
        return Markup("{}").format(otherwise)
    try:
        moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    except (OverflowError, ValueError, OSError):  # the row was changed by hand
        return Markup("{}").format(milliseconds)
    exact = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(exact, f"{moment:%Y-%m-%d %H:%M:%S} UTC")


def size(count: float | None) -> str:
    """Return a number of bytes for people, such as "1.5 MB"."""
    if count is None:
        return "unknown"
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


def number(value: float | None) -> str:
    """Return a number with separators of thousands."""
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def counted(rows: int) -> str:
    """Return a number of rows that counting has stopped at."""
    return f"{rows:,}" if rows <= MOST_COUNTED else f"{MOST_COUNTED:,}+"


def duration(milliseconds: float | None) -> str:
    """Return a duration for people, such as "12 ms", "3.4 s" or "2 h 5 min"."""
    if milliseconds is None:
        return "unknown"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2g} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    minutes, days = int(milliseconds // 60_000), int(milliseconds // 86_400_000)
    if days >= 2:
        return f"{days} days"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def interval(milliseconds: int) -> str:
    """Return the exact interval of a cron for people, such as "every 90 min"."""
    for unit, length, least in _INTERVALS:
        if milliseconds % length == 0 and milliseconds >= least * length:
            return f"every {milliseconds // length} {unit}"
    return f"every {str(milliseconds / 1000).removesuffix('.0')} s"


def state_name(state: str) -> str:
    """Return a state for people."""
    return _STATE_NAMES.get(state, state)


def brief(name: str) -> str:
    """Return the end of an id with its table, or the beginning of any other text."""
    found = _ID.fullmatch(name)
    return f"{found[1]}_…{found[2]}" if found else shortened(name, 60)


def as_json(value: Any, indent: int | None = 2) -> str:
    """Return a value as JSON for people. Bytes are base64, dates are text."""
    return json.dumps(msgspec.to_builtins(value, str_keys=True), ensure_ascii=False, indent=indent)


def shortened(text: object, length: int = _LONGEST) -> str:
    """Return the beginning of a text."""
    whole = str(text)
    return whole if len(whole) <= length else whole[: length - 1] + "…"
