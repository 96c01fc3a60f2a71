"""The commit log in PostgreSQL: numbers that readers can follow although transactions commit side by side.

A commit takes its number from a sequence at the end of its transaction. Two transactions may then commit in the other
order. A reader that had seen the higher number would never look for the lower one.

So a transaction first locks the last value of the sequence, shared and until its end, and then takes a higher number. A
reader reads the last value of the sequence, and then the locks. Every transaction with a number up to that value has
its lock by then. If it still runs, the lock shows, and its number is higher than the locked value. If not, its commit
is visible to a snapshot that is opened afterwards. So all commits up to the lowest locked value are settled.
"""

from __future__ import annotations

from flask_convex_http.engines.sql import quoted_columns
from flask_convex_http.schema.columns import Kind
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.history_tables import NUMBER_DIGITS, VIEW, VIEW_COLUMNS, ZERO_DIGITS, CommitRow

SEQUENCE = "_commits_number_seq"
#: Creates the sequence such that its last value is always one that was taken.
CREATE_SEQUENCE = (
    f'CREATE SEQUENCE "{SEQUENCE}" MINVALUE 0 START 0 OWNED BY "_commits"."number"',
    f"SELECT nextval('\"{SEQUENCE}\"')",
)
#: Returns the last value of the sequence, and the key of its locks.
LAST_VALUE = f"""SELECT last_value, '"{SEQUENCE}"'::regclass::oid::bigint FROM "{SEQUENCE}\""""
#: Takes the key, and returns the values that transactions have locked, in 31 bits.
LOCKED_VALUES = (
    "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND classid::bigint = %s "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
#: Makes the sequence follow the commits, which another database may have written.
RESUME = (
    f'SELECT setval(\'"{SEQUENCE}"\', newest) FROM (SELECT max("number") AS newest FROM "_commits") AS log '
    f'WHERE newest > (SELECT last_value FROM "{SEQUENCE}")'
)
#: The bits of a value of the sequence in a lock.
LOCK_BITS = 31
TYPES: dict[Kind, str] = {"text": "text", "json": "json"}

_COMMITS = Schema(CommitRow).table_for(CommitRow)
_LOCK = (
    f"pg_try_advisory_xact_lock_shared('\"{SEQUENCE}\"'::regclass::oid::int, "
    f'(SELECT (last_value & {2**LOCK_BITS - 1})::int FROM "{SEQUENCE}"))'
)
#: A CASE evaluates its condition first. No transaction locks a value exclusively, so the condition is true.
_NUMBER = f"CASE WHEN {_LOCK} THEN nextval('\"{SEQUENCE}\"') END"
_COMMIT_ID = f"'_commits_' || lpad(to_hex(n), {NUMBER_DIGITS}, '0') || '{'0' * ZERO_DIGITS}'"
_VALUES = ", ".join(f"%s::{TYPES[column.type.kind]}" for column in list(_COMMITS.columns.values())[1:])
#: Takes the time and the values of a commit after its number.
INSERT_COMMIT = (
    f'INSERT INTO "_commits" ({quoted_columns(_COMMITS)}) SELECT {_COMMIT_ID}, %s::float8, n, {_VALUES} '
    f"FROM (SELECT {_NUMBER} AS n OFFSET 0) AS numbered"
)
_FIELDS = ", ".join(
    f"each.value->{'' if name == 'before' else '>'}{place} AS {name}" for place, name in enumerate(VIEW_COLUMNS[1:])
)
CREATE_VIEW = (
    f'CREATE VIEW "{VIEW}" AS SELECT "number" AS {VIEW_COLUMNS[0]}, {_FIELDS} '
    'FROM "_commits", json_array_elements("_commits"."changes") AS each(value)'
)


def settled(last: int, locked: list[int]) -> int:
    """Return the number up to which all commits are settled.

    Args:
        last: The last value of the sequence.
        locked: The values that were locked after it was read, in 31 bits.
    """
    size: int = 2**LOCK_BITS
    # The distance to a value that was locked since is negative, as it may have been taken by then.
    distances = [(last - value + size // 2) % size - size // 2 for value in locked]
    return last - max([0, *distances])
