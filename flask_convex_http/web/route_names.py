"""The names of routes in metrics, logs and traces: their rules, without the package's own converters."""

from __future__ import annotations

import functools
import re

#: The package's converters: for an end, the rest of a path, and an endpoint of the package by its name.
END, REST, NAMED = "convex_end", "convex_rest", "convex_endpoint"
_OWN = re.compile(rf"<(?:{END}|{REST}|{NAMED}\('(?P<name>[^']*)'\)):\w+>")


@functools.lru_cache(1000)
def route_name(rule: str) -> str:
    """Return a rule as people write it: with `*` for the rest of a path, and without the package's converters."""
    return _OWN.sub(_as_written, rule)


def is_of_package(rule: str) -> bool:
    """Return whether a rule is of an endpoint of the package, which a rule of the application hides."""
    return f"<{NAMED}(" in rule


def _as_written(found: re.Match[str]) -> str:
    name = found["name"] or ""
    return f"{name}*" if name.endswith("/") or found[0].startswith(f"<{REST}:") else name
