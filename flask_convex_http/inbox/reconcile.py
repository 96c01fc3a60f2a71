"""Import deliveries that a sender recorded and the inbox lacks.

GitHub does not retry a failed delivery. Its API has the payload, read with a token over HTTPS, but not the bytes that
were signed. So an imported delivery is trusted because of where it comes from, and its label says so. It is signed with
the webhook's own secret, so that it can be replayed like any other. Everything else is the path of a real delivery: an
id that is known is a duplicate, the handler runs in one transaction, and a failure is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from flask_convex_http.inbox.inbox import Inbox
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.runtime import Caller
from flask_convex_http.webhooks.github_api import RecordedDelivery

#: The `secret_label` of imported deliveries.
LABEL = "GitHub's API"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A delivery that the inbox lacked.

    Attributes:
        id: The delivery's id.
        type: The event's type.
        delivered_at: When GitHub sent it.
        outcome: "imported", "missing" if nothing was to be changed, or "failed".
        error: Why it failed, or None.
    """

    id: str
    type: str
    delivered_at: str
    outcome: str
    error: str | None = None


def missing_deliveries(
    inbox: Inbox, webhook: Webhook, recorded: Iterable[RecordedDelivery], *, since: datetime
) -> list[RecordedDelivery]:
    """Return the recorded deliveries that the inbox lacks, in the order in which they were sent.

    Args:
        inbox: The inbox.
        webhook: The webhook that should have received them.
        recorded: The recorded deliveries, newest first. A redelivery has the id of the first one.
        since: The time at which to stop.
    """
    found: dict[str, RecordedDelivery] = {}
    for delivery in recorded:
        if datetime.fromisoformat(delivery.delivered_at) < since:
            break
        if delivery.guid not in found and not _is_known(inbox, webhook, delivery.guid):
            found[delivery.guid] = delivery
    return list(reversed(found.values()))


def import_delivery(
    inbox: Inbox,
    webhook: Webhook,
    delivery: RecordedDelivery,
    headers: Mapping[str, str],
    payload: Any,
    caller: Callable[[], Caller],
    now: float,
) -> Imported:
    """Process a delivery as if it had just arrived.

    Args:
        inbox: The inbox.
        webhook: The webhook.
        delivery: What GitHub recorded.
        headers: The headers that GitHub sent.
        payload: The payload that GitHub sent.
        caller: Returns the caller that the handler runs for.
        now: The current time in milliseconds since the epoch.
    """
    body = msgspec.json.encode(payload)
    secret = webhook.provider.available_secrets()[0].value
    own = webhook.provider.sign(body, secret=secret, event_id=delivery.guid, event_type=delivery.event, now=now)
    replaced = {name.lower() for name in own} | {"x-hub-signature", "content-length"}
    kept = {name: value for name, value in headers.items() if name.lower() not in replaced}
    event = webhook.provider.event({**kept, **own}, body, received_at=now, secret_label=LABEL)
    outcome, error = "imported", None
    try:
        response = inbox.receive(webhook, event, caller(), f"github-{delivery.id}")
    except Exception as problem:  # a handler may raise anything; the failure is recorded
        outcome, error = "failed", f"{type(problem).__name__}: {problem}"
    else:
        if response.status >= 400:
            outcome, error = "failed", f"the handler responded {response.status}"
    return Imported(
        id=delivery.guid, type=delivery.event, delivered_at=delivery.delivered_at, outcome=outcome, error=error
    )


def _is_known(inbox: Inbox, webhook: Webhook, event_id: str) -> bool:
    with inbox.runtime.engine.snapshot() as snapshot:
        return bool(inbox.deliveries.by_event_id(snapshot, event_id, [webhook.source]))
