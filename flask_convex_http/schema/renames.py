"""New names of tables and fields that exist under an old one: `renamed_from`.

An old name of a table stays part of its class. Ids begin with the name of the table that they were made for. Clients
and other services hold them, so they keep their value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, is_typeddict

from flask_convex_http.validation.annotations import UNIONS, field_types, is_record, split_annotated


@dataclass(frozen=True, slots=True)
class RenamedFrom:
    """The old names of a field, as `renamed_from` returns them."""

    names: tuple[str, ...]


def renamed_from(*names: str) -> RenamedFrom:
    """Declare the old names of a field, inside `Annotated`.

    With `name: Annotated[str, renamed_from("full_name")]`, `flask convex migrate` renames the column. Its values and
    indexes stay.

    Args:
        names: The old names, the newest first.
    """
    return RenamedFrom(names)


def old_names_of_field(annotation: Any) -> tuple[str, ...]:
    """Return the old names in the annotation of a field."""
    base, metadata = split_annotated(annotation)
    names = tuple(name for meta in metadata if isinstance(meta, RenamedFrom) for name in meta.names)
    if get_origin(base) in UNIONS:
        return (*names, *(name for member in get_args(base) for name in old_names_of_field(member)))
    return names


def has_old_names_inside(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Return whether an old name is written inside the value of a field, where no migration looks.

    Args:
        annotation: The annotation of a field of a document.
        seen: The records that are searched already.
    """
    base, _ = split_annotated(annotation)
    if get_origin(base) in UNIONS:
        return any(has_old_names_inside(member, seen) for member in get_args(base))
    record = get_origin(base) or base
    if not is_record(base) and not is_typeddict(record):
        parts = get_args(base)
    elif record in seen:
        return False
    else:
        parts, seen = tuple(field_types(base).values()), seen | {record}
    return any(old_names_of_field(part) or has_old_names_inside(part, seen) for part in parts)


def without_old_names(annotation: Any) -> Any:
    """Return the annotation of a field without its old names, which say nothing about its values."""
    if get_origin(annotation) is not Annotated:
        return annotation
    base, *metadata = get_args(annotation)
    kept = tuple(meta for meta in metadata if not isinstance(meta, RenamedFrom))
    return Annotated[(base, *kept)] if kept else base


def old_names_of_table(declared: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the old names of a table, from the `renamed_from=` of its class."""
    if declared is None:
        return ()
    return (declared,) if isinstance(declared, str) else tuple(declared)
