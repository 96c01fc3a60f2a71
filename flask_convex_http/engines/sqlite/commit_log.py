"""The statements of the commit log in SQLite.

There is one writer at a time, so the number of a commit is that of the newest one and one more. The newest commit is
never purged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain, compress
from typing import Any

from flask_convex_http.schema.documents import TIME_COLUMN, Schema
from flask_convex_http.schema.history_tables import NUMBER_DIGITS, VIEW, VIEW_COLUMNS, ZERO_DIGITS, CommitRow

_COMMITS = Schema(CommitRow).table_for(CommitRow)
_FIELDS = ", ".join(f"json_extract(each.value, '$[{place}]') AS {name}" for place, name in enumerate(VIEW_COLUMNS[1:]))

#: The number of the newest commit, or 0. A SELECT of `max("number")` would scan the whole table.
_NEWEST = 'coalesce((SELECT "number" FROM "_commits" ORDER BY "_id" DESC LIMIT 1), 0)'
#: The columns whose values are given with a commit.
_GIVEN = (TIME_COLUMN, *[name for name in _COMMITS.columns if name != "number"])
#: The largest number of rows that one statement inserts. There is a statement for each number.
_AT_ONCE = 16
CREATE_VIEW = (
    f'CREATE VIEW "{VIEW}" AS SELECT "number" AS {VIEW_COLUMNS[0]}, {_FIELDS} '
    'FROM "_commits", json_each("_commits"."changes") AS each'
)


def check_texts(values: Iterable[object]) -> None:
    """Check that a commit can be written late, since an error would come to all members of its group.

    Raises:
        UnicodeEncodeError: A text, such as the subject of an identity, has a lone surrogate.
    """
    for value in values:
        if isinstance(value, str) and not value.isascii():
            value.encode()


def write_commits(connection: Any, commits: Sequence[tuple[Any, ...]]) -> None:
    """Write commits to the log, with the numbers after the newest one.

    Args:
        connection: The connection, in a transaction.
        commits: The time of each commit and the values of its columns after the number.
    """
    if len(commits) == 1:  # half of the time of the way below
        values = commits[0]
        used = tuple([value is not None for value in values])
        connection.execute(_insert(used, 1), [value for value in values if value is not None])
        return
    for start in range(0, len(commits), _AT_ONCE):
        part = commits[start : start + _AT_ONCE]
        columns = tuple(zip(*part, strict=True))
        used = tuple(column.count(None) < len(part) for column in columns)
        given = chain.from_iterable(zip(*compress(columns, used), strict=True))
        connection.execute(_insert(used, len(part)), tuple(given))


@cache
def _insert(used: tuple[bool, ...], count: int) -> str:
    """Return the INSERT of some rows with some columns. Columns without a value would take a third of its time.

    It also finds the newest number. A statement of its own for that costs little by itself, but at each statement
    another thread may get the interpreter, and the writer waits for it.

    Args:
        used: Whether each of the columns is written.
        count: The number of rows.
    """
    names = list(compress(_GIVEN, used))
    columns = ", ".join(f'"{name}"' for name in ("_id", "number", *names))
    into = f'INSERT INTO "_commits" ({columns})'
    given = ", ".join("?" * len(names))
    if count == 1:
        return f"{into} VALUES ({_id_of(f'{_NEWEST} + 1')}, {_NEWEST} + 1, {given})"
    rows = ", ".join(f"({place}, {given})" for place in range(1, count + 1))
    values = ", ".join(f"v{place}" for place in range(len(names)))
    return (
        f"WITH newest(n) AS MATERIALIZED (SELECT {_NEWEST}), added(i, {values}) AS (VALUES {rows}) "
        f"{into} SELECT {_id_of('n + i')}, n + i, {values} FROM newest CROSS JOIN added"
    )


def _id_of(number: str) -> str:
    """Return the SQL of the id of a commit, given that of its number."""
    return f"printf('_commits_%0{NUMBER_DIGITS}x{'0' * ZERO_DIGITS}', {number})"
