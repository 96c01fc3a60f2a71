"""The statements of the commit log in SQLite.

There is one writer at a time, so the number of a commit is that of the newest one and one more. The newest commit is
never purged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flask_convex_http.engines.sql import quoted_columns
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.history_tables import VIEW, VIEW_COLUMNS, CommitRow, commit_id

_COMMITS = Schema(CommitRow).table_for(CommitRow)
_FIELDS = ", ".join(f"json_extract(each.value, '$[{place}]') AS {name}" for place, name in enumerate(VIEW_COLUMNS[1:]))

#: Returns the number of the newest commit. In one statement with the INSERT, SQLite would scan the whole table.
_NEWEST_NUMBER = 'SELECT "number" FROM "_commits" ORDER BY "_id" DESC LIMIT 1'
_ROW = f"(?, ?{', ?' * len(_COMMITS.columns)})"
#: The largest number of rows that one statement inserts. There is a statement for each number.
_AT_ONCE = 16
_INSERTS = [
    f'INSERT INTO "_commits" ({quoted_columns(_COMMITS)}) VALUES {", ".join([_ROW] * count)}'
    for count in range(_AT_ONCE + 1)
]
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
        values: list[Any] = []
        for place, (now, *rest) in enumerate(part, number + start):
            values += (commit_id(place), now, place, *rest)
        connection.execute(_INSERTS[len(part)], values)
