"""The order of two states of one object, for `ctx.db.apply_if_newer`.

States compare by their values and never by their arrival. Any order and number of events leaves the same state.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from flask_convex_http.errors import DocumentValidationError, RegistrationError
from flask_convex_http.schema.documents import Document, Index, Table

D = TypeVar("D", bound=Document)


def index_of(table: Table[Any], by: str) -> Index:
    """Return the unique index whose fields identify an object.

    Raises:
        RegistrationError: The table has no such index, or it is not unique.
    """
    index = table.indexes.get(by)
    constraints = [name for name, index in table.indexes.items() if index.unique]
    if index is not None and index.unique:
        return index
    problem = "is not unique" if index else "does not exist"
    hint = f"use one of {', '.join(constraints)}" if constraints else f'declare one, such as {{"{by}": unique(...)}}'
    raise RegistrationError(f"apply_if_newer(by={by!r}): the index {table.name}.{by} {problem}; {hint}")


def version_fields(table: Table[Any], version: str | Sequence[str]) -> tuple[str, ...]:
    """Return the fields of a version, in order.

    Raises:
        RegistrationError: There is none, the table lacks one of them, or one of them has no order.
    """
    fields = (version,) if isinstance(version, str) else tuple(version)
    if not fields:
        raise RegistrationError('apply_if_newer(version=()) needs at least one field, as in version="updated_at"')
    for field in fields:
        _check_ordered(table, field)
    return fields


def check_present(table: Table[D], document: D, fields: Sequence[str], why: str) -> None:
    """Check that some fields of a document are not None.

    Args:
        table: The table of the document.
        document: The document.
        fields: The names of the fields.
        why: The use of the values, for the message.

    Raises:
        DocumentValidationError: A field is None.
    """
    for field in fields:
        if getattr(document, field) is None:
            raise DocumentValidationError(f"{table.name}: Expected a value to {why}, got `null` - at `$.{field}`")


def rank(table: Table[D], document: D, version: Sequence[str]) -> tuple[Any, ...]:
    """Return the sort key of a state. The state with the greater key is the newer one.

    The key starts with the version. All fields follow in the order of the class, so that only equal states tie.

    Args:
        table: The table of the document.
        document: The document, as read from a row.
        version: The fields of the version.
    """
    return tuple(_comparable(table, name, getattr(document, name)) for name in (*version, *table.columns))


def _check_ordered(table: Table[Any], field: str) -> None:
    column = table.columns.get(field)
    if column is None:
        raise RegistrationError(
            f"apply_if_newer(version={field!r}): {table.document.__name__} has no such field; add one for the "
            f"sender's time or number (there are {', '.join(table.columns)})"
        )
    if column.type.kind == "json":
        raise RegistrationError(
            f"apply_if_newer(version={field!r}): {table.document.__name__}.{field} is stored as JSON and has no "
            "order; use a str, int, float, bool, bytes or datetime field"
        )


def _comparable(table: Table[Any], name: str, value: Any) -> tuple[bool, Any]:
    """Return a key that orders all values of a column: None first, structured values by their JSON."""
    if value is None:
        return False, None
    if table.columns[name].type.kind == "json":
        return True, msgspec.json.encode(value, order="deterministic")
    return True, value.value if isinstance(value, enum.Enum) else value
