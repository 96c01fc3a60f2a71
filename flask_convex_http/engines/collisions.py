"""What is said when a row has the values of another one in a unique index; the same on every database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask_convex_http.errors import UniqueConstraintError
from flask_convex_http.schema import Table


def taken(table: Table[Any] | None, name: str, fields: Sequence[str]) -> UniqueConstraintError:
    """The error for values that another row has.

    Args:
        table: The table, if the schema has it.
        name: Its name.
        fields: The fields that are the same.
    """
    indexes = table.indexes.values() if table else ()
    found = [index.name for index in indexes if index.unique and index.fields == tuple(fields)]
    in_index = f" (unique index {found[0]})" if found else ""
    return UniqueConstraintError(f"{name}: another document has the same {', '.join(fields)}{in_index}")
