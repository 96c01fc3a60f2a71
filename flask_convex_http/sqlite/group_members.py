"""The members of a group commit: each write runs as if it had a transaction of its own.

The first member needs no savepoint, since the whole transaction can be begun again without it. Each other member has
one, which is released together with those of some later members: a statement takes a sixth of the time of a small
write, and at each of them Python may switch to another thread. Not all stay until the commit, since SQLite looks at
every open savepoint when it changes a page.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from flask_convex_http.errors import ConvexHTTPError, EngineError
from flask_convex_http.sqlite.waiting_writes import Work

T = TypeVar("T")

#: The savepoints of members. To release the first one releases all that are inside of it.
_SAVEPOINTS = tuple(f"member_{number}" for number in range(16))
_BEGIN = tuple(f"SAVEPOINT {name}" for name in _SAVEPOINTS)
_RELEASE = f"RELEASE {_SAVEPOINTS[0]}"


class GroupMembers:
    """Runs the members of the groups of one writer.

    Args:
        execute: Executes a statement, and raises the package's errors.
        roll_back: Rolls back the whole transaction.
    """

    def __init__(self, execute: Callable[[str, Any], None], roll_back: Callable[[Any], None]) -> None:
        self._execute = execute
        self._roll_back = roll_back
        self._open = 0

    def run_first(self, work: Work[T], connection: Any) -> T:
        """Run the first member of a group and return its result. If it raises, the transaction has begun again.

        Args:
            work: The write.
            connection: The connection, in the transaction of the group.
        """
        self._open = 0
        try:
            result = work(connection)
            check_transaction(connection)
        except BaseException:
            self._roll_back(connection)
            with contextlib.suppress(ConvexHTTPError):  # without a transaction the group ends here
                self._execute("BEGIN IMMEDIATE", connection)
            raise
        return result

    def run(self, work: Work[T], connection: Any) -> T:
        """Run another member and return its result. If it raises, its changes are rolled back.

        Without a transaction afterwards, the group is over and its other members have to run again.

        Args:
            work: The write.
            connection: The connection, in the transaction of the group.
        """
        if self._open == len(_SAVEPOINTS):
            self._execute(_RELEASE, connection)
            self._open = 0
        self._execute(_BEGIN[self._open], connection)
        try:
            result = work(connection)
            check_transaction(connection)
        except BaseException:
            if connection.in_transaction:
                self._undo(_SAVEPOINTS[self._open], connection)
            raise
        self._open += 1
        return result

    def _undo(self, savepoint: str, connection: Any) -> None:
        try:
            self._execute(f"ROLLBACK TO {savepoint}", connection)
            self._execute(f"RELEASE {savepoint}", connection)
        except ConvexHTTPError:  # roll back all and retry the others, instead of committing a part of this one
            self._roll_back(connection)


def check_transaction(connection: Any) -> None:
    """Check that SQLite has not rolled back the transaction of a write by itself.

    Raises:
        EngineError: It has.
    """
    if not connection.in_transaction:  # and the work has not let the error out
        raise EngineError("The database has rolled back the whole transaction, for want of space perhaps")
