"""Arguments of exact types: texts, booleans, None and ids, which most functions take and no others.

To look at the types takes a third of the time that msgspec takes to make a record of the arguments and Python to take
it apart again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from flask_convex_http.ids import IdOf
from flask_convex_http.validation.annotations import UNIONS, NoneType, split_annotated, split_union

#: Types whose values msgspec returns as they are.
_EXACT = (str, bool)
_ABSENT = object()
#: The types of an argument, and the marker of an id or None.
_Kind = tuple[frozenset[type], IdOf | None]


class PlainArguments:
    """Recognizes arguments that match their annotations without a closer look.

    Args:
        hints: The annotations by name.
    """

    __slots__ = ("_kinds",)

    def __init__(self, hints: Mapping[str, Any]) -> None:
        kinds = {name: _kind_of(hint) for name, hint in hints.items()}
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


def _kind_of(hint: Any) -> _Kind | None:
    """Return the types of an argument and its marker, or None if its values need a closer look."""
    base, metadata = split_annotated(hint)
    if get_origin(base) in UNIONS and not metadata:
        values, absent = split_union(get_args(base))
        inner = _kind_of(values[0]) if len(values) == 1 and absent == [NoneType] else None
        return None if inner is None else (inner[0] | {NoneType}, inner[1])
    if base is str and len(metadata) == 1 and isinstance(metadata[0], IdOf):
        return frozenset({str}), metadata[0]
    return (frozenset({base}), None) if base in _EXACT and not metadata else None
