"""From which commit on the log is complete, for each table.

The log of a table has gaps if it was switched off for some time, or if old commits were purged. A reader must not take
a gap for a time without changes. So the database remembers, as a setting, the last purged commit and the commit from
which on each table is logged. A process compares that with its own configuration at its first write.

Where logging begins again, an empty commit marks the place, so that no cursor of a reader is between the two sides.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from flask_convex_http.engines import Engine, Snapshot, Transaction
from flask_convex_http.errors import OverloadedError
from flask_convex_http.history.log import Cause
from flask_convex_http.history.rows import COMMITS, between_ids
from flask_convex_http.ids import new_id
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.index_ranges import segments
from flask_convex_http.schema.system_tables import Setting

_KEY = "history"


class Start(msgspec.Struct, frozen=True):
    """Where the log of a table starts.

    Attributes:
        number: The commit after which every change is logged.
        time: The time from which on every change is logged, in milliseconds since the epoch.
    """

    number: int
    time: float


class Coverage(msgspec.Struct, frozen=True):
    """The complete part of the log.

    Attributes:
        starts: Where the log of each table starts, by the name of the table. A table without a start is not logged.
        purged: The number of the last purged commit, 0 for none.
        purged_time: The time of that commit.
        indexed: The number of the last commit that is in the index of commits by key.
        gap: The commit at which logging began again after changes that were not logged, 0 for none.
    """

    starts: dict[str, Start] = {}
    purged: int = 0
    purged_time: float = 0.0
    gap: int = 0
    indexed: int = 0

    @property
    def first(self) -> int:
        """The first commit after which the changes of all tables can be read."""
        return max(self.purged, self.gap)


def read_coverage(snapshot: Snapshot, schema: Schema) -> Coverage | None:
    """Return the stored coverage, or None before the first write."""
    row = _stored(snapshot, schema)
    if row is None:
        return None
    try:
        return msgspec.json.decode(schema.table_for(Setting).read(row).value, type=Coverage)
    except msgspec.MsgspecError:  # edited by hand
        return None


def write_coverage(transaction: Transaction, schema: Schema, coverage: Coverage, now: float) -> None:
    """Store the coverage."""
    table, row = schema.table_for(Setting), _stored(transaction, schema)
    value = msgspec.json.encode(coverage).decode()
    if row is None:
        transaction.insert(table, [new_id(table.name, now), now, *table.row(Setting(key=_KEY, value=value))])
    else:
        transaction.update(table, row[0], {"value": value})


def start_of(starts: Mapping[str, Start], table: Table[Any]) -> Start | None:
    """Return where the log of a table starts, which may be stored under an old name; None if it is not logged."""
    return next((starts[name] for name in table.id_prefixes if name in starts), None)


def newest_commit(snapshot: Snapshot, schema: Schema) -> int:
    """Return the number of the newest commit in a snapshot, 0 for none."""
    rows = snapshot.select(schema.tables[COMMITS], between_ids(None, None), descending=True, limit=1)
    return int(rows[0][2]) if rows else 0


class CommitLogs:
    """Makes the log of each transaction of a process.

    Args:
        schema: The tables.
        is_on: Whether the deployment keeps a log.
        timeout: Seconds for which a write waits at most.

    Attributes:
        is_on: Whether the deployment keeps a log.
        is_ready: Whether `prepare` has run.
    """

    __slots__ = ("_schema", "_timeout", "_turn", "is_on", "is_ready")

    def __init__(self, schema: Schema, *, is_on: bool, timeout: float) -> None:
        self._schema = schema
        self._timeout = timeout
        self._turn = (os.getpid(), threading.Lock())
        self.is_on = is_on
        self.is_ready = False

    def prepare(self, engine: Engine, now: float, timeout: float | None = None) -> None:
        """Bring the stored coverage up to date, in a transaction of its own before the first write of the process.

        Of several threads that call it at once, one does it, and the others wait.

        Args:
            engine: The database.
            now: The time, in milliseconds since the epoch.
            timeout: Seconds for which it waits, if shorter than the timeout of each write.

        Raises:
            OverloadedError: It waited too long.
        """
        turn = self._lock()
        if not turn.acquire(timeout=self._timeout if timeout is None else min(timeout, self._timeout)):
            raise OverloadedError("The database is busy with other writes; try again in a moment")
        try:
            if not self.is_ready:
                self._prepare(engine, now, timeout)
                self.is_ready = True
        finally:
            turn.release()

    def _lock(self) -> threading.Lock:
        """Return the lock of this process: a child of fork() may inherit one that nobody releases."""
        if self._turn[0] != os.getpid():
            self._turn = (os.getpid(), threading.Lock())
        return self._turn[1]

    def _prepare(self, engine: Engine, now: float, timeout: float | None) -> None:
        settled = engine.settled_commit() if self.is_on else None
        with engine.snapshot() as snapshot:
            is_numbered = settled is None or newest_commit(snapshot, self._schema) <= settled
            is_current = self._outdated(snapshot) is None
        if not is_current or not is_numbered:
            engine.write(lambda transaction: self._update(transaction, now), timeout=timeout)

    def _outdated(self, snapshot: Snapshot) -> tuple[Coverage, dict[str, Start], list[Table[Any]]] | None:
        """Return the stored coverage, the starts that stay, and the tables that get one; None if nothing changes."""
        stored = read_coverage(snapshot, self._schema) or Coverage()
        tables = [table for table in self._schema.tables.values() if not table.system]
        logged = [table for table in tables if self.is_on and table.has_history]
        known = {table.name: start for table in logged if (start := start_of(stored.starts, table)) is not None}
        names = {name for table in tables for name in table.id_prefixes}
        starts = known | {name: start for name, start in stored.starts.items() if name not in names}
        new = [table for table in logged if table.name not in known]
        return None if not new and starts == stored.starts else (stored, starts, new)

    def _update(self, transaction: Transaction, now: float) -> None:
        transaction.resume_commit_numbers()  # after a move from another database
        outdated = self._outdated(transaction)
        if outdated is None:
            return
        stored, starts, new = outdated
        gap = stored.gap
        if new:
            number, gap = self._mark(transaction, now, new, gap)
            starts |= {table.name: Start(number, now if number else 0.0) for table in new}
        write_coverage(transaction, self._schema, msgspec.structs.replace(stored, starts=starts, gap=gap), now)

    def _mark(self, transaction: Transaction, now: float, tables: list[Table[Any]], gap: int) -> tuple[int, int]:
        """Return the commit at which the log of tables starts, and the last gap of the whole log.

        The log of a database without documents starts at 0. Otherwise an empty commit marks the place.
        """
        has_rows = any(_has_rows(transaction, table) for table in tables)
        if not has_rows and newest_commit(transaction, self._schema) == 0:
            return 0, gap
        transaction.append_commit(now, Cause().values())
        number = newest_commit(transaction, self._schema)
        return number, number if has_rows else gap


def _has_rows(snapshot: Snapshot, table: Table[Any]) -> bool:
    return bool(snapshot.select(table, between_ids(None, None), descending=False, limit=1))


def _stored(snapshot: Snapshot, schema: Schema) -> Any:
    table = schema.table_for(Setting)
    [segment] = segments(table.indexes["by_key"].columns, (_KEY,), None, nullable=table.nullable)
    rows = snapshot.select(table, segment, descending=False, limit=1)
    return rows[0] if rows else None
