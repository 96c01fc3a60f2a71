"""`Logs`: collects the records and counts of a deployment, and reads them."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from flask_convex_http.engines.log_store import LogStore
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.log import logger_of
from flask_convex_http.logs.emit import emit, prepare
from flask_convex_http.logs.lines import collect
from flask_convex_http.logs.queue import LogQueue
from flask_convex_http.logs.reading import read
from flask_convex_http.logs.records import is_kept, record_of
from flask_convex_http.logs.statistics import Minute, minutes
from flask_convex_http.logs.tallies import Tally, counts_of, minute_of
from flask_convex_http.telemetry import Event, Telemetry
from flask_convex_http.telemetry.records import LEVELS, LogFilter, LogRecord, RecordKind

logger = logger_of("database")

#: Minutes whose counters are kept: two days.
_MINUTES = 2 * 24 * 60
#: Seconds between two looks for records of other processes.
_POLL = 0.25


class Logs:
    """The last log records of a deployment, and its statistics by the minute.

    Without a store nothing is kept, and every read returns nothing.

    Args:
        store: Where they are kept, or None.
        keep: How many of the last records stay.
        telemetry: Publishes what happens.
        style: The setting `log`: "json" and "records" pass the records of events to `logging` too.

    Attributes:
        is_on: Whether records are kept.
    """

    def __init__(self, store: LogStore | None, keep: int, telemetry: Telemetry, style: str = "text") -> None:
        self.is_on = store is not None
        self._store = store
        self._keep = keep
        self._written = threading.Condition()
        self._queue: LogQueue | None = None
        self._emit = None if style == "text" else emit
        if self._emit is not None:
            prepare(style)
        if store is not None:
            self._queue = LogQueue(store, keep, lambda: _minute() - _MINUTES, telemetry.collect, self._notify)
            self._end_lines = collect(telemetry, self._queue.put)
        if self._emit is not None or store is not None:
            telemetry.subscribe(self._on_event, groups=self._queue if self._emit is None else None)

    def read(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int = 100,
        request_id: str | None = None,
        function: str | None = None,
        kind: RecordKind | None = None,
        level: str = "DEBUG",
        text: str | None = None,
    ) -> list[LogRecord]:
        """Return records in the order in which they were stored.

        Args:
            after: Only records with a larger number; continue with the number of the last record that was read. A
                number larger than any, as after the store was lost, is the beginning.
            before: Only records with a smaller number, to page backwards.
            limit: The largest number of records: the first ones after `after`, the last ones without it.
            request_id: Only those of this request.
            function: Only those of this function.
            kind: Only those of this kind.
            level: Only those of this level or a higher one.
            text: Only those whose message has this text, whatever its case.
        """
        if self._store is None:
            return []
        self.flush()
        if after is not None and after > self._store.newest():
            after = 0
        wanted = LogFilter(
            after=after,
            before=before,
            limit=limit,
            request_id=request_id,
            function=function,
            kind=kind,
            level=LEVELS[level],
            text=text,
        )
        return read(self._store, wanted, self._keep)

    def newest(self) -> int:
        """Return the number of the last record, from which on `read` continues; 0 without records."""
        if self._store is None:
            return 0
        self.flush()
        return self._store.newest()

    def wait(self, after: int, timeout: float) -> bool:
        """Wait for a record of any process with a number that is not `after`, and return whether there is one.

        Args:
            after: The number of the last record that was read.
            timeout: Seconds to wait.
        """
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            if self.newest() != after:
                return True
            with self._written:
                self._written.wait(min(left, _POLL))
        return self.newest() != after

    def statistics(
        self, *, since: float, until: float | None = None, step: timedelta = timedelta(minutes=1)
    ) -> list[Minute]:
        """Return what happened between two times, of all processes, in steps without a gap.

        The counters of two days are kept.

        Args:
            since: The first time, in milliseconds since the epoch.
            until: The last time; None for now.
            step: The length of a step: whole minutes.
        """
        if self._store is None:
            return []
        self.flush()
        first = max(int(since // 60_000), _minute() - _MINUTES)
        last = min(_minute() if until is None else int(until // 60_000), _minute()) + 1
        length = max(int(step.total_seconds() // 60), 1)
        return minutes(self._store.counters(first, last), first, last, length)

    def create(self) -> None:
        """Create the store, with the rights of the user who migrates the database."""
        if self._store is None:
            return
        try:
            self._store.create()
        except ConvexHTTPError as error:  # the database itself is fine
            logger.warning("The log store cannot be created: %s", error)

    def flush(self) -> None:
        """Write the collected records of this process."""
        if self._queue is not None:
            self._queue.flush()

    def close(self) -> None:
        """Write the collected records of this process, and close the store."""
        if self._queue is not None and self._store is not None:
            self._end_lines()  # lines of other deployments of the process must not open the store again
            self._queue.close()
            self._store.close()

    def _on_event(self, event: Event) -> None:
        queue, emit = self._queue, self._emit
        if queue is not None and emit is None and getattr(event, "error", None) is None:
            queue.put(event)  # the thread of the queue makes the record
            return
        record = record_of(event)  # at once: an exception keeps the frames that it was raised in
        if emit is not None and record is not None:
            emit(record)
        if queue is not None:
            queue.put(Tally(minute_of(event), counts_of(event)))
            if record is not None and is_kept(record.level):
                queue.put(record)

    def _notify(self) -> None:
        with self._written:
            self._written.notify_all()


def _minute() -> int:
    return int(time.time() // 60)
