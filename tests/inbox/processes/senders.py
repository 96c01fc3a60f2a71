"""Senders: events made and signed as their vendors do, with a fresh signature for each attempt."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any, TypeVar

from tests.example.deliveries import Delivery, from_clerk, from_github, from_stripe
from tests.sqlite.crews import PATIENCE
from tests.webhooks.senders import SECRET as SLACK_SECRET
from tests.webhooks.senders import sign_slack

T = TypeVar("T")


def stripe(event_id: str, change: dict[str, Any], path: str = "/webhooks/stripe") -> Delivery:
    """Return an event signed by Stripe's library."""
    event = {"id": event_id, "object": "event", "type": "customer.updated", "data": {"object": change}}
    return replace(from_stripe(event), path=path)


def queued(event_id: str, change: dict[str, Any]) -> Delivery:
    """Return an event signed by Stripe's library, for the handler that a worker runs."""
    return stripe(event_id, change, "/webhooks/queued")


def svix(event_id: str, change: dict[str, Any]) -> Delivery:
    """Return an event signed by Svix's library."""
    return replace(
        from_clerk({"type": "customer.updated", "data": change}, delivery_id=event_id), path="/webhooks/svix"
    )


def github(event_id: str, change: dict[str, Any]) -> Delivery:
    """Return an event signed as GitHub's documentation describes."""
    return from_github(change).with_header("X-GitHub-Delivery", event_id)


def slack(event_id: str, change: dict[str, Any]) -> Delivery:
    """Return an event signed by Slack's library."""
    inner = {"type": "customer_updated", "change": change}
    body = json.dumps({"type": "event_callback", "event_id": event_id, "event": inner}).encode()
    headers = {"Content-Type": "application/json", **sign_slack(SLACK_SECRET, body, int(time.time()))}
    return Delivery("/webhooks/slack", body, headers)


Signed = Callable[[str, dict[str, Any]], Delivery]
#: By the last part of their paths.
SENDERS: dict[str, Signed] = {"stripe": stripe, "svix": svix, "github": github, "slack": slack, "queued": queued}
#: The handlers that run before the response.
AT_ONCE = ("stripe", "svix", "github", "slack")


def together(count: int, send: Callable[[int], T]) -> list[T]:
    """Send a number of duplicates at the same time, and return their responses."""
    barrier = Barrier(count)

    def start(number: int) -> T:
        barrier.wait(PATIENCE)
        return send(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))
