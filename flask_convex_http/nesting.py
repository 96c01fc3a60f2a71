"""The nesting of values, and its limit.

Without a limit the stack of the interpreter would be the bound. A function could then store a value that another one
could not read, because it is called through more functions.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import msgspec

#: Levels of lists and objects in a value that a client or another service sends: as in Convex.
MAX_NESTING = 64
TOO_DEEP = f"Expected at most {MAX_NESTING} levels of lists and objects - at `$`"

_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})


def exceeds(value: Any, limit: int) -> bool:
    """Return whether a value of plain lists and dicts has more levels than a limit. A text has none."""
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(limit):
        if not level:
            return False
        parts = chain.from_iterable([part.values() if type(part) is dict else part for part in level])
        level = [part for part in parts if type(part) in _CONTAINERS]
    return bool(level)


def json_exceeds(text: str | bytes, limit: int) -> bool:
    """Return whether valid JSON has more levels than a limit, without parsing it if it has only few brackets."""
    return may_exceed(text, limit) and exceeds(msgspec.json.decode(text), limit)


def may_exceed(text: str | bytes, limit: int) -> bool:
    """Return whether JSON has more opening brackets than a limit."""
    if len(text) <= 2 * limit:  # each level has two brackets
        return False
    if isinstance(text, str):
        return text.count("{") + text.count("[") > limit
    return text.count(b"{") + text.count(b"[") > limit
