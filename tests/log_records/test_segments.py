"""Records are stored in segments of several records, which no reader notices."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http.engines.log_store import LogStore
from flask_convex_http.logs.queue import LogQueue
from flask_convex_http.logs.reading import read
from flask_convex_http.telemetry import RequestGroup
from flask_convex_http.telemetry.records import LEVELS, LogFilter, LogRecord
from tests.log_records.apps import shop
from tests.web.apps import backend_of

pytestmark = pytest.mark.usefixtures("each_engine")

_KEEP = 1000
_SIZES = (1, 7, 2, 40, 1, 1, 30, 5, *[1] * 20, 12)


@contextmanager
def _store(folder: Path) -> Iterator[LogStore]:
    with shop(folder) as app:
        logs = backend_of(app).logs
        logs.flush()  # a write of the app deletes counters as old as those of these tests
        store = logs._store
        assert store is not None
        yield store


def _queue(store: LogStore, keep: int = _KEEP) -> LogQueue:
    queue = LogQueue(store, keep, lambda: 0, lambda: None, lambda: None)
    queue._is_ending.set()  # starts no thread, which would divide the groups of a test
    return queue


def _line(number: int) -> LogRecord:
    return LogRecord(
        time=1_000_000.0 + number,
        level="ERROR" if number % 10 == 0 else "INFO",
        kind="line",
        logger="shop",
        message=f"Line {number % 4} of ÄPFEL",
        request_id=f"request-{number % 7}",
        function=("shop:place", None)[number % 2],
        data={"number": number},
    )


def _requests(first: int, size: int, status: int = 200) -> RequestGroup:
    timings = [(1000.0 + number / 1000, 0.0001, f"request-{number % 7}") for number in range(first, first + size)]
    return RequestGroup("GET", "/health", status, is_of_operators=False, timings=list(timings))


def _fill(store: LogStore) -> list[LogRecord]:
    """Store segments of lines and requests that alternate, and return all records as they are read."""
    queue, first = _queue(store), 0
    for size in _SIZES:
        queue.take([_requests(first, size, 200 if size < 20 else 503)])
        for number in range(first, first + size, 2):
            queue.put(_line(number))
        first += size
        queue.flush()
    queue.close()
    return read(store, LogFilter(limit=_KEEP), _KEEP)


def _is_wanted(record: LogRecord, wanted: LogFilter) -> bool:
    return (
        (wanted.after is None or record.number > wanted.after)
        and (wanted.before is None or record.number < wanted.before)
        and wanted.request_id in (None, record.request_id)
        and wanted.function in (None, record.function)
        and wanted.kind in (None, record.kind)
        and LEVELS[record.level] >= wanted.level
        and (wanted.text or "").lower() in record.message.lower()
    )


def test_filters_find_what_reading_everything_finds(tmp_path: Path) -> None:
    """A reader with any filter gets the matching records of all segments in their order, up to its limit."""
    with _store(tmp_path) as store:
        everything = _fill(store)
        assert len(everything) == sum(_SIZES) + sum((size + 1) // 2 for size in _SIZES)
        choices: dict[str, tuple[Any, ...]] = {
            "after": (None, 0, 5, 60, 140, 10_000),
            "before": (None, 0, 6, 90),
            "request_id": (None, "request-3", "request-"),
            "function": (None, "shop:place"),
            "kind": (None, "request", "line"),
            "level": (0, 40),
            "text": (None, "äpfel", "Line 2", "503"),
            "limit": (0, 3, 1000),
        }
        for after, before, limit in itertools.product(choices["after"], choices["before"], choices["limit"]):
            _check(store, everything, LogFilter(after=after, before=before, limit=limit))
        for name in ("request_id", "function", "kind", "level", "text"):
            for value, after, limit in itertools.product(choices[name], (None, 60), (3, 1000)):
                _check(store, everything, LogFilter(**{name: value, "after": after, "limit": limit}))


def _check(store: LogStore, everything: list[LogRecord], wanted: LogFilter) -> None:
    matching = [record for record in everything if _is_wanted(record, wanted)]
    last = len(matching) - wanted.limit
    expected = matching[: wanted.limit] if wanted.after is not None else matching[max(last, 0) :]
    assert read(store, wanted, _KEEP) == expected, wanted


def test_records_of_a_segment_are_in_the_order_of_their_times(tmp_path: Path) -> None:
    """Requests and lines of one segment have numbers that follow each other, in the order of their times."""
    with _store(tmp_path) as store:
        everything = _fill(store)
        assert [record.number for record in everything] == list(range(1, len(everything) + 1))
        assert [record.time for record in everything] == sorted(record.time for record in everything)


def test_many_requests_at_once_are_several_segments(tmp_path: Path) -> None:
    """More requests than a segment has are stored in several ones, and none is lost."""
    with _store(tmp_path) as store:
        queue = _queue(store, 10_000)
        queue.take([_requests(0, 3), _requests(3, 4500, 404), _requests(4503, 2)])
        queue.flush()
        queue.close()
        found = read(store, LogFilter(limit=10_000), 10_000)
        assert len(found) == 4505
        assert {(record.data["status"], record.message.split()[1]) for record in found} == {
            (200, "/health"),
            (404, "/health"),
        }
        by_minute = store.counters(0, 100)
        assert sum(value for _, name, _, value in by_minute if name == "requests") == 4505


def test_a_queue_that_is_full_counts_what_it_drops(tmp_path: Path) -> None:
    """When more requests wait than the queue takes, further ones are dropped and counted as such."""
    with _store(tmp_path) as store:
        queue = _queue(store)
        for _ in range(7):
            queue.take([_requests(0, 10_000)])
        queue.close()
        counters = {name: value for _, name, label, value in store.counters(0, 100) if name == "dropped"}
        assert counters == {"dropped": 20_000}
        assert store.newest() == 50_000
        assert len(read(store, LogFilter(limit=100_000), _KEEP)) == _KEEP
