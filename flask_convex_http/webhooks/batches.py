"""Bodies that are arrays of events: each element becomes an event of its own.

The signature covers the whole body. An element is stored as its own JSON, because a thousand copies of the body would
fill the database, and so it cannot be verified again: a replay reads it as it was verified when it arrived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from flask_convex_http.webhooks.events import Content, Delivery, WebhookEvent
from flask_convex_http.webhooks.headers import ELEMENT
from flask_convex_http.webhooks.parsing import parse_json

if TYPE_CHECKING:
    from flask_convex_http.webhooks.base import Provider


def read(provider: Provider, delivery: Delivery) -> Content:
    """Read a delivery of a sender of batches: a whole batch, an element of one that was stored, or a single event.

    Args:
        provider: The sender.
        delivery: The delivery. The id of a whole batch is the digest of its body.

    Raises:
        VerificationError: The body is not what the sender sends.
    """
    if ELEMENT in delivery.headers:
        return provider.read_element(parse_json(delivery.body), delivery)
    if delivery.body.lstrip()[:1] != b"[":
        return provider.read(delivery)
    payload = parse_json(delivery.body)
    return Content(id=hashlib.sha256(delivery.body).hexdigest(), type="", data=payload, payload=payload)


def split(provider: Provider, batch: WebhookEvent) -> Sequence[WebhookEvent]:
    """Return an event for each element of a verified batch.

    Args:
        provider: The sender.
        batch: The event of the whole body.

    Raises:
        VerificationError: An element is not an event.
    """
    count = len(batch.payload)
    return [
        provider.event(
            {**batch.headers, ELEMENT: f"{place}/{count}"},
            msgspec.json.encode(element),
            received_at=batch.received_at,
            secret_label=batch.secret_label,
        )
        for place, element in enumerate(batch.payload)
    ]
