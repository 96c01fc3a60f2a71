"""Finding webhooks by name, and deliveries in the inbox by id, source, state, type and time.

Only rows of `_webhooks` are read, as a stream. Headers and bodies are in a table of their own.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import NamedTuple

from flask_convex_http.database.query import Query
from flask_convex_http.engines import Row, Snapshot
from flask_convex_http.ids import Id
from flask_convex_http.inbox.arrival import stored_id
from flask_convex_http.inbox.deliveries import STATES, Deliveries, State
from flask_convex_http.inbox.registry import Webhook, Webhooks
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, Table
from flask_convex_http.schema.index_ranges import Range, gt, gte, lte, segments
from flask_convex_http.schema.system_tables import WebhookDelivery
from flask_convex_http.webhooks.samples.events import SENDERS

_WILDCARD = "*"
#: A state with more deliveries than this is searched by time, from the newest on.
_FEW = 1000
#: The number of deliveries that are looked at for one page.
_SEARCHED = 4_000


# --- deliveries ------------------------------------------------------------------------------------------------------


class DeliveryPage(NamedTuple):
    """Matching deliveries of one page.

    Attributes:
        deliveries: The deliveries, newest first.
        until: The `until` of the filter with which the search goes on, or None at the end.
    """

    deliveries: list[WebhookDelivery]
    until: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """The conditions that a delivery must meet, all of them.

    Attributes:
        sources: The sources it may have, or None for any.
        states: The states it may be in.
        type: Its type, or the beginning of the type and `*`, or None for any.
        since: The earliest time at which it was recorded, in milliseconds since the epoch.
        until: The latest time at which it was recorded.
    """

    sources: frozenset[str] | None = None
    states: tuple[State, ...] = STATES
    type: str | None = None
    since: float | None = None
    until: float | None = None

    def matches(self, delivery: WebhookDelivery) -> bool:
        """Return whether a delivery meets the conditions."""
        if self.sources is not None and delivery.source not in self.sources:
            return False
        return delivery.state in self.states and self._is_in_time(delivery) and self._has_type(delivery.type)

    def newest(self, deliveries: Deliveries, snapshot: Snapshot, limit: int) -> list[WebhookDelivery]:
        """Return the newest matching deliveries, newest first, with at most `limit` of them in memory."""
        if "done" in self.states:
            return self._by_time(deliveries, snapshot).order("desc").filter(self.matches).take(limit)
        found = filter(self.matches, self._by_state(deliveries, snapshot))
        return heapq.nlargest(limit, found, key=_time_of)

    def page(self, deliveries: Deliveries, snapshot: Snapshot, limit: int) -> DeliveryPage:
        """Return the newest matching deliveries, newest first.

        The search ends after some thousand deliveries that do not match, so a page may have fewer than the limit.
        """
        if "done" not in self.states:
            few = list(islice(self._by_state(deliveries, snapshot), _FEW + 1))
            if len(few) <= _FEW:
                return _cut(heapq.nlargest(limit + 1, filter(self.matches, few), key=_time_of), limit)
        found: list[WebhookDelivery] = []
        for number, delivery in enumerate(self._by_time(deliveries, snapshot).order("desc"), start=1):
            if self.matches(delivery):
                found.append(delivery)
            if len(found) > limit:
                return _cut(found, limit)
            if number == _SEARCHED:
                return DeliveryPage(found, _before(delivery))
        return DeliveryPage(found, None)

    def ids(self, deliveries: Deliveries, snapshot: Snapshot, limit: int | None = None) -> list[Id[WebhookDelivery]]:
        """Return the ids of the matching deliveries in the order of arrival, at most `limit` of them."""
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
        # Most deliveries are done. The others are few and have an index.
        return chain.from_iterable(deliveries.of_state(snapshot, state) for state in self.states)

    def _is_in_time(self, delivery: WebhookDelivery) -> bool:
        time = delivery.creation_time
        return (self.since is None or time >= self.since) and (self.until is None or time <= self.until)

    def _has_type(self, type: str) -> bool:
        if self.type is None:
            return True
        if self.type.endswith(_WILDCARD):
            return type.startswith(self.type.removesuffix(_WILDCARD))
        return type == self.type


def find_deliveries(
    deliveries: Deliveries, snapshot: Snapshot, name: str, sources: Collection[str] | None = None
) -> list[WebhookDelivery]:
    """Return the deliveries with an id. Several webhooks may have received the same event id.

    Args:
        deliveries: The inbox's tables.
        snapshot: The snapshot to read from.
        name: The delivery's own id, or the sender's id of the event.
        sources: The sources to search, or None for all that any delivery has.
    """
    own = deliveries.get(snapshot, name)
    if own is not None:
        return [own] if sources is None or own.source in sources else []
    searched = stored_sources(deliveries, snapshot) if sources is None else sorted(sources)
    return deliveries.by_event_id(snapshot, stored_id(name), searched)


def count_deliveries(deliveries: Deliveries, snapshot: Snapshot, source: str, limit: int) -> int:
    """Return how many deliveries a source has, counting no more than `limit`."""
    table = deliveries.table
    [segment] = segments(table.indexes["by_event"].columns, (source,), None, nullable=table.nullable)
    return sum(1 for _ in islice(snapshot.stream(table, segment, descending=False), limit))


def stored_sources(deliveries: Deliveries, snapshot: Snapshot) -> list[str]:
    """Return the sources of all deliveries in order, also those that no webhook of the application has any more.

    One row is read for each source, because a source has many deliveries and an application has few sources.
    """
    table, found = deliveries.table, list[str]()
    place = (ID_COLUMN, TIME_COLUMN, *table.columns).index("source")
    while rows := _first_rows(snapshot, table, gt(found[-1]) if found else None):
        found.append(rows[0][place])
    return found


def _first_rows(snapshot: Snapshot, table: Table[WebhookDelivery], bounds: Range | None) -> Sequence[Row]:
    """Return the first row whose source is within bounds, or nothing."""
    [segment] = segments(table.indexes["by_event"].columns, (), bounds, nullable=table.nullable)
    return snapshot.select(table, segment, descending=False, limit=1)


def _cut(found: list[WebhookDelivery], limit: int) -> DeliveryPage:
    """Return the page of the first deliveries, if there is one more than its limit."""
    return DeliveryPage(found[:limit], _before(found[limit - 1]) if len(found) > limit else None)


def _before(delivery: WebhookDelivery) -> float:
    return math.nextafter(delivery.creation_time, 0)


def _time_of(delivery: WebhookDelivery) -> tuple[float, str]:
    return delivery.creation_time, delivery.id


# --- webhooks --------------------------------------------------------------------------------------------------------


def sources_named(stored: Iterable[str], webhooks: Webhooks, name: str) -> frozenset[str]:
    """Return the sources that a name stands for, or an empty set.

    Args:
        stored: The sources that deliveries have. They come first, so that a webhook's former source is not confused
            with a provider of the same name.
        webhooks: The application's webhooks.
        name: A source, or a webhook's path or provider.
    """
    if name in stored:
        return frozenset({name})
    found = webhooks.find(name)
    tenants = [source for source in stored if any(webhook.tenant_in(source) for webhook in found)]
    return frozenset((*(webhook.source for webhook in found), *tenants))


def find_webhook(webhooks: Webhooks, name: str, source: str | None = None) -> Webhook:
    """Return the one webhook with a name.

    Args:
        webhooks: The application's webhooks.
        name: A source, path, provider or sender such as clerk. Of several webhooks with one provider it is the one
            whose source ends in the name, as `/webhooks/clerk` does.
        source: The webhook's source or path, where the name is ambiguous.

    Raises:
        ValueError: No webhook has this name, or several have it.
    """
    if source is not None:
        return _webhook_at(webhooks, name, source)
    found = webhooks.find(name) or webhooks.find(SENDERS.get(name, name))
    if len(found) > 1:
        found = [webhook for webhook in found if webhook.source.rpartition("/")[2] == name] or found
    if not found:
        raise ValueError(f"This app has no webhook {name!r}. {_listed(webhooks)}")
    if len(found) > 1:
        sources = ", ".join(webhook.source for webhook in found)
        raise ValueError(f"This app has several webhooks {name!r}: choose a source, one of {sources}")
    return found[0]


def sender_of(webhook: Webhook, name: str) -> str:
    """Return whose sample events a webhook receives: the sender it was named by, such as clerk, or its provider."""
    provider = webhook.provider.name
    return name if SENDERS.get(name) == provider else provider


def _webhook_at(webhooks: Webhooks, name: str, source: str) -> Webhook:
    webhook = next((webhook for webhook in webhooks if source in (webhook.source, webhook.path)), None)
    if webhook is None:
        raise ValueError(f"This app has no webhook with the source {source!r}. {_listed(webhooks)}")
    provider = webhook.provider.name
    if name not in (webhook.source, webhook.path) and provider not in (name, SENDERS.get(name, name)):
        raise ValueError(f"The webhook {source!r} receives deliveries of {provider}, not of {name}")
    return webhook


def _listed(webhooks: Webhooks) -> str:
    if not len(webhooks):
        return "It has none: add one with @http.webhook(...)"
    return "It has " + ", ".join(f"{webhook.source} ({webhook.provider.name})" for webhook in webhooks)
