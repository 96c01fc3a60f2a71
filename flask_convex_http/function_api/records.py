"""The fields of records: structs, documents, dataclasses, named tuples and TypedDicts."""

from __future__ import annotations

from typing import Any, get_origin

import msgspec


def name_of(annotation: Any) -> str:
    """Return the name of a class with fields."""
    return str(getattr(get_origin(annotation) or annotation, "__name__", annotation))


def field_names(record: Any) -> dict[str, str]:
    """Return the JSON name of each field of a struct by its Python name; nothing for other records."""
    kind = get_origin(record) or record
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return {}
    return dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))


def is_array(record: Any) -> bool:
    """Return whether the values of a record are arrays in JSON: a named tuple, or a struct that says so."""
    kind = get_origin(record) or record
    if not isinstance(kind, type):
        return False
    return issubclass(kind, tuple) or bool(getattr(getattr(kind, "__struct_config__", None), "array_like", False))
