"""Verified deliveries as they arrive."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from flask_convex_http.errors import plain
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.webhooks.events import WebhookEvent

#: Characters of the longest sender's id that rows store as it is.
_LONGEST_ID = 255


@dataclass(frozen=True, slots=True)
class Arrival:
    """A verified delivery that has arrived.

    Attributes:
        webhook: The webhook that received it.
        event: The event.
        headers: Its headers. A handler may have changed those of the event.
        event_id: The sender's id, as rows store it.
        request_id: The id of the request that delivered it.
        fingerprint: A digest of its content, if its id is not signed.
    """

    webhook: Webhook
    event: WebhookEvent
    headers: Mapping[str, str]
    event_id: str
    request_id: str
    fingerprint: str | None

    @classmethod
    def of(cls, webhook: Webhook, event: WebhookEvent, request_id: str) -> Arrival:
        """Return an arrival, with texts that a database can store."""
        fingerprint = webhook.provider.fingerprint(event)
        return cls(webhook, event, dict(event.headers), stored_id(event.id), request_id, fingerprint)

    def fresh(self) -> Arrival:
        """Return the arrival with a fresh event, since a handler may have changed the first one."""
        event, provider = self.event, self.webhook.provider
        received, label = event.received_at, event.secret_label
        fresh = provider.event(self.headers, event.body, received_at=received, secret_label=label)
        return replace(self, event=fresh)


def stored_id(event_id: str) -> str:
    """Return a sender's id as rows store it: a very long one as its digest."""
    text = plain(event_id)
    if len(text) <= _LONGEST_ID:
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
