"""Which of the deliveries in the inbox are meant: by source, state, type and time, or by an id that somebody has.

Only rows of `_webhooks` are read here, as a stream: never the headers and bodies, which are in a table of their own.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from flask_convex_http.database.query import Query
from flask_convex_http.engines.base import Row, Snapshot
from flask_convex_http.ids import Id
from flask_convex_http.inbox.deliveries import STATES, Deliveries, State, stored_id
from flask_convex_http.inbox.registry import Webhooks
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, Table
from flask_convex_http.schema.index_ranges import Range, gt, gte, lte, segments
from flask_convex_http.schema.system_tables import WebhookDelivery

_ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """What is asked of a delivery; each part must be so.

    Attributes:
        sources: It is of one of these; of any if None.
        states: It is in one of these.
        type: Its type, or the beginning of it and `*`; any if None.
        since: It was recorded at this time or later, in milliseconds since the epoch.
        until: It was recorded at this time or before.
    """

    sources: frozenset[str] | None = None
    states: tuple[State, ...] = STATES
    type: str | None = None
    since: float | None = None
    until: float | None = None

    def matches(self, delivery: WebhookDelivery) -> bool:
        """Whether a delivery is meant."""
        if self.sources is not None and delivery.source not in self.sources:
            return False
        return delivery.state in self.states and self._is_in_time(delivery) and self._has_type(delivery.type)

    def newest(self, deliveries: Deliveries, snapshot: Snapshot, limit: int) -> list[WebhookDelivery]:
        """Those that are meant, newest first; no more than `limit` are held in memory."""
        if "done" in self.states:
            return self._by_time(deliveries, snapshot).order("desc").filter(self.matches).take(limit)
        found = filter(self.matches, self._by_state(deliveries, snapshot))
        return heapq.nlargest(limit, found, key=_time_of)

    def ids(self, deliveries: Deliveries, snapshot: Snapshot, limit: int | None = None) -> list[Id[WebhookDelivery]]:
        """The ids of those that are meant, oldest first: the order in which they came."""
        if "done" in self.states:
            found: Iterable[WebhookDelivery] = self._by_time(deliveries, snapshot).filter(self.matches)
            return [delivery.id for delivery in islice(found, limit)]
        found = filter(self.matches, self._by_state(deliveries, snapshot))
        times = sorted((delivery.creation_time, delivery.id) for delivery in found)
        return [delivery_id for _, delivery_id in times[:limit]]

    def _by_time(self, deliveries: Deliveries, snapshot: Snapshot) -> Query[WebhookDelivery]:
        table = deliveries.table
        start = Query(snapshot, table, table.indexes["by_creation_time"])
        bounds = Range()
        if self.since is not None:
            bounds &= gte(self.since)
        if self.until is not None:
            bounds &= lte(self.until)
        return start.with_index("by_creation_time", creation_time=bounds)

    def _by_state(self, deliveries: Deliveries, snapshot: Snapshot) -> Iterator[WebhookDelivery]:
        """Most deliveries are done: the others are few, and have an index."""
        return chain.from_iterable(deliveries.of_state(snapshot, state) for state in self.states)

    def _is_in_time(self, delivery: WebhookDelivery) -> bool:
        time = delivery.creation_time
        return (self.since is None or time >= self.since) and (self.until is None or time <= self.until)

    def _has_type(self, type: str) -> bool:
        if self.type is None:
            return True
        if self.type.endswith(_ANY):
            return type.startswith(self.type.removesuffix(_ANY))
        return type == self.type


def stored_sources(deliveries: Deliveries, snapshot: Snapshot) -> list[str]:
    """All sources that deliveries have, also those that no webhook of the application has any more, in order.

    Only the first row of each is read: a source has many, and an application few sources.
    """
    table, found = deliveries.table, list[str]()
    place = (ID_COLUMN, TIME_COLUMN, *table.columns).index("source")
    while rows := _first_rows(snapshot, table, gt(found[-1]) if found else None):
        found.append(rows[0][place])
    return found


def count_of(deliveries: Deliveries, snapshot: Snapshot, source: str, limit: int) -> int:
    """How many deliveries a source has; no more than `limit` are counted."""
    table = deliveries.table
    [segment] = segments(table.indexes["by_event"].columns, (source,), None, nullable=table.nullable)
    return sum(1 for _ in islice(snapshot.stream(table, segment, descending=False), limit))


def sources_of(stored: Iterable[str], webhooks: Webhooks, name: str) -> frozenset[str]:
    """The sources that a name means: the one that deliveries have, or else of the webhooks whose source, path or
    provider it is; none if nobody has that name.

    Args:
        stored: The sources that deliveries have: of a webhook that was renamed it is the former one.
        webhooks: The application's.
        name: What somebody calls them.
    """
    if name in stored:
        return frozenset({name})
    return frozenset(webhook.source for webhook in webhooks.find(name))


def named(
    deliveries: Deliveries, snapshot: Snapshot, name: str, sources: Collection[str] | None = None
) -> list[WebhookDelivery]:
    """The deliveries that an id means: ours, or the sender's, which several webhooks may have received.

    Args:
        deliveries: The rows.
        snapshot: Where they are read.
        name: The id.
        sources: Which are meant; all if not given, of whatever webhooks there have ever been.
    """
    own = deliveries.get(snapshot, name)
    if own is not None:
        return [own] if sources is None or own.source in sources else []
    meant = stored_sources(deliveries, snapshot) if sources is None else sorted(sources)
    return deliveries.by_event_id(snapshot, stored_id(name), meant)


def _first_rows(snapshot: Snapshot, table: Table[WebhookDelivery], bounds: Range | None) -> Sequence[Row]:
    """The first row of an index whose first column is within bounds; none if there is no such row."""
    [segment] = segments(table.indexes["by_event"].columns, (), bounds, nullable=table.nullable)
    return snapshot.select(table, segment, descending=False, limit=1)


def _time_of(delivery: WebhookDelivery) -> tuple[float, str]:
    return delivery.creation_time, delivery.id
