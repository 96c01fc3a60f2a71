"""Reads of the inbox for the command line, each in a snapshot of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec

from flask_convex_http.database.query import Query
from flask_convex_http.ids import Id
from flask_convex_http.inbox.inbox import Inbox
from flask_convex_http.inbox.search import DeliveryFilter, DeliveryPage, find_deliveries, sources_named, stored_sources
from flask_convex_http.schema.system_tables import ScheduledFunction, WebhookDelivery
from flask_convex_http.webhooks.events import CREDENTIAL_HEADERS, KEPT_HEADERS

#: The number of newest deliveries that are searched for a request id, which has no index.
_SEARCHED = 1000


class DeliveryDetails(msgspec.Struct):
    """A delivery, its request, its job and its place in its lane.

    Attributes:
        delivery: The row of the delivery.
        headers: The received headers with the values of credentials hidden, or None if they are not stored or were
            purged.
        sha256: The hexadecimal SHA-256 digest of the body, or None if the body is not stored.
        body: The body, or None if it is not stored or was not asked for.
        body_expires: The time at which headers and body expire, in milliseconds since the epoch, or None if they are
            not stored. It has no meaning while the delivery is pending, since it does not expire then.
        scheduled: The job that runs the handler, or None if there is none.
        behind: The id of the first delivery in the lane, which must finish before this one can run, or None if the
            delivery does not wait in a lane.
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
        """Return at most `limit` of the newest matching deliveries, newest first."""
        with self.inbox.runtime.engine.snapshot() as snapshot:
            return conditions.newest(self.inbox.deliveries, snapshot, limit)

    def page(self, conditions: DeliveryFilter, limit: int) -> DeliveryPage:
        """Return a page of the newest matching deliveries; see `DeliveryFilter.page`."""
        with self.inbox.runtime.engine.snapshot() as snapshot:
            return conditions.page(self.inbox.deliveries, snapshot, limit)

    def ids(self, conditions: DeliveryFilter, limit: int | None = None) -> list[Id[WebhookDelivery]]:
        """Return the ids of the oldest matching deliveries in the order of arrival, at most `limit` of them."""
        with self.inbox.runtime.engine.snapshot() as snapshot:
            return conditions.ids(self.inbox.deliveries, snapshot, limit)

    def find(self, name: str, sources: Collection[str] | None = None) -> list[WebhookDelivery]:
        """Return the deliveries with an id. Several webhooks may have received the same event id.

        Args:
            name: The delivery's own id, or the sender's id of the event.
            sources: The sources to search, or None for all that any delivery has.
        """
        with self.inbox.runtime.engine.snapshot() as snapshot:
            return find_deliveries(self.inbox.deliveries, snapshot, name, sources)

    def find_request(self, request_id: str) -> WebhookDelivery | None:
        """Return the delivery with a request id among the newest thousand, or None."""
        deliveries = self.inbox.deliveries
        with self.inbox.runtime.engine.snapshot() as snapshot:
            newest = Query(snapshot, deliveries.table, deliveries.table.indexes["by_creation_time"]).order("desc")
            return next((found for found in newest.take(_SEARCHED) if found.request_id == request_id), None)

    def stored_sources(self) -> list[str]:
        """Return the sources of all deliveries in order, also of webhooks that the app has no longer."""
        with self.inbox.runtime.engine.snapshot() as snapshot:
            return stored_sources(self.inbox.deliveries, snapshot)

    def sources(self, name: str, others: Iterable[str] = ()) -> frozenset[str]:
        """Return the sources that a name given on the command line refers to.

        Args:
            name: A source, or the path or provider of one or more webhooks.
            others: Further sources that may be named, such as those of rejected deliveries.

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
        """Return the details of a delivery, with its body only if `with_body` is true."""
        deliveries, first = self.inbox.deliveries, None
        with self.inbox.runtime.engine.snapshot() as snapshot:
            request = deliveries.request(snapshot, delivery.id)
            if delivery.state == "pending" and delivery.lane is not None:
                first = deliveries.first_of_lane(snapshot, delivery.source, delivery.lane)
            job = None if delivery.job is None else self.inbox.runtime.jobs.get(snapshot, delivery.job)
        return DeliveryDetails(
            delivery=delivery,
            headers=None if request is None else self._shown(delivery, request.headers),
            sha256=None if request is None else hashlib.sha256(request.body).hexdigest(),
            body=request.body if request is not None and with_body else None,
            body_expires=None if request is None else delivery.due,
            scheduled=job,
            behind=None if first == delivery.id else first,
        )

    def _shown(self, delivery: WebhookDelivery, headers: dict[str, str]) -> dict[str, str]:
        """Return headers with the values hidden that may be credentials, such as those that older versions stored."""
        webhook = self.inbox.webhooks.get(delivery.source)
        provider = None if webhook is None else webhook.provider
        kept = KEPT_HEADERS if provider is None else provider.kept_headers - provider.credential_headers
        shown = kept - CREDENTIAL_HEADERS
        return {name: value if name.lower() in shown else "(not shown)" for name, value in headers.items()}
