"""Arguments of exact types: texts, booleans, None and ids, which most functions take and no others.

To look at the types takes a third of the time that msgspec takes to make a record of the arguments and Python to take
it apart again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_convex_http.validation.annotations import plain_types

_ABSENT = object()


class PlainArguments:
    """Recognizes arguments that match their annotations without a closer look.

    Args:
        hints: The annotations by name.
    """

    __slots__ = ("_kinds",)

    def __init__(self, hints: Mapping[str, Any]) -> None:
        kinds = {name: plain_types(hint) for name, hint in hints.items()}
        self._kinds = [(name, *kind) for name, kind in kinds.items() if kind is not None]
        if len(self._kinds) < len(kinds):
            self._kinds = []

    def take(self, values: Any) -> dict[str, Any] | None:
        """Return the arguments by name, or None if they have to be looked at more closely."""
        if not self._kinds or len(values) != len(self._kinds):
            return None
        taken = {}
        for name, types, marker in self._kinds:
            value = values.get(name, _ABSENT)
            if type(value) not in types or (marker is not None and value is not None and not marker.accepts(value)):
                return None
            taken[name] = value
        return taken
