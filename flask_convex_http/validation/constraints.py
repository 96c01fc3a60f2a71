"""JSON schemas of types, which stay the same when only the documentation of a type changes."""

from __future__ import annotations

from typing import Any

import msgspec

_DOCUMENTATION_KEYS = {"title", "description", "examples", "default"}


def constraints_of(type_: Any, annotation: Any) -> msgspec.Raw:
    """Return the JSON schema of a type without the keys that only document it.

    Args:
        type_: The annotation as rewritten for msgspec.
        annotation: The annotation, which describes types that have no JSON schema.
    """
    try:
        schema = msgspec.json.schema(type_)
    except TypeError:
        schema = {"type": repr(annotation)}
    return msgspec.Raw(msgspec.json.encode(_without_documentation(schema), order="deterministic"))


def _without_documentation(schema: Any, *, by_name: bool = False) -> Any:
    if isinstance(schema, list):
        return [_without_documentation(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_documentation(part, by_name=key in ("properties", "$defs") and not by_name)
        for key, part in schema.items()
        if by_name or key not in _DOCUMENTATION_KEYS
    }
