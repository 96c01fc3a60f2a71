"""Reading of records from the segments of a store."""

from __future__ import annotations

from collections.abc import Iterator

from flask_convex_http.engines.log_store import LogSegment, LogSegmentFilter, LogStore
from flask_convex_http.logs.segments import records_of
from flask_convex_http.telemetry.records import LEVELS, LogFilter, LogRecord

#: Segments that are read at once.
_PAGE = 16


def read(store: LogStore, wanted: LogFilter, keep: int) -> list[LogRecord]:
    """Return records in the order of their numbers.

    Args:
        store: The store.
        wanted: Which records to read.
        keep: How many of the last records exist. Older ones of the same segment do not count.
    """
    oldest, text = store.newest() - keep, (wanted.text or "").lower()
    is_forward = wanted.after is not None
    first = oldest if wanted.after is None else max(wanted.after, oldest)
    found: list[LogRecord] = []
    for segment in _segments(store, wanted, first if is_forward else None):
        if segment.last <= first or len(found) >= wanted.limit:
            break
        records = [record for record in records_of(segment) if record.number > first]
        matching = [record for record in records if _matches(record, wanted, text)]
        found += matching if is_forward else reversed(matching)
    del found[wanted.limit :]
    return found if is_forward else found[::-1]


def _segments(store: LogStore, wanted: LogFilter, after: int | None) -> Iterator[LogSegment]:
    """Yield the segments that may have such records: forward if `after` is given, or else backward."""
    texts = tuple(filter(None, (wanted.request_id, wanted.function)))
    before = wanted.before
    while True:
        page = store.read(LogSegmentFilter(after, before, wanted.level, texts, _PAGE))
        yield from page
        if len(page) < _PAGE:
            return
        if after is None:
            before = page[-1].last - page[-1].size + 1
        else:
            after = page[-1].last


def _matches(record: LogRecord, wanted: LogFilter, text: str) -> bool:
    return (
        (wanted.before is None or record.number < wanted.before)
        and (wanted.request_id is None or record.request_id == wanted.request_id)
        and (wanted.function is None or record.function == wanted.function)
        and (wanted.kind is None or record.kind == wanted.kind)
        and LEVELS[record.level] >= wanted.level
        and text in record.message.lower()
    )
