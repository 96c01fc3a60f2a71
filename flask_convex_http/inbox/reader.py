"""Reads of the inbox for commands, each in a snapshot of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec

from flask_convex_http.database.query import Query
from flask_convex_http.ids import Id
from flask_convex_http.inbox.inbox import Inbox
from flask_convex_http.inbox.search import DeliveryFilter, find_deliveries, sources_named, stored_sources
from flask_convex_http.schema.system_tables import ScheduledFunction, WebhookDelivery
from flask_convex_http.webhooks.events import CREDENTIAL_HEADERS

#: How many deliveries are searched for a request id, which has no index.
_SEARCHED = 1000


class DeliveryDetails(msgspec.Struct):
    """A delivery with everything that belongs to it.

    Attributes:
        delivery: Its row.
        headers: The headers as received, with the values of credentials hidden, or None if they are no longer kept.
        sha256: The hexadecimal digest of its body.
        body: The body, if it was requested.
        body_expires: When its headers and body may be purged, in milliseconds since the epoch.
        scheduled: The job that runs its handler.
        behind: The delivery ahead of it in its lane.
    """

    delivery: WebhookDelivery
    headers: dict[str, str] | None
    sha256: str | None
    body: bytes | None
    body_expires: float | None
    scheduled: ScheduledFunction | None
    behind: str | None


@dataclass(frozen=True, slots=True)
class InboxReader:
    """Finds deliveries and their details.

    Attributes:
        inbox: The inbox to read.
    """

    inbox: Inbox

    def newest(self, conditions: DeliveryFilter, limit: int) -> list[WebhookDelivery]:
        """Return the newest matching deliveries, newest first."""
        with self.inbox.runtime.engine.snapshot() as snapshot:
            return conditions.newest(self.inbox.deliveries, snapshot, limit)

    def ids(self, conditions: DeliveryFilter, limit: int | None = None) -> list[Id[WebhookDelivery]]:
        """Return the ids of the matching deliveries in the order of arrival."""
        with self.inbox.runtime.engine.snapshot() as snapshot:
            return conditions.ids(self.inbox.deliveries, snapshot, limit)

    def find(self, name: str, sources: Collection[str] | None = None) -> list[WebhookDelivery]:
        """Return the deliveries with an id, their own or the sender's, in these sources or in all."""
        with self.inbox.runtime.engine.snapshot() as snapshot:
            return find_deliveries(self.inbox.deliveries, snapshot, name, sources)

    def find_request(self, request_id: str) -> WebhookDelivery | None:
        """Return the delivery with a request id among the newest thousand, or None."""
        deliveries = self.inbox.deliveries
        with self.inbox.runtime.engine.snapshot() as snapshot:
            newest = Query(snapshot, deliveries.table, deliveries.table.indexes["by_creation_time"]).order("desc")
            return next((found for found in newest.take(_SEARCHED) if found.request_id == request_id), None)

    def sources(self, name: str, others: Iterable[str] = ()) -> frozenset[str]:
        """Return the sources that a name stands for.

        Args:
            name: A source, or a webhook's path or provider.
            others: Known sources beside those of deliveries and webhooks.

        Raises:
            ValueError: The name is unknown. The message lists the known sources.
        """
        with self.inbox.runtime.engine.snapshot() as snapshot:
            stored = {*others, *stored_sources(self.inbox.deliveries, snapshot)}
        found = sources_named(stored, self.inbox.webhooks, name)
        if not found:
            known = ", ".join(sorted(stored | {webhook.source for webhook in self.inbox.webhooks}))
            raise ValueError(f"No webhook and no delivery has the source {name!r}; there are {known or 'none'}")
        return found

    def details(self, delivery: WebhookDelivery, *, with_body: bool) -> DeliveryDetails:
        """Return everything that belongs to a delivery, with or without its body."""
        deliveries, first = self.inbox.deliveries, None
        with self.inbox.runtime.engine.snapshot() as snapshot:
            request = deliveries.request(snapshot, delivery.id)
            if delivery.state == "pending" and delivery.lane is not None:
                first = deliveries.first_of_lane(snapshot, delivery.source, delivery.lane)
            job = None if delivery.job is None else self.inbox.runtime.jobs.get(snapshot, delivery.job)
        return DeliveryDetails(
            delivery=delivery,
            headers=None if request is None else _without_credentials(request.headers),
            sha256=None if request is None else hashlib.sha256(request.body).hexdigest(),
            body=request.body if request is not None and with_body else None,
            body_expires=None if request is None else delivery.due,
            scheduled=job,
            behind=None if first == delivery.id else first,
        )


def _without_credentials(headers: dict[str, str]) -> dict[str, str]:
    return {name: "(not shown)" if name.lower() in CREDENTIAL_HEADERS else value for name, value in headers.items()}
