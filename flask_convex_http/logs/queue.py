"""The queue of records and counts, and the thread that writes them to the store.

`put` appends to a deque and returns. The thread starts with the first item, writes what has come a few times each
second, and ends when nothing has come for some time. When items come faster than they are written, further ones are
dropped and counted. A failure of the store is logged once; the items are lost.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from flask_convex_http.engines.log_store import LogStore
from flask_convex_http.log import logger_of
from flask_convex_http.logs.records import is_kept, record_of, request_level
from flask_convex_http.logs.segments import segment_of
from flask_convex_http.logs.tallies import Tally, add, add_requests, counts_of, minute_of
from flask_convex_http.telemetry import Event, RequestGroup
from flask_convex_http.telemetry.records import CounterKey, LogRecord

logger = logger_of()

#: The most items that wait, and the most that are written in one transaction.
_LONGEST, _BATCH = 50_000, 2_000
#: Seconds between two writes, and seconds without an item after which the thread ends.
_PAUSE, _LINGER = 0.25, 60.0
#: Seconds that a fork() or the end of the process waits for the thread.
_JOIN = 5.0

Item = LogRecord | Tally | Event


class LogQueue:
    """Makes records and counts of events, and writes them to a store, in the background.

    Args:
        store: The store.
        keep: How many of the last records stay.
        since: Returns the first minute whose counters stay.
        collect: Passes the requests that wait in groups to `take`.
        on_write: Called after each write.
    """

    def __init__(
        self,
        store: LogStore,
        keep: int,
        since: Callable[[], int],
        collect: Callable[[], None],
        on_write: Callable[[], None],
    ) -> None:
        self._store = store
        self._keep = keep
        self._since = since
        self._collect = collect
        self._on_write = on_write
        self._items: deque[Item] = deque()
        self._requests: deque[RequestGroup] = deque()
        self._dropped = 0
        self._has_items = threading.Event()
        self._is_ending = threading.Event()
        self._starting = threading.Lock()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._has_warned = False
        _ALL.add(self)

    def put(self, item: Item) -> None:
        """Add an event without an exception, a record or counts. Never wait."""
        if len(self._items) >= _LONGEST:
            self._dropped += 1
            return
        self._items.append(item)
        self.wake()

    def take(self, groups: Sequence[RequestGroup]) -> None:
        """Add requests without an exception. Never wait."""
        waiting = sum(len(group.timings) for group in self._requests)
        for group in groups:
            if waiting >= _LONGEST:
                self._dropped += len(group.timings)
            else:
                self._requests.append(group)
        self.wake()

    def wake(self) -> None:
        """Let the thread write what has come."""
        if not self._has_items.is_set():
            self._has_items.set()
            if self._thread is None:
                self._start()

    def flush(self) -> None:
        """Write all requests and items that are there now."""
        with self._writing:
            self._collect()
            requests = [self._requests.popleft() for _ in range(len(self._requests))]
            left = len(self._items)
            batches = _batches(requests)
            while (batch := next(batches, [])) or left > 0:
                count = min(left, _BATCH)
                left -= count
                self._write(batch, [self._items.popleft() for _ in range(count)])

    def close(self) -> None:
        """Write all items, and stop the thread."""
        self._stop()
        self.flush()

    # --- writing -----------------------------------------------------------------------------------------------------

    def _write(self, requests: list[RequestGroup], items: list[Item]) -> None:
        counters: Counter[CounterKey] = Counter()
        for group in requests:
            add_requests(counters, group)
        records = []
        for item in items:
            if isinstance(item, Tally):
                add(counters, item)
                continue
            record = item if isinstance(item, LogRecord) else _record(item, counters)
            if record is not None:
                records.append(record)
        if self._dropped and counters:
            dropped, self._dropped = self._dropped, 0
            counters[next(iter(counters))[0], "dropped", ""] = dropped
        try:
            kept = [group for group in requests if is_kept(request_level(group))]
            segment = segment_of(_process(), kept, records)
            self._store.append(segment, counters, keep=self._keep, since=self._since())
        except Exception as error:
            if not self._has_warned:
                self._has_warned = True
                logger.warning("Log records cannot be stored, and are lost: %s", getattr(error, "detail", "") or error)
        else:
            self._has_warned = False
        self._on_write()

    # --- the thread --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None or self._is_ending.is_set():
                return
            _write_at_exit()
            thread = threading.Thread(target=self._run, name="convex-logs", daemon=True)
            with contextlib.suppress(RuntimeError):  # the system has no more threads: the next item tries again
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while True:
            if not self._has_items.wait(_LINGER) and self._ends():
                return
            is_ending = self._is_ending.wait(_PAUSE)
            self._has_items.clear()
            self.flush()
            if is_ending:
                return

    def _ends(self) -> bool:
        """End the thread, unless an item has come that relies on it."""
        with self._starting:
            self._thread = None
            if self._has_items.is_set():
                self._thread = threading.current_thread()
            return self._thread is None

    def _stop(self) -> None:
        """End the thread, which writes what is there."""
        self._is_ending.set()
        self._has_items.set()
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN)
        self._has_items.clear()
        self._is_ending.clear()

    # --- forks and the end -------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Stop the thread, since Python warns about a fork() of a process with threads."""
        if self._thread is not None:
            self._stop()

    def start_in_child(self) -> None:
        """Start without items and without a thread in a child of fork()."""
        self._items.clear()
        self._requests.clear()
        self._starting, self._writing = threading.Lock(), threading.Lock()
        self._thread = None
        self._has_items.clear()


def _parts(group: RequestGroup) -> Iterator[RequestGroup]:
    """Yield the requests of a group in groups of at most one batch."""
    for start in range(0, len(group.timings), _BATCH):
        yield group._replace(timings=group.timings[start : start + _BATCH])


def _batches(groups: list[RequestGroup]) -> Iterator[list[RequestGroup]]:
    """Yield requests in batches of a bounded number."""
    batch: list[RequestGroup] = []
    size = 0
    for part in chain.from_iterable(map(_parts, groups)):
        if size + len(part.timings) > _BATCH:
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += len(part.timings)
    if batch:
        yield batch


def _record(event: Event, counters: Counter[CounterKey]) -> LogRecord | None:
    """Count an event, and return its record if it is kept."""
    add(counters, Tally(minute_of(event), counts_of(event)))
    record = record_of(event)
    return record if record is not None and is_kept(record.level) else None


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


_is_registered = False
_ALL: weakref.WeakSet[LogQueue] = weakref.WeakSet()


def _before_fork() -> None:
    for queue in list(_ALL):
        queue.before_fork()


def _after_fork_in_child() -> None:
    for queue in list(_ALL):
        queue.start_in_child()


def _write_at_exit() -> None:
    """Write what is left when the process ends: registered late, so that it runs before the connections are closed."""
    global _is_registered
    if not _is_registered:
        _is_registered = True
        atexit.register(_write_last)


def _write_last() -> None:
    for queue in list(_ALL):
        queue.close()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
