"""Verified deliveries that have just arrived and have no row yet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from flask_convex_http.errors import plain
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.webhooks.events import WebhookEvent

#: The maximum length of a stored event id, in characters. Longer ids are stored as their digest.
_LONGEST_ID = 255


@dataclass(frozen=True, slots=True)
class Arrival:
    """A verified delivery that has just arrived.

    Attributes:
        webhook: The webhook that received it.
        event: The verified event.
        headers: A copy of the event's headers, made before a handler could change them.
        event_id: The sender's id of the event, in the form of `stored_id`.
        request_id: The id of the request that delivered it.
        fingerprint: A digest of the signed content, by which a duplicate with another id is recognised. None if the
            sender signs the id.
    """

    webhook: Webhook
    event: WebhookEvent
    headers: Mapping[str, str]
    event_id: str
    request_id: str
    fingerprint: str | None

    @classmethod
    def of(cls, webhook: Webhook, event: WebhookEvent, request_id: str) -> Arrival:
        """Return the arrival of an event at a webhook.

        Args:
            webhook: The webhook that received the event.
            event: The verified event, which no handler has seen yet.
            request_id: The id of the request that delivered it.
        """
        fingerprint = webhook.provider.fingerprint(event)
        return cls(webhook, event, dict(event.headers), stored_id(event.id), request_id, fingerprint)

    def fresh(self) -> Arrival:
        """Return a copy of the arrival whose event is parsed again, since a handler may have changed the first one."""
        event, provider = self.event, self.webhook.provider
        received, label = event.received_at, event.secret_label
        fresh = provider.event(self.headers, event.body, received_at=received, secret_label=label)
        return replace(self, event=fresh)


def stored_id(event_id: str) -> str:
    """Return a sender's event id in the form in which it is stored.

    Lone surrogates are escaped. An id of more than 255 characters becomes its SHA-256 digest.
    """
    text = plain(event_id)
    if len(text) <= _LONGEST_ID:
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
