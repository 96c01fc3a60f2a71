"""The port of a log store: where the last log records and the counters of each minute are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from flask_convex_http.telemetry.records import CounterKey, LogFilter, LogRecord, level_name

#: The columns of a record without its number, in the order of a row.
COLUMNS = ("time", "level", "kind", "logger", "message", "request_id", "function", "data")


class LogStore(Protocol):
    """A bounded store that all processes of a deployment share. To lose it harms nothing."""

    def create(self) -> None:
        """Create the store unless it exists."""

    def append(
        self, rows: Sequence[Sequence[Any]], counters: Mapping[CounterKey, float], *, keep: int, since: int
    ) -> None:
        """Add records and counts, and delete old ones.

        Args:
            rows: The records as rows.
            counters: What to add to the counters of each minute.
            keep: How many of the last records stay.
            since: The first minute whose counters stay.
        """

    def read(self, wanted: LogFilter) -> list[LogRecord]:
        """Return records in the order of their numbers."""

    def newest(self) -> int:
        """Return the number of the last record, 0 without one."""

    def counters(self, since: int, until: int) -> list[tuple[int, str, str, float]]:
        """Return the counters from one minute on until before another: minute, name, label and value."""

    def close(self) -> None:
        """Close what is open."""


def row_of(record: LogRecord, level: int) -> tuple[Any, ...]:
    """Return a record as a row without its number."""
    return (
        record.time,
        level,
        record.kind,
        record.logger,
        record.message,
        record.request_id,
        record.function,
        msgspec.json.encode(record.data).decode(),
    )


def record_of(row: Sequence[Any]) -> LogRecord:
    """Return the record of a row that begins with its number."""
    number, time, level, kind, logger, message, request_id, function, data = row
    return LogRecord(
        number=number,
        time=time,
        level=level_name(level),
        kind=kind,
        logger=logger,
        message=message,
        request_id=request_id,
        function=function,
        data=msgspec.json.decode(data),
    )


def select(table: str, wanted: LogFilter, mark: str, contains: str) -> tuple[str, list[Any]]:
    """Return the SQL that reads records, newest first if `after` is not given, and its values.

    Args:
        table: The table.
        wanted: Which records to read.
        mark: The mark of a value.
        contains: The expression that is true if the message has a text, with one mark.
    """
    conditions: dict[str, Any] = {
        f"number > {mark}": wanted.after,
        f"number < {mark}": wanted.before,
        f"request_id = {mark}": wanted.request_id,
        f"function = {mark}": wanted.function,
        f"kind = {mark}": wanted.kind,
        f"level >= {mark}": wanted.level or None,
        contains: wanted.text or None,
    }
    given = {condition: value for condition, value in conditions.items() if value is not None}
    where = f" WHERE {' AND '.join(given)}" if given else ""
    order = "DESC" if wanted.after is None else "ASC"
    sql = f"SELECT number, {', '.join(COLUMNS)} FROM {table}{where} ORDER BY number {order} LIMIT {mark}"
    return sql, [*given.values(), wanted.limit]


def in_order(rows: Sequence[Sequence[Any]], wanted: LogFilter) -> list[LogRecord]:
    """Return the records of the rows that `select` has found, in the order of their numbers."""
    records = [record_of(row) for row in rows]
    return records[::-1] if wanted.after is None else records
