"""The statements of the commit log in SQLite.

There is one writer at a time, so the number of a commit is that of the newest one and one more. The newest commit is
never purged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import compress
from typing import Any

from flask_convex_http.schema.documents import TIME_COLUMN, Schema
from flask_convex_http.schema.history_tables import VIEW, VIEW_COLUMNS, CommitRow, commit_id

_COMMITS = Schema(CommitRow).table_for(CommitRow)
_FIELDS = ", ".join(f"json_extract(each.value, '$[{place}]') AS {name}" for place, name in enumerate(VIEW_COLUMNS[1:]))

#: Returns the number of the newest commit. In one statement with the INSERT, SQLite would scan the whole table.
_NEWEST_NUMBER = 'SELECT "number" FROM "_commits" ORDER BY "_id" DESC LIMIT 1'
#: The columns whose values are given with a commit.
_GIVEN = (TIME_COLUMN, *[name for name in _COMMITS.columns if name != "number"])
#: The largest number of rows that one statement inserts. There is a statement for each number.
_AT_ONCE = 16
CREATE_VIEW = (
    f'CREATE VIEW "{VIEW}" AS SELECT "number" AS {VIEW_COLUMNS[0]}, {_FIELDS} '
    'FROM "_commits", json_each("_commits"."changes") AS each'
)


def check_texts(values: Iterable[str | None]) -> None:
    """Check that a commit can be written, since an error would come to all members of its group.

    Raises:
        UnicodeEncodeError: A text, such as the subject of an identity, has a lone surrogate.
    """
    for value in values:
        if value is not None and not value.isascii():
            value.encode()


def write_commits(connection: Any, commits: Sequence[tuple[Any, ...]]) -> None:
    """Write commits to the log, with the numbers after the newest one.

    Args:
        connection: The connection, in a transaction.
        commits: The time of each commit and the values of its columns after the number.
    """
    newest = connection.execute(_NEWEST_NUMBER).fetchone()
    number = 1 if newest is None else newest[0] + 1
    for start in range(0, len(commits), _AT_ONCE):
        part = commits[start : start + _AT_ONCE]
        columns = tuple(zip(*part, strict=True))
        used = tuple(column.count(None) < len(part) for column in columns)
        values: list[Any] = []
        for place, given in enumerate(zip(*compress(columns, used), strict=True), number + start):
            values += (commit_id(place), place, *given)
        connection.execute(_insert(used, len(part)), values)


@cache
def _insert(used: tuple[bool, ...], count: int) -> str:
    """Return the INSERT of some rows with some columns. Columns without a value would take a third of its time.

    Args:
        used: Whether each of the columns is written.
        count: The number of rows.
    """
    names = ("_id", "number", *compress(_GIVEN, used))
    row = f"({', '.join('?' * len(names))})"
    columns = ", ".join(f'"{name}"' for name in names)
    return f'INSERT INTO "_commits" ({columns}) VALUES {", ".join([row] * count)}'
