"""Which of two states of a thing is the newer one: what `ctx.db.apply_if_newer` goes by.

Two states are compared by values alone, never by when they came, so that whatever order events come in, and however
often, the same one is left at the end. What lives here reads and writes no database.
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
    """The index that says which documents are states of one thing.

    Raises:
        RegistrationError: The table has no such index, or it is not a constraint.
    """
    index = table.indexes.get(by)
    constraints = [name for name, index in table.indexes.items() if index.unique]
    if index is not None and index.unique:
        return index
    what = "is not unique" if index else "does not exist"
    there = f"use one of {', '.join(constraints)}" if constraints else f'declare one, such as {{"{by}": unique(...)}}'
    raise RegistrationError(f"apply_if_newer(by={by!r}): the index {table.name}.{by} {what}; {there}")


def version_fields(table: Table[Any], version: str | Sequence[str]) -> tuple[str, ...]:
    """The fields of a version, in order.

    Raises:
        RegistrationError: There is none, the table does not have one of them, or one has no order.
    """
    fields = (version,) if isinstance(version, str) else tuple(version)
    if not fields:
        raise RegistrationError('apply_if_newer(version=()) needs at least one field, as in version="updated_at"')
    for field in fields:
        _check_ordered(table, field)
    return fields


def check_present(table: Table[D], document: D, fields: Sequence[str], why: str) -> None:
    """Check that a document has a value in each of some fields.

    Args:
        table: Its table.
        document: The document.
        fields: The fields.
        why: What is to be done with them, for the message.

    Raises:
        DocumentValidationError: One is None.
    """
    for field in fields:
        if getattr(document, field) is None:
            raise DocumentValidationError(f"{table.name}: Expected a value to {why}, got `null` - at `$.{field}`")


def rank(table: Table[D], document: D, version: Sequence[str]) -> tuple[Any, ...]:
    """A document's place among the states of one thing: the greater one is the newer one.

    The version comes first. Then all fields in the class's order, so that two states tie only if they are equal.

    Args:
        table: Its table.
        document: The document, as it was read from a row.
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
    """A value in an order that all values of its column have: None first, what is structured by its JSON."""
    if value is None:
        return False, None
    if table.columns[name].type.kind == "json":
        return True, msgspec.json.encode(value, order="deterministic")
    return True, value.value if isinstance(value, enum.Enum) else value
