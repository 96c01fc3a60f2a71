"""Connections to an SQLite file: who may use which, and the driver's errors as ours.

Each connection is used by one thread at a time and by one process only: SQLite forbids a connection to cross
fork(), and what it remembers of a process's locks must not either. So idle connections are closed before a fork().
One in use cannot be: the child then leaves it alone and is refused the file, which it could read wrong.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

# sqlite-utils switches to pysqlite3 where that is installed. Two SQLite libraries on one file in one process drop
# each other's locks, so the engine takes the driver from nowhere else.
from sqlite_utils.utils import sqlite3 as sqlite3  # type: ignore[attr-defined]  # not declared as exported

from flask_convex_http.errors import ConvexHTTPError, EngineError, OverloadedError, UniqueConstraintError
from flask_convex_http.schema import Schema

#: What the driver raises: also for an integer of more than 64 bits, and for half a surrogate pair.
DRIVER_ERRORS = (sqlite3.Error, OverflowError, UnicodeEncodeError)


_pid = os.getpid()


def this_process() -> int:
    """The id of this process, without the system call, which a request would make five times."""
    return _pid


class Process:
    """What belongs to one process: its connections, and which of its threads is writing."""

    def __init__(self, *, forked_in_use: bool = False) -> None:
        self.pid = this_process()
        self.forked_in_use = forked_in_use
        self.idle: deque[Any] = deque()
        self.open: set[Any] = set()
        self.writer = threading.Lock()
        self.thread = threading.local()


class Connections:
    """The connections to one file.

    Args:
        connect: Opens a new one.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._process = Process()
        self._abandoned: list[Any] = []
        _ALL.add(self)

    def here(self) -> Process:
        """What belongs to this process."""
        if self._process.pid != this_process():
            parent = self._process
            self._abandoned.append(parent)
            self._process = Process(forked_in_use=len(parent.open) > len(parent.idle))
        return self._process

    def take(self, process: Process) -> Any:
        """An idle connection, or a new one."""
        try:
            return process.idle.pop()
        except IndexError:
            return self._new(process)

    def _new(self, process: Process) -> Any:
        if process.forked_in_use:
            raise EngineError(
                "This process was forked while its parent was using the database, so it cannot use it safely; "
                "start processes outside of functions, or with multiprocessing's spawn method"
            )
        connection = self._connect()
        process.open.add(connection)
        return connection

    def give(self, process: Process, connection: Any) -> None:
        """Take a connection back."""
        if process.pid != this_process():
            self._abandoned.append(connection)
        elif connection.in_transaction:  # only if a rollback failed: nobody should get such a connection
            _close(process, connection)
        else:
            process.idle.append(connection)

    @contextlib.contextmanager
    def lend(self) -> Iterator[Any]:
        """A connection for a with statement."""
        process = self.here()
        connection = self.take(process)
        try:
            yield connection
        finally:
            self.give(process, connection)

    def close(self) -> None:
        """Close this process's idle connections."""
        process = self.here()
        with contextlib.suppress(IndexError):
            while True:
                _close(process, process.idle.pop())


def _close(process: Process, connection: Any) -> None:
    process.open.discard(connection)
    connection.close()


_ALL: weakref.WeakSet[Connections] = weakref.WeakSet()


def _before_fork() -> None:
    for connections in list(_ALL):
        connections.close()


def _after_fork_in_child() -> None:
    global _pid
    _pid = os.getpid()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)


@contextlib.contextmanager
def translated(schema: Schema) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translate(error, schema) from error


def translate(error: Exception, schema: Schema) -> ConvexHTTPError:
    """Our error for one of the driver's."""
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError) and text.startswith("UNIQUE constraint failed: "):
        return UniqueConstraintError(_collision(text.removeprefix("UNIQUE constraint failed: "), schema))
    if isinstance(error, OverflowError):
        return EngineError("An integer does not fit 64 bits")
    if isinstance(error, sqlite3.OperationalError) and text.startswith("database") and "locked" in text:
        return OverloadedError("The database is busy with other writes; try again in a moment")
    return EngineError(f"SQLite: {text}")


def _collision(names: str, schema: Schema) -> str:
    """ "users.clerk_id" as a sentence."""
    table_name = names.partition(".")[0]
    fields = tuple(part.partition(".")[2] for part in names.split(", "))
    table = schema.tables.get(table_name)
    indexes = table.indexes.values() if table else ()
    found = [index.name for index in indexes if index.unique and index.fields == fields]
    in_index = f" (unique index {found[0]})" if found else ""
    return f"{table_name}: another document has the same {', '.join(fields)}{in_index}"
