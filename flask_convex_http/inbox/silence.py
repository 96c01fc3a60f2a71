"""Webhooks that have received nothing for longer than expected: a sender that gave up, or a URL that was removed.

A sender such as GitHub tells nobody when its deliveries fail, so the only sign is that none arrive. The deliveries have
no index of their sources' times. They are read newest first, and not again by the next health check.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flask_convex_http.engines import Row, Snapshot
from flask_convex_http.inbox.inbox import Inbox
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.inbox.search import count_deliveries
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN
from flask_convex_http.schema.index_ranges import Range, gte, lte, segments

#: Older rows that one health check reads at most. The next one continues.
MOST_ROWS = 20_000
#: Milliseconds by which a row may be committed later than its creation time says.
_OVERLAP = 60_000.0
#: Milliseconds after the last health check from which all rows are read again, a part at a time.
_LONGEST_PAUSE = 600_000.0
_HOUR = 3_600_000.0


@dataclass(frozen=True, slots=True)
class Silence:
    """A webhook that has received nothing for longer than expected.

    Attributes:
        webhook: The webhook.
        age: Milliseconds since its last delivery, or None if it has none in the expected time.
    """

    webhook: Webhook
    age: float | None


class SilenceWatch:
    """Finds silent webhooks, for repeated health checks. Thread-safe.

    Args:
        inbox: The inbox.
        clock: Returns the current time in milliseconds since the epoch.
        started: When the application was first expected to receive deliveries, by default now.
    """

    def __init__(self, inbox: Inbox, clock: Callable[[], float], *, started: float | None = None) -> None:
        self._inbox = inbox
        self._clock = clock
        self._lock = threading.Lock()
        self._started = clock() if started is None else started
        self._newest: dict[str, float] = {}
        self._head: float | None = None
        self._tail: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether any webhook has `expect_every`."""
        return any(webhook.expect_every is not None for webhook in self._inbox.webhooks)

    @property
    def is_complete(self) -> bool:
        """Whether all deliveries that matter have been read."""
        return self._head is not None and self._tail is None

    def silent(self) -> list[Silence]:
        """Return the silent webhooks. One without any delivery counts from the start.

        While older deliveries have not been read, a webhook without a delivery among the newer ones is not silent.
        """
        expected = [(webhook, webhook.expect_every) for webhook in self._inbox.webhooks if webhook.expect_every]
        if not expected:
            return []
        now = self._clock()
        with self._lock:
            self._read(now, now - max(limit for _, limit in expected))
            newest, started = dict(self._newest), self._started if self.is_complete else now
        last = [(webhook, limit, _newest_of(webhook, newest)) for webhook, limit in expected]
        return [
            Silence(webhook, None if time is None else now - time)
            for webhook, limit, time in last
            if now - (started if time is None else time) > limit
        ]

    def _read(self, now: float, oldest: float) -> None:
        """Read the rows since the last time, and then older ones that were not read yet."""
        with self._inbox.runtime.engine.snapshot() as snapshot:
            if self._head is None or now - self._head > _LONGEST_PAUSE:
                self._tail = now + _OVERLAP
            else:
                self._scan(snapshot, gte(self._head - _OVERLAP), None)
            self._head = now
            if self._tail is not None:
                self._tail = self._scan(snapshot, gte(oldest) & lte(self._tail), MOST_ROWS)

    def _scan(self, snapshot: Snapshot, times: Range, limit: int | None) -> float | None:
        """Note the newest row of each source, and return the time of the last row if there may be more."""
        table = self._inbox.deliveries.table
        columns = (ID_COLUMN, TIME_COLUMN, *table.columns)
        source, time = columns.index("source"), columns.index(TIME_COLUMN)
        [segment] = segments(table.indexes["by_creation_time"].columns, (), times, nullable=table.nullable)
        rows: list[Row] = list(snapshot.select(table, segment, descending=True, limit=limit))
        for row in rows:
            self._newest[row[source]] = max(self._newest.get(row[source], 0.0), row[time])
        return rows[-1][time] if len(rows) == limit else None


def _newest_of(webhook: Webhook, newest: Mapping[str, float]) -> float | None:
    """Return the time of the newest delivery of a webhook, or of any of its tenants."""
    own = (time for source, time in newest.items() if source == webhook.source or webhook.tenant_in(source))
    return max(own, default=None)


def describe_silence(inbox: Inbox, now: float) -> tuple[list[str], list[str]]:
    """Return the problems and the notes about silent webhooks, one sentence for each.

    A webhook that has never received a delivery is a note: its sender may not be set up yet.

    Args:
        inbox: The inbox.
        now: The current time in milliseconds since the epoch.
    """
    watch = SilenceWatch(inbox, lambda: now, started=float("-inf"))
    problems: list[str] = []
    notes: list[str] = []
    found = watch.silent()
    while watch.is_on and not watch.is_complete:
        found = watch.silent()
    for webhook in (silence.webhook for silence in found):
        expected = _hours(webhook.expect_every or 0)
        with inbox.runtime.engine.snapshot() as snapshot:
            has_any = count_deliveries(inbox.deliveries, snapshot, webhook.source, 1)
        if not has_any:
            notes.append(f"{webhook.source} has never received a delivery, and expects one every {expected}")
            continue
        problems.append(
            f"{webhook.source} has received no delivery for more than {expected}: see at {webhook.provider.name} "
            f"whether its deliveries to {webhook.path} fail, or whether the webhook was removed"
        )
    return problems, notes


def _hours(milliseconds: float) -> str:
    hours = milliseconds / _HOUR
    return f"{hours:g} {'hour' if hours == 1 else 'hours'}"
