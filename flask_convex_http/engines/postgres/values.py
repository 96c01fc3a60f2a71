"""The encoding of values that PostgreSQL cannot store as they are, and the limit on values in an index.

PostgreSQL's text cannot contain NUL. In text that contains NUL or U+0001 both are escaped such that the order by code
point stays the same: NUL as U+0001 U+0001, U+0001 as U+0001 U+0002. All other text is stored as it is. JSON contains no
raw control characters, so it is never escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from flask_convex_http.errors import UnstorableValueError
from flask_convex_http.schema.tables import Table

#: Maximum size in bytes of the values of one index entry: a third of a page, less the row's id and the overhead.
MAX_INDEX_BYTES = 2500
#: Up to this many characters a text fits into any index of up to four fields, because UTF-8 takes at most four bytes
#: for each.
_ALWAYS_FITS = MAX_INDEX_BYTES // 16

_UNESCAPED = {"\1\1": "\0", "\1\2": "\1"}
_ESCAPED = re.compile("\1[\1\2]")


def encoded(values: Iterable[Any]) -> list[Any]:
    """Return values as they are stored."""
    return [
        _escaped(value) if isinstance(value, str) and ("\0" in value or "\1" in value) else value for value in values
    ]


def decoded(value: Any) -> Any:
    """Return a stored value as it was before `encoded`."""
    return _unescaped(value) if isinstance(value, str) and "\1" in value else value


class RowDecoder:
    """Decodes stored rows, and remembers for each table which columns are text."""

    def __init__(self) -> None:
        self._text_columns: dict[Table[Any], tuple[int, ...]] = {}

    def decode(self, table: Table[Any], rows: list[Any]) -> list[Any]:
        """Replace the rows that contain escaped text by decoded ones, in the list itself, and return the list."""
        columns = self._text_columns.get(table)
        if columns is None:
            kinds = [column.type.kind for column in table.columns.values()]
            columns = self._text_columns[table] = tuple(2 + place for place, kind in enumerate(kinds) if kind == "text")
        for number, row in enumerate(rows):
            for column in columns:
                text = row[column]
                if text is not None and "\1" in text:
                    rows[number] = _decoded_row(row, columns)
                    break
        return rows


def check_index_sizes(table: Table[Any], names: Iterable[str], row: Sequence[Any]) -> None:
    """Reject values that are too long for an index before the server does, whose error would end the transaction.

    Args:
        table: The table.
        names: The columns that are written.
        row: Their values, in the same order.

    Raises:
        UnstorableValueError: The values of an index are too long together.
    """
    if not any(type(value) in (str, bytes) and len(value) > _ALWAYS_FITS for value in row):
        return
    values = dict(zip(names, row, strict=True))
    for index in table.indexes.values():
        if _size(values, index.fields) > MAX_INDEX_BYTES:
            field = max(index.fields, key=lambda name: _size(values, (name,)))
            raise UnstorableValueError(
                f"{table.name}: Expected at most {MAX_INDEX_BYTES} bytes in the index {index.name}, which is what "
                f"PostgreSQL takes - at `$.{field}`",
                f"Expected at most {MAX_INDEX_BYTES} bytes - at `$.{field}`",
            )


def _size(values: dict[str, Any], fields: Sequence[str]) -> int:
    return sum(len(_utf8(values[name])) for name in fields if isinstance(values.get(name), (str, bytes)))


def _utf8(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else _escaped(value).encode()


def _escaped(text: str) -> str:
    return text.replace("\1", "\1\2").replace("\0", "\1\1")


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: _UNESCAPED[found[0]], text)


def _decoded_row(row: Sequence[Any], columns: tuple[int, ...]) -> tuple[Any, ...]:
    values = list(row)
    for column in columns:
        values[column] = decoded(values[column])
    return tuple(values)
