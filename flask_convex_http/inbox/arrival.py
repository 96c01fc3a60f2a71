"""Verified deliveries that have just arrived and have no row yet."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from flask_convex_http.error_texts import plain
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.webhooks.digests import digest
from flask_convex_http.webhooks.events import WebhookEvent

#: The maximum length of a stored event id, in characters. Longer ids are stored as their digest.
_LONGEST_ID = 255
#: The id of every test event, such as Stripe's `evt_00000000000000`.
_ZEROS = "0000000"
_PLACEHOLDER = re.compile(r"[A-Za-z_-]*0[0-]{7,}")
#: What a lone surrogate becomes when it is parsed, so that different ids may have become equal.
_REPLACED = "\ufffd"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A verified delivery that has just arrived.

    Attributes:
        webhook: The webhook that received it.
        event: The verified event.
        headers: A copy of the event's headers, made before a handler could change them.
        event_id: The id by which duplicates are recognised: the sender's id of the event, in the form of `stored_id`,
            with a suffix if the sender gives that id to several events.
        request_id: The id of the request that delivered it.
        fingerprint: A digest of the content, by which a duplicate with another id is recognised. None if only the id
            decides.
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
        fingerprint = None if webhook.content_window is None else webhook.provider.fingerprint(event)
        return cls(webhook, event, dict(event.headers), _distinct_id(webhook, event), request_id, fingerprint)

    def fresh(self) -> Arrival:
        """Return a copy of the arrival whose event is parsed again, since a handler may have changed the first one."""
        event, provider = self.event, self.webhook.provider
        received, label = event.received_at, event.secret_label
        fresh = provider.event(self.headers, event.body, received_at=received, secret_label=label)
        return replace(self, event=fresh)


def _distinct_id(webhook: Webhook, event: WebhookEvent) -> str:
    """Return the stored id of an event, which no other event has."""
    event_id = event.id
    if webhook.provider.needs_fresh_response(event):
        return stored_id(f"{event_id}#{secrets.token_hex(8)}")
    if _REPLACED in event_id or (_ZEROS in event_id and _PLACEHOLDER.fullmatch(event_id)):
        return stored_id(f"{event_id}#{digest(event.type, event.body)}")
    return stored_id(event_id)


def stored_id(event_id: str) -> str:
    """Return a sender's event id in the form in which it is stored.

    Lone surrogates are escaped. An id of more than 255 characters becomes its SHA-256 digest.
    """
    text = plain(event_id)
    if len(text) <= _LONGEST_ID:
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
