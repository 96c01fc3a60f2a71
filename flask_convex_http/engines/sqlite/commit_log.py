"""The statements of the commit log in SQLite.

There is one writer at a time, so the number of a commit is that of the newest one and one more. The newest commit is
never purged.
"""

from __future__ import annotations

from flask_convex_http.engines.sql import quoted_columns
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.history_tables import VIEW, VIEW_COLUMNS, CommitRow

_COMMITS = Schema(CommitRow).table_for(CommitRow)
_FIELDS = ", ".join(f"json_extract(each.value, '$[{place}]') AS {name}" for place, name in enumerate(VIEW_COLUMNS[1:]))

#: Returns the number of the newest commit. In one statement with the INSERT, SQLite would scan the whole table.
NEWEST_NUMBER = 'SELECT "number" FROM "_commits" ORDER BY "_id" DESC LIMIT 1'
#: Takes the values of a row.
INSERT_COMMIT = f'INSERT INTO "_commits" ({quoted_columns(_COMMITS)}) VALUES (?, ?{", ?" * len(_COMMITS.columns)})'
CREATE_VIEW = (
    f'CREATE VIEW "{VIEW}" AS SELECT "number" AS {VIEW_COLUMNS[0]}, {_FIELDS} '
    'FROM "_commits", json_each("_commits"."changes") AS each'
)
