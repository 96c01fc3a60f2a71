"""Segments of the log store: records in MessagePack.

Requests without an exception stay in the groups in which `telemetry` has collected them, which one call of C encodes.
Their records are made when somebody reads them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from flask_convex_http.engines.log_store import LogSegment
from flask_convex_http.logs.records import record_of_request, request_level
from flask_convex_http.telemetry import RequestGroup
from flask_convex_http.telemetry.records import LEVELS, LogRecord, level_name

#: A record as it is stored: time, level as a number, kind, logger, message, request id, function and data.
_Row = tuple[float, int, str, str, str, str | None, str | None, dict[str, Any]]


class _Content(msgspec.Struct, array_like=True):
    """The content of a segment.

    Attributes:
        process: The host and the process that it comes from.
        requests: Requests without an exception.
        rows: The other records, in the order in which they came.
    """

    process: str
    requests: Sequence[RequestGroup]
    rows: Sequence[_Row]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Content)
_time = attrgetter("time")


def segment_of(process: str, requests: Sequence[RequestGroup], records: Sequence[LogRecord]) -> LogSegment | None:
    """Return a segment, or None without records.

    Args:
        process: The host and the process that the records come from.
        requests: Requests without an exception.
        records: The other records.
    """
    size = len(records) + sum(len(group.timings) for group in requests)
    if size == 0:
        return None
    rows = [_row_of(record) for record in records]
    levels = [row[1] for row in rows] + [LEVELS[request_level(group)] for group in requests]
    return LogSegment(0, size, max(levels), _encoder.encode(_Content(process, requests, rows)))


def records_of(segment: LogSegment) -> list[LogRecord]:
    """Return the records of a segment in the order of their times and numbers."""
    content = _decoder.decode(segment.content)
    requests = sorted(_requests_of(content.requests), key=_time)
    others = [_record_of(row) for row in content.rows]
    records = list(heapq.merge(others, requests, key=_time)) if others else requests
    for number, record in enumerate(records, segment.last - len(records) + 1):
        record.number = number
        record.data["process"] = content.process
    return records


def _requests_of(groups: Sequence[RequestGroup]) -> Iterator[LogRecord]:
    for group in groups:
        for timing in group.timings:
            yield record_of_request(group, timing)


def _row_of(record: LogRecord) -> _Row:
    return (
        record.time,
        LEVELS[record.level],
        record.kind,
        record.logger,
        record.message,
        record.request_id,
        record.function,
        record.data,
    )


def _record_of(row: _Row) -> LogRecord:
    time, level, kind, logger, message, request_id, function, data = row
    return LogRecord(
        time=time,
        level=level_name(level),
        kind=kind,  # type: ignore[arg-type]  # as it was encoded
        logger=logger,
        message=message,
        request_id=request_id,
        function=function,
        data=data,
    )
