"""The statements that append to the commit log in SQLite.

There is one writer at a time, so the number of a commit is that of the newest one and one more. The newest commit is
never purged.
"""

from __future__ import annotations

from flask_convex_http.engines.sql import quoted_columns
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.history_tables import (
    NUMBER_DIGITS,
    PLACE_DIGITS,
    ChangeRow,
    CommitRow,
)

_SCHEMA = Schema(CommitRow, ChangeRow)
_COMMITS, _CHANGES = _SCHEMA.table_for(CommitRow), _SCHEMA.table_for(ChangeRow)
_NEXT = 'SELECT coalesce((SELECT "number" FROM "_commits" ORDER BY "_id" DESC LIMIT 1), 0) + 1 AS n'

#: Takes the time and the cause, and returns the number.
INSERT_COMMIT = (
    f'INSERT INTO "_commits" ({quoted_columns(_COMMITS)}) '
    f"SELECT printf('_commits_%0{NUMBER_DIGITS}x%0{PLACE_DIGITS}x', n, 0), ?, n{', ?' * (len(_COMMITS.columns) - 1)} "
    f'FROM ({_NEXT}) RETURNING "number"'
)
#: Takes the values of a row.
INSERT_CHANGE = f'INSERT INTO "_changes" ({quoted_columns(_CHANGES)}) VALUES (?{", ?" * (len(_CHANGES.columns) + 1)})'
