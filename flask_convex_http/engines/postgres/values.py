"""Values on their way to PostgreSQL and back, where it does not take what other databases do.

Its text has no NUL. Text that has one, or U+0001, is stored with these escaped, so that the order by code point stays
what it is: NUL as U+0001 U+0001, U+0001 as U+0001 U+0002. All other text is stored as it is. JSON has no raw control
characters, so it is never escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from flask_convex_http.errors import DocumentValidationError
from flask_convex_http.schema.tables import Table

#: Bytes that the values of one index may have: a third of a page, less what the row's id and the index take.
MOST_INDEXED = 2500
#: Text of so many characters fits whatever they are, as one of four fields.
_SHORT = MOST_INDEXED // 16

_MEANING = {"\1\1": "\0", "\1\2": "\1"}
_ESCAPED = re.compile("\1[\1\2]")


def stored(values: Iterable[Any]) -> list[Any]:
    """Values as the driver takes them."""
    return [
        _escaped(value) if isinstance(value, str) and ("\0" in value or "\1" in value) else value for value in values
    ]


def loaded(value: Any) -> Any:
    """One value as it was given."""
    return _unescaped(value) if isinstance(value, str) and "\1" in value else value


class Loading:
    """Rows as they came, of which tables may hold escaped text."""

    def __init__(self) -> None:
        self._places: dict[Table[Any], tuple[int, ...]] = {}

    def rows(self, table: Table[Any], rows: list[Any]) -> list[Any]:
        """The rows of a table as they were given."""
        places = self._places.get(table)
        if places is None:
            kinds = [column.type.kind for column in table.columns.values()]
            places = self._places[table] = tuple(2 + place for place, kind in enumerate(kinds) if kind == "text")
        for number, row in enumerate(rows):
            for place in places:
                text = row[place]
                if text is not None and "\1" in text:
                    rows[number] = _unescaped_row(row, places)
                    break
        return rows


def refuse_too_long(table: Table[Any], names: Iterable[str], row: Sequence[Any]) -> None:
    """Refuse what an index cannot hold, before the server does: after its error the transaction would be over.

    Args:
        table: The table.
        names: The columns that are written.
        row: Their values.

    Raises:
        DocumentValidationError: The values of an index are too long together.
    """
    if not any(type(value) in (str, bytes) and len(value) > _SHORT for value in row):
        return
    values = dict(zip(names, row, strict=True))
    for index in table.indexes.values():
        if _bytes_of(values, index.fields) > MOST_INDEXED:
            field = max(index.fields, key=lambda name: _bytes_of(values, (name,)))
            raise DocumentValidationError(
                f"{table.name}: Expected at most {MOST_INDEXED} bytes in the index {index.name}, which is what "
                f"PostgreSQL takes - at `$.{field}`"
            )


def _bytes_of(values: dict[str, Any], fields: Sequence[str]) -> int:
    return sum(len(_encoded(values[name])) for name in fields if isinstance(values.get(name), (str, bytes)))


def _encoded(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else _escaped(value).encode()


def _escaped(text: str) -> str:
    return text.replace("\1", "\1\2").replace("\0", "\1\1")


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: _MEANING[found[0]], text)


def _unescaped_row(row: Sequence[Any], places: tuple[int, ...]) -> tuple[Any, ...]:
    values = list(row)
    for place in places:
        values[place] = loaded(values[place])
    return tuple(values)
